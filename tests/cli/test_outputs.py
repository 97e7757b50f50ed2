"""No command replaces what it reads, or a user's files in a folder that no build has made."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from edgeprune.cli.outputs import require_apart
from edgeprune.core.errors import OutputError
from made_builds import write_build


def _contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and not path.is_symlink()}


@pytest.mark.parametrize("name", ["candidate.onnx", "./candidate.onnx", "link.onnx", "hard.onnx"])
def test_a_report_never_replaces_an_engine_that_is_checked(
    run: Callable, convnet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(convnet, "candidate.onnx")
    Path("link.onnx").symlink_to("candidate.onnx")
    os.link("candidate.onnx", "hard.onnx")
    before = _contents(tmp_path)
    ended = run("check", "--baseline", convnet, "--candidate", "candidate.onnx", "--report", f"json={name}")
    assert ended.code == 3 and ended.error.endswith("the command reads this file, so name another")
    assert _contents(tmp_path) == before


@pytest.mark.parametrize("name", ["summary.json", "stages/e/fp32.onnx"])
def test_a_page_never_replaces_a_part_of_the_build(
    run: Callable, convnet: Path, tmp_path: Path, name: str
) -> None:
    build = tmp_path / "build"
    write_build(build, {"x86-ort": {"fp32": convnet}})
    part = build / name
    part.parent.mkdir(parents=True, exist_ok=True)
    part.touch()
    before = _contents(build)
    ended = run("explain", build, "--plot", part)
    assert ended.code == 3 and "name another" in ended.error and _contents(build) == before


def test_a_page_of_an_earlier_run_is_replaced(convnet: Path, tmp_path: Path) -> None:
    write_build(tmp_path, {"x86-ort": {"fp32": convnet}})
    page = tmp_path / "explain.html"
    page.touch()
    require_apart([page, tmp_path / "new.html", None], [tmp_path, "postgresql://host/db", None])
    with pytest.raises(OutputError, match="name another"):
        require_apart([tmp_path / "summary.json"], [tmp_path])


@pytest.mark.parametrize("command", [["export", "h.db"], ["plot", "--out", "h.db"]])
def test_a_history_is_not_replaced_by_what_is_made_of_it(
    run: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("h.db").write_bytes(b"SQLite format 3\0")
    before = _contents(tmp_path)
    ended = run("history", *command, "--db", "sqlite:///h.db")
    assert ended.code == 3 and "name another" in ended.error and _contents(tmp_path) == before


@pytest.mark.parametrize("kept", [["best/best.pt"], ["summary.json"], ["best/x", "stages/x"]])
def test_a_users_own_files_are_not_replaced_by_a_build(
    run: Callable, tmp_path: Path, kept: list[str]
) -> None:
    for name in kept:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("mine")
    before = _contents(tmp_path)
    ended = run(*("build", "--model", "digits", "--data", "digits", "--target", "x86-ort", "--out", tmp_path))
    assert ended.code == 3 and "name another output folder" in ended.error
    assert _contents(tmp_path) == before


@pytest.mark.parametrize(
    "words",
    [
        ["bench", "loop"], ["bench", "loop/x.onnx"], ["check", "--baseline", "loop", "--candidate", "loop"],
        ["check", "--baseline", "a.onnx", "--candidate", "a.onnx", "--report", "json=loop"],
        ["search", "--model", "digits", "--data", "digits", "--target", "x86-ort", "--out", "loop"],
    ],
)  # fmt: skip
def test_links_in_a_circle_are_one_line(
    run: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("loop").symlink_to("loop")
    ended = run(*words)
    assert ended.code == 3 and "loop" in ended.error and Path("loop").is_symlink()
