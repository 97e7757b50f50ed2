"""What the kernel's files and a device's own programs say: text, or None where they say nothing."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

ROOT = Path("/")
PATIENCE_S = 5.0

Ask = Callable[..., "str | None"]


def text_of(path: Path) -> str | None:
    """Return what a file says, without the blanks and zero bytes around it; None when that is nothing."""
    try:
        return path.read_text(errors="replace").strip(" \t\n\0") or None
    except (OSError, ValueError):
        return None


def whole(text: str | None) -> int | None:
    """Return the whole number that a text is, or None."""
    try:
        return int(text or "")
    except ValueError:
        return None


def number_of(path: Path) -> int | None:
    """Return the whole number that a file holds, or None."""
    return whole(text_of(path))


def fields_of(path: Path, keys: Sequence[str]) -> dict[str, int]:
    """Return those of `keys` that a file of ``key: number`` lines has, such as /proc/meminfo."""
    found = {}
    for line in (text_of(path) or "").splitlines():
        words = line.replace(":", " ").split()
        if len(words) > 1 and words[0] in keys and (number := whole(words[1])) is not None:
            found[words[0]] = number
    return found


def said_by(*command: str) -> str | None:
    """Return what one of the device's programs prints; None where there is none, or it fails, or hangs."""
    program = shutil.which(command[0])
    if program is None:
        return None
    try:
        done = subprocess.run(
            [program, *command[1:]],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=PATIENCE_S,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None
