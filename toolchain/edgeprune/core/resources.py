"""Where the data that travels with the package is: `targets/` and `calib/`, in a wheel or in a checkout.

On a device only `cache_dir` is asked for, and the runner names that folder: see `runners/remote.py`.
"""

from __future__ import annotations

import functools
import os
import shlex
import subprocess
import sys
from pathlib import Path

from edgeprune.core.errors import ConfigError
from edgeprune.core.redaction import without_password

_PACKAGE = Path(__file__).resolve().parents[1]


def find_bundled(folder: str) -> Path:
    """Return the path of a bundled data folder (``"targets"`` or ``"calib"``).

    A wheel carries them in ``edgeprune/_bundled``; in a checkout or an editable install they lie at the top
    of the repository.
    """
    inside = _PACKAGE / "_bundled" / folder
    return inside if inside.is_dir() else _PACKAGE.parents[1] / folder


def config_dir() -> Path:
    """Return the user's configuration folder for edgeprune (in the XDG configuration folder)."""
    return _own("user_config_path", "XDG_CONFIG_HOME")


def cache_dir() -> Path:
    """Return the user's cache folder for edgeprune (``$EDGEPRUNE_CACHE``, else the XDG cache folder)."""
    if own := os.environ.get("EDGEPRUNE_CACHE"):
        return Path(own).expanduser()
    return _own("user_cache_path", "XDG_CACHE_HOME")


def _own(kind: str, variable: str) -> Path:
    """Return one of this user's folders by the XDG rules, which hold here on every system."""
    from platformdirs.unix import Unix  # a device, where this file travels to, has none

    try:
        place: Path = getattr(Unix("edgeprune"), kind)
    except RuntimeError as exc:  # of a user without an entry in passwd, as in many containers
        raise _no_home(variable) from exc
    if not place.is_absolute():  # what older versions of platformdirs return then
        raise _no_home(variable)
    return place


def _no_home(variable: str) -> ConfigError:
    return ConfigError(f"no home folder is known here: set HOME, or {variable}")


def own_command() -> list[str]:
    """Return the command line of this process as it may be kept in a file."""
    return [without_password(word) for word in sys.argv]


def own_command_line() -> str:
    """Return the command of this process as it is typed, for whoever is to run it again."""
    return shlex.join(["edgeprune", *own_command()[1:]])


@functools.cache
def own_commit() -> str | None:
    """Return the commit of the checkout that edgeprune runs from, with ``-dirty`` where files are changed.

    None for an installed wheel, which its version names, and without git.
    """
    root = _PACKAGE.parents[1]
    if not (root / ".git").exists():  # above an installed package it would be another project's
        return None
    command = ["git", "-C", str(root), "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"]
    try:
        done = subprocess.run(
            command, capture_output=True, encoding="utf-8", errors="replace", check=True, timeout=60
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
