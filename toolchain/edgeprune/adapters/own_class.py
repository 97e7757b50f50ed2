"""The class in a user's file, as docs/own-network.md describes it: read, and held against what it owes."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from edgeprune.adapters.user_code import last_line, run_file
from edgeprune.core.errors import ConfigError, shorten

CLASS = "Adapter"
REQUIRED: Mapping[str, tuple[str, ...]] = {
    "load": ("path",),
    "example": (),
    "metric": ("predict", "samples"),
}
OPTIONAL: Mapping[str, tuple[str, ...]] = {"loss": ("model", "images", "paths"), "data": ("folder",)}
"""Methods of the user's class, and what each is given."""
LOSS = f"a method loss(self, model, images, paths) of the class {CLASS}"
SILENT_S = 600.0
"""Seconds that a metric may take between two predictions; the class may say others as `timeout`."""


def load_user(path: Path) -> Any:
    """Run a user's file, and return an object of its class.

    Raises:
        ConfigError: it is missing, cannot be run, or its class lacks something: all that it lacks is named.
    """
    kind = getattr(_run_file(path), CLASS, None)
    if not isinstance(kind, type):
        raise ConfigError(f"{path}: a class {CLASS} is expected with {', '.join(REQUIRED)}")
    if faults := [*_missing(kind), *_misshaped(kind)]:
        raise ConfigError(f"{path}: class {CLASS}: {'; '.join(faults)}")
    try:
        user = kind()
    except (Exception, SystemExit) as exc:  # the user's code
        raise ConfigError(f"{path}: {CLASS}() failed: {where_in(exc, path)}") from exc
    if wrong := list(_wrong(user)):
        raise ConfigError(f"{path}: class {CLASS}: {'; '.join(wrong)}")
    return user


def _run_file(path: Path) -> ModuleType:
    try:
        return run_file(path, f"edgeprune_own_{path.stem}")
    except FileNotFoundError as exc:
        if path.is_file():  # it is the file's own that looks for another one
            raise ConfigError(f"{path}: running it failed: {where_in(exc, path)}") from exc
        raise ConfigError(f"--adapter {path}: no such file") from exc
    except SyntaxError as exc:
        raise ConfigError(f"{exc.filename}:{exc.lineno}: syntax error: {shorten(exc.msg)}") from exc
    except (Exception, SystemExit) as exc:  # the user's code
        raise ConfigError(f"{path}: running it failed: {where_in(exc, path)}") from exc


def _missing(kind: type) -> list[str]:
    lacking = [name for name in REQUIRED if not callable(getattr(kind, name, None))]
    return [f"lacks the method{'s' if len(lacking) > 1 else ''} {', '.join(lacking)}"] if lacking else []


def _misshaped(kind: type) -> Iterator[str]:
    for name, wanted in {**REQUIRED, **OPTIONAL}.items():
        method = getattr(kind, name, None)
        if not callable(method):
            continue
        try:
            inspect.signature(method).bind(None, *wanted)
        except TypeError:
            yield f"{name} is called as {name}({', '.join(('self', *wanted))})"


def _wrong(user: Any) -> Iterator[str]:
    names, timeout = getattr(user, "names", ()), getattr(user, "timeout", SILENT_S)
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        yield "names has to be a list or tuple of texts"
    if not isinstance(timeout, int | float) or not timeout > 0:
        yield "timeout has to be a number of seconds above 0"


def where_in(exc: BaseException, path: Path) -> str:
    """Return an exception in a line, with the last line of the user's file that it went through."""
    line = last_line(exc, path)
    place = f"line {line}: " if line else ""
    text = str(exc).strip()
    return place + shorten(f"{type(exc).__name__}: {text}" if text else type(exc).__name__)
