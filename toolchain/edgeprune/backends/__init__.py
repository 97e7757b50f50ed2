"""The runtimes: one module each, behind the seam of `core/backend.py`.

This package travels to the device with the worker: at import it needs only the standard library, and each
module imports its vendor's SDK inside its own functions.
"""

from __future__ import annotations

import platform
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from edgeprune.core.backend import BACKENDS, REFERENCE, Backend, all_backends, get_backend, known_backends
from edgeprune.core.backend_types import NodeCounter, Recognised, Session, Staged
from edgeprune.core.errors import ConfigError, RuntimeMissingError

if TYPE_CHECKING:
    from edgeprune.config.targets import DeviceProfile

__all__ = [
    "BACKENDS",
    "REFERENCE",
    "Backend",
    "NodeCounter",
    "Recognised",
    "Session",
    "Staged",
    "absence",
    "all_backends",
    "get_backend",
    "known_backends",
    "options_for",
    "providers",
    "recognise",
    "require_batch",
    "require_runtimes",
]


def recognise(path: Path) -> tuple[str, Recognised] | None:
    """Return the runtime whose engine lies at a path, and that engine; None where no runtime knows it.

    Raises:
        EdgepruneError: see `Backend.recognise`.
    """
    for backend in all_backends():
        if found := backend.recognise(path):
            return backend.name, found
    return None


def options_for(profile: DeviceProfile, precision: str) -> dict[str, str]:
    """Return the profile's runtime options for a precision, its ``provider`` among them if it names one."""
    options = {str(key): options for key, options in profile.options.items()}.get(precision, {})
    return options if profile.provider is None else {"provider": profile.provider} | options


def providers(name: str) -> tuple[str, ...]:
    """Return what a profile's ``provider`` may be on this machine; empty for a runtime without a choice."""
    found = get_backend(name).providers
    return found() if found else ()


def absence(profile: DeviceProfile) -> str | None:
    """Return why engines of this profile are not run on this machine, None where nothing speaks against it.

    Whether the runtime itself works is what `edgeprune doctor` proves.
    """
    if profile.time_on == "device":
        return "run on the device itself"
    if platform.machine() not in profile.arch:
        return f"needs {' or '.join(profile.arch)}"
    if profile.provider is None:
        return None
    try:
        present = providers(profile.backend)
    except RuntimeMissingError as exc:
        return str(exc)
    if any(profile.provider in (found, found.partition(".")[0]) for found in present):
        return None
    return f"{profile.backend} finds no {profile.provider} here, only {', '.join(present)}"


def require_batch(profile: DeviceProfile, batch: int) -> None:
    """Check that the runtime of a profile takes so many images at once.

    Raises:
        ConfigError: it takes one.
    """
    why = get_backend(profile.backend).ONE_IMAGE
    if batch > 1 and why:
        raise ConfigError(
            f"--batch {batch}: {profile.name}: {profile.backend} takes one image at a time: {why}; "
            "leave out the batch, or this target"
        )


def require_runtimes(profiles: Iterable[DeviceProfile]) -> None:
    """Check that what compiles for profiles on this machine is installed, before anything is trained.

    Raises:
        RuntimeMissingError: all that is not, and how to get each.
    """
    missing = []
    for profile in profiles:
        backend = get_backend(profile.backend)
        if profile.compile_on == "host" and backend.version() is None:
            get = f": {backend.HOW_TO_GET}" if backend.HOW_TO_GET else ""
            missing.append(f"{profile.name}: {profile.backend} is not installed here{get}")
    if missing:
        raise RuntimeMissingError("; ".join(missing))
