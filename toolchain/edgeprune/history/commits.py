"""Which commit results belong to, as git tells it."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

# CI checks out a commit and no branch: GitHub ("Variables reference") has the first one in a pull request
# alone, where the second one is no branch; GitLab ("Predefined CI/CD variables") has the third one.
_BRANCH_IN_CI = ("GITHUB_HEAD_REF", "GITHUB_REF_NAME", "CI_COMMIT_REF_NAME")


@dataclass(frozen=True)
class Commit:
    """Which commit results belong to; every part may be unknown."""

    sha: str | None = None
    branch: str | None = None
    committed_utc: str | None = None


def commit_here(sha: str | None = None, branch: str | None = None, folder: Path | None = None) -> Commit:
    """Return a commit as git tells it in a folder, the working folder by default; unknown without git.

    Args:
        sha: the commit, by any name that git knows it by, or as it is where git does not know it; the one
            that is checked out by default, marked ``-dirty`` where files are changed.
        branch: by default the one that is checked out, or that CI says it builds where none is; None for a
            commit that was named.
    """
    place = folder or Path.cwd()
    own = sha is None
    sha = sha or _git(place, "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*")
    if sha is None:
        return Commit(branch=branch)
    if own and branch is None:
        branch = _git(place, "symbolic-ref", "--short", "-q", "HEAD") or _branch_of_ci()
    bare = sha.removesuffix("-dirty")
    # --end-of-options: a name of a commit is never read as an option.
    told = _git(place, "show", "-s", "--format=%H %ct", "--end-of-options", f"{bare}^{{commit}}")
    if told is None:
        return Commit(sha, branch)
    full, seconds = told.split()
    return Commit(full + sha[len(bare) :], branch, iso(float(seconds)))


def _branch_of_ci() -> str | None:
    return next((os.environ[name] for name in _BRANCH_IN_CI if os.environ.get(name)), None)


def _git(place: Path, *args: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(place), *args],  # noqa: S607  # the user's own git, found as in a shell
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=False,
            timeout=60,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None


def iso(seconds: float) -> str:
    """Return a time since the epoch as ISO 8601 in UTC."""
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="seconds")
