"""A Python file of the user's, run because the user named it."""

from __future__ import annotations

import ast
import sys
import traceback
from collections.abc import Iterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

from edgeprune.core.artifact import content_key, digest


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


def code_key(path: Path) -> str:
    """Return a digest of a file and of all modules and packages beside it that it imports, and these in turn.

    They are found in the text, without running it. Of a package every file counts.
    """
    waiting, found = [path], {path: digest(path)}
    while waiting:
        for other in _imported(waiting.pop(), path.parent):
            if other not in found:
                found[other] = digest(other)
                waiting.append(other)
    return content_key({str(file.relative_to(path.parent)): sha256 for file, sha256 in found.items()})


def _imported(path: Path, folder: Path) -> Iterator[Path]:
    """Yield the files of a folder that a file imports; none of one that is no Python."""
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):
        return
    for node in ast.walk(tree):
        match node:
            case ast.Import():
                names = [alias.name for alias in node.names]
            case ast.ImportFrom(level=0):
                names = [node.module or ""]
            case _:
                continue
        for name in {name.partition(".")[0] for name in names}:
            module, package = folder / f"{name}.py", folder / name
            if module.is_file():
                yield module
            elif (package / "__init__.py").is_file():
                yield from sorted(package.rglob("*.py"))
