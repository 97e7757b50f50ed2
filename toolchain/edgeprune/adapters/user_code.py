"""A Python file of the user's, run because the user named it."""

from __future__ import annotations

import sys
import traceback
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType


def run_file(path: Path, name: str) -> ModuleType:
    """Run a file as a module of a name, and return it; what it raises is not caught.

    Modules beside it can be imported, behind all that is installed. Nothing is written beside it.

    Raises:
        FileNotFoundError: there is no such file.
    """
    spec = spec_from_file_location(name, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise FileNotFoundError(path)
    module = sys.modules[name] = module_from_spec(spec)
    folder = str(path.resolve().parent)
    if folder not in sys.path:
        sys.path.append(folder)
    was, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        spec.loader.exec_module(module)
    finally:
        sys.dont_write_bytecode = was
    return module


def last_line(exc: BaseException, path: Path) -> int | None:
    """Return the last line of a file that an exception went through; None where it did not."""
    frames = traceback.extract_tb(exc.__traceback__)
    return next((frame.lineno for frame in reversed(frames) if frame.filename == str(path)), None)
