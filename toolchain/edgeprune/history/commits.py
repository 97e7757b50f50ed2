"""Which commit results belong to, as git tells it."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

# CI checks out a commit and no branch: GitHub ("Variables reference") has the first one in a pull request
# alone, where the second one is no branch; GitLab ("Predefined CI/CD variables") has the third one.
_BRANCH_IN_CI = ("GITHUB_HEAD_REF", "GITHUB_REF_NAME", "CI_COMMIT_REF_NAME")
# What CI says that it builds: GitHub, GitLab, Azure, Bitbucket, CircleCI, Buildkite, Drone, Travis, Jenkins.
_COMMIT_IN_CI = (
    "GITHUB_SHA",
    "CI_COMMIT_SHA",
    "BUILD_SOURCEVERSION",
    "BITBUCKET_COMMIT",
    "CIRCLE_SHA1",
    "BUILDKITE_COMMIT",
    "DRONE_COMMIT_SHA",
    "TRAVIS_COMMIT",
    "GIT_COMMIT",
)
_SHA = re.compile(r"[0-9a-f]{7,64}")
_NO_REPOSITORY = "not a git repository"


@dataclass(frozen=True)
class Commit:
    """Which commit results belong to; every part may be unknown.

    Attributes:
        trouble: why git does not tell, in its own words; None where it does, or where there is no repository.
    """

    sha: str | None = None
    branch: str | None = None
    committed_utc: str | None = None
    trouble: str | None = None


def commit_here(sha: str | None = None, branch: str | None = None, folder: Path | None = None) -> Commit:
    """Return a commit as git tells it in a folder, the working folder by default, or else as CI tells it.

    Args:
        sha: the commit, by any name that git knows it by, or as it is where git does not know it; the one
            that is checked out by default, marked ``-dirty`` where files are changed.
        branch: by default the one that is checked out, or that CI says it builds where none is; None for a
            commit that was named.
    """
    place = folder or Path.cwd()
    own, trouble = sha is None, None
    if sha is None:
        sha, trouble = _git(place, "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*")
        sha = sha or next(filter(_SHA.fullmatch, _told_by_ci(_COMMIT_IN_CI)), None)
    if sha is None:
        return Commit(branch=branch, trouble=trouble)
    if own and branch is None:
        checked_out, _ = _git(place, "symbolic-ref", "--short", "-q", "HEAD")
        branch = checked_out or next(_told_by_ci(_BRANCH_IN_CI), None)
    bare = sha.removesuffix("-dirty")
    # --end-of-options: a name of a commit is never read as an option.
    told, _ = _git(place, "show", "-s", "--format=%H %ct", "--end-of-options", f"{bare}^{{commit}}")
    if told is None:
        return Commit(sha, branch, trouble=trouble)
    full, seconds = told.split()
    return Commit(full + sha[len(bare) :], branch, iso(float(seconds)), trouble)


def _told_by_ci(names: Iterable[str]) -> Iterator[str]:
    return (os.environ[name] for name in names if os.environ.get(name))


def _git(place: Path, *args: str) -> tuple[str | None, str | None]:
    """Return what git prints, None where it fails; and why, unless there is no repository to speak of."""
    # A repository of anyone's may name a program that git runs when it looks for changed files.
    command = ["git", "-c", "core.fsmonitor=false", "-C", str(place), *args]
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=False,
            timeout=60,
            env={**os.environ, "LC_ALL": "C", "GIT_OPTIONAL_LOCKS": "0"},
        )
    except FileNotFoundError:
        return None, None  # without git
    except (OSError, subprocess.TimeoutExpired) as exc:
        return None, f"git: {exc}"
    if done.returncode == 0:
        return done.stdout.strip() or None, None
    said = next((line for line in done.stderr.splitlines() if line.startswith("fatal: ")), "")
    reason = said.removeprefix("fatal: ")
    if not reason or _NO_REPOSITORY in reason:
        return None, None
    fix = f" (git config --global --add safe.directory {place})" if "dubious ownership" in reason else ""
    return None, f"git: {reason}{fix}"


def iso(seconds: float) -> str:
    """Return a time since the epoch as ISO 8601 in UTC."""
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="seconds")
