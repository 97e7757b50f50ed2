"""What is installed here, by the packages' own metadata: nothing is imported, and no name is guessed.

A distribution is what pip installs (``pillow``), a module is what Python imports (``PIL``). Neither name
tells the other, and several distributions may bring one module (``onnxruntime`` and ``onnxruntime-gpu``).
Standard library only: it travels to the device.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from importlib import metadata
from importlib.machinery import EXTENSION_SUFFIXES

UNKNOWN = "unknown"
"""The version of a package whose metadata tells none."""
_SUFFIXES = (".py", *EXTENSION_SUFFIXES)
_FOREIGN = ("..", "__pycache__")


def distribution_named(name: str) -> metadata.Distribution | None:
    """Return the installed distribution of a name, in any of its spellings, or None."""
    try:
        return metadata.distribution(name)
    except (metadata.PackageNotFoundError, ValueError):
        return None


def distributions_of(module: str) -> Iterator[metadata.Distribution]:
    """Yield the installed distributions that bring a top-level module."""
    for found in metadata.distributions():
        if module in modules_of(found):
            yield found


def modules_of(distribution: metadata.Distribution) -> tuple[str, ...]:
    """Return the top-level modules of a distribution, by its ``top_level.txt``, else by its list of files.

    Returns:
        Sorted; empty where the metadata tells nothing, as of an editable installation.
    """
    try:
        declared = set((distribution.read_text("top_level.txt") or "").split())
        return tuple(sorted(declared or _listed(distribution)))
    except (OSError, ValueError):  # a RECORD that is not UTF-8, or not a table
        return ()


def _listed(distribution: metadata.Distribution) -> set[str]:
    found = set()
    for file in distribution.files or ():
        first = file.parts[0] if file.parts else ""
        if first in _FOREIGN or not file.name.endswith(_SUFFIXES):
            continue
        name = first if len(file.parts) > 1 else re.split(r"\.", first, maxsplit=1)[0]
        if name.isidentifier():
            found.add(name)
    return found


def version_named(name: str) -> str | None:
    """Return the version of a package on this machine, None where it is not installed.

    Args:
        name: of the distribution, or of the module that another one brings (``onnxruntime-gpu``).
    """
    found = distribution_named(name) or next(distributions_of(name.replace("-", "_")), None)
    return None if found is None else version_of(found)


def name_of(distribution: metadata.Distribution) -> str:
    """Return the name of a distribution as pip shows it; `UNKNOWN` where its metadata is damaged."""
    return _field(distribution, "Name")


def version_of(distribution: metadata.Distribution) -> str:
    """Return the version of a distribution; `UNKNOWN` where its metadata is damaged."""
    return _field(distribution, "Version")


def module_version(module: str, usual: str) -> str | None:
    """Return the version of the distribution that brings a module, None where none does.

    Args:
        usual: name of the distribution that mostly brings it: it is looked at first, which spares the others.
    """
    found = distribution_named(usual)
    if found is not None and module in modules_of(found):
        return version_of(found)
    return versions_of((module,)).get(module)


def versions_of(modules: Iterable[str]) -> dict[str, str]:
    """Return the version of the distribution that brings each module; those that none brings are left out."""
    wanted, found = set(modules), dict[str, str]()
    for distribution in metadata.distributions():
        for module in wanted.intersection(modules_of(distribution)) - found.keys():
            found[module] = version_of(distribution)
    return found


def _field(distribution: metadata.Distribution, key: str) -> str:
    try:
        fields = distribution.metadata
        return (fields[key] or UNKNOWN) if fields is not None and key in fields else UNKNOWN
    except (
        OSError,
        ValueError,
        KeyError,
    ):  # missing or not UTF-8, by the version of Python
        return UNKNOWN
