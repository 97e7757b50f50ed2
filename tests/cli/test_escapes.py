"""Names out of files, arguments and devices reach neither a terminal nor a CI system as commands."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from edgeprune.history.entry import Entry
from edgeprune.records.summary import save_summary
from made_summaries import a_summary

EVIL = "\x1b[31mred\x1b]0;title\x07\x9b2J\u202e[bold]x[/nope]##[error]e"
LINES = f"{EVIL}\n::set-output name=x::y\r::error::z"


def _harmless(text: str) -> bool:
    lines = text.split("\n")
    obeyed = [line for line in lines if line.lstrip().startswith("::") or re.search(r"##\w*\[", line)]
    return not obeyed and all(char.isprintable() or char == "\n" for char in text)


@pytest.mark.parametrize(
    "arguments",
    [
        [EVIL], [f"--{EVIL}"], ["targets", EVIL], ["targets", "show", EVIL], ["targets", "show", "cpu", EVIL],
        ["report", EVIL], ["--debug", "report", EVIL], ["bench", EVIL], ["explain", EVIL],
        ["history", "show", "--db", f"{EVIL}.db"], ["history", "add", EVIL], ["runtimes", "install", EVIL],
        ["check", "--baseline", EVIL, "--candidate", EVIL, "--budget", EVIL],
        ["check", "--baseline", EVIL, "--candidate", EVIL, "--report", f"{EVIL}=x"],
        ["build", "--model", EVIL, "--data", EVIL, "--target", EVIL, "--out", EVIL],
        ["build", "--model", EVIL, "--data", EVIL, "--target", "cpu", "--out", "out", "--set", EVIL],
        ["device", "setup", EVIL], ["bench", "x.onnx", "--device", EVIL],
    ],
)  # fmt: skip
def test_an_argument_comes_back_as_text(
    run: Callable, arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ended = run(*arguments)
    assert ended.code not in (0, 1)
    assert ended.errors and _harmless("\n".join(ended.errors)) and _harmless(ended.stdout)


def test_a_summary_and_a_history_are_shown_as_text(run: Callable, tmp_path: Path) -> None:
    summary = a_summary()
    rows = tuple(
        row.model_copy(update={"target": LINES, "flags": (LINES,), "refused": (LINES,), "p50_ms": 2.5})
        for row in summary.rows()
    )
    target = next(iter(summary.targets.values())).model_copy(update={"rows": rows, "verdict": LINES})
    evil = summary.model_copy(
        update={
            "targets": {LINES: target},
            "verdict": LINES,
            "chosen": rows[0],
            "environment": {LINES: LINES},
        }
    )
    save_summary(evil, tmp_path / "build")
    entry = Entry(
        id="1", kind="bench", name=LINES, machine=LINES, backend=LINES, backend_version=LINES,
        precision=LINES, threads=1, scenario=LINES, started_utc=LINES, commit_sha=LINES, branch=LINES,
        valid=False, p50_ms=1.5,
        document="{}",
    )  # fmt: skip
    (tmp_path / "lines").write_text(entry.model_dump_json() + "\n", encoding="utf-8")
    db = tmp_path / "h.db"
    for arguments in (
        ["report", tmp_path / "build"],
        ["history", "import", tmp_path / "lines", "--db", db],
        ["history", "show", "--db", db],
        ["history", "show", "--db", db, "--series", "missing"],
        ["history", "plot", "--db", db, "--out", tmp_path / "p.html"],
        ["explain", tmp_path / "build"],
        ["bench", tmp_path / "build"],
    ):
        ended = run(*arguments)
        assert _harmless(ended.stdout) and _harmless("\n".join(ended.errors)), arguments
    shown = run("history", "show", "--db", db, "--json").stdout
    assert shown.strip().isprintable() and json.loads(shown)[0]["branch"] == LINES
    assert "\x1b" not in (tmp_path / "p.html").read_text(encoding="utf-8")


def test_an_unexpected_error_is_a_traceback_without_escapes(
    run: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(path: Path, out: Path | None = None) -> None:
        raise RuntimeError(LINES)

    monkeypatch.setattr("edgeprune.report.html.write_html", fail)
    ended = run("report", tmp_path)
    assert ended.code == 1
    assert "RuntimeError" in "".join(ended.errors) and _harmless("\n".join(ended.errors))
