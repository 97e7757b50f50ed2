"""Which commit results belong to, as git tells it."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path


@dataclass(frozen=True)
class Commit:
    """Which commit results belong to; every part may be unknown."""

    sha: str | None = None
    branch: str | None = None
    committed_utc: str | None = None


def commit_here(sha: str | None = None, branch: str | None = None, folder: Path | None = None) -> Commit:
    """Return a commit as git tells it in a folder, the working folder by default; unknown without git.

    Args:
        sha: the commit; the one that is checked out by default, marked ``-dirty`` where files are changed.
        branch: the branch that is checked out by default, None for a commit that was named.
    """
    place = folder or Path.cwd()
    own = sha is None
    sha = sha or _git(place, "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*")
    if sha is None:
        return Commit(branch=branch)
    # --end-of-options: a name of a commit is never read as an option.
    told = _git(
        place, "show", "-s", "--format=%ct", "--end-of-options", sha.removesuffix("-dirty") + "^{commit}"
    )
    branch = branch or (_git(place, "symbolic-ref", "--short", "-q", "HEAD") if own else None)
    return Commit(sha, branch, iso(float(told)) if told else None)


def _git(place: Path, *args: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(place), *args],  # noqa: S607  # the user's own git, found as in a shell
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None


def iso(seconds: float) -> str:
    """Return a time since the epoch as ISO 8601 in UTC."""
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="seconds")
