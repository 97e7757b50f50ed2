"""The commit of a result: as git tells it, else as CI does; and why, where git refuses."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from edgeprune.history.commits import commit_here

GIT = shutil.which("git")
pytestmark = pytest.mark.skipif(GIT is None, reason="git is not installed")
SHA = "0123456789abcdef0123456789abcdef01234567"
CI = [
    *("GITHUB_SHA", "CI_COMMIT_SHA", "BUILD_SOURCEVERSION", "BITBUCKET_COMMIT", "CIRCLE_SHA1"),
    *("BUILDKITE_COMMIT", "DRONE_COMMIT_SHA", "TRAVIS_COMMIT", "GIT_COMMIT"),
    *("GITHUB_HEAD_REF", "GITHUB_REF_NAME", "CI_COMMIT_REF_NAME"),
]


@pytest.fixture(autouse=True)
def _no_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in CI:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Return a repository with one commit."""
    (tmp_path / "code.py").write_text("1")
    who = ["-c", "user.name=a", "-c", "user.email=a@b"]
    for words in (["init", "-q"], ["add", "code.py"], [*who, "commit", "-q", "-m", "one"]):
        subprocess.run([str(GIT), "-C", str(tmp_path), *words], check=True, capture_output=True)
    return tmp_path


def test_dubious_ownership_is_told_in_gits_own_words(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    commit = commit_here(folder=repository)
    assert commit.sha is None
    assert commit.trouble == (
        f"git: detected dubious ownership in repository at '{repository}' "
        f"(git config --global --add safe.directory {repository})"
    )


@pytest.mark.parametrize("name", CI[:9])
def test_where_git_refuses_ci_tells_the_commit(
    repository: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    monkeypatch.setenv(name, SHA)
    monkeypatch.setenv("GITHUB_REF_NAME", "main")
    commit = commit_here(folder=repository)
    assert (commit.sha, commit.branch) == (SHA, "main") and "dubious" in str(commit.trouble)


def test_outside_of_a_repository_there_is_no_trouble(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert commit_here(folder=tmp_path).trouble is None
    monkeypatch.setenv("GIT_COMMIT", "not a commit")
    assert commit_here(folder=tmp_path).sha is None


def test_a_repository_runs_no_program_of_its_own(repository: Path) -> None:
    program = repository / "spy"
    program.write_text(f"#!/bin/sh\ntouch {repository}/ran\n")
    program.chmod(0o755)
    config = ["config", "core.fsmonitor", str(program)]
    subprocess.run([str(GIT), "-C", str(repository), *config], check=True)
    assert commit_here(folder=repository).sha is not None
    assert not (repository / "ran").exists()
