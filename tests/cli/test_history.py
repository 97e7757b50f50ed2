"""`edgeprune history` as a user meets it: results in, by commit, and pages out."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from edgeprune.bench import sessions
from edgeprune.core.errors import ConfigError
from edgeprune.history import recording
from edgeprune.history.commits import commit_here
from edgeprune.history.entry import Entry
from edgeprune.history.store import open_history
from edgeprune.records.bench_result import load_result
from edgeprune.runners.devices import LOCAL
from edgeprune.runners.known import Place

GIT = shutil.which("git")
needs_git = pytest.mark.skipif(GIT is None, reason="git is not installed")


def git(folder: Path, *args: str) -> str:
    who = {"GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b", "GIT_COMMITTER_NAME": "a"}
    when = {"GIT_COMMITTER_EMAIL": "a@b", "GIT_COMMITTER_DATE": "2026-03-04T05:06:07Z"}
    done = subprocess.run(
        [str(GIT), "-C", str(folder), "-c", "init.defaultBranch=trunk", *args],
        env=os.environ | who | when | {"GIT_CONFIG_GLOBAL": os.devnull},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a repository with one commit, which is the working folder."""
    folder = tmp_path / "it's a repository"
    folder.mkdir()
    git(folder, "init")
    (folder / "code.py").write_text("1\n")
    git(folder, "add", "code.py")
    git(folder, "commit", "-m", "one")
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture(scope="module")
def results(run: Any, convnet: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return a folder with a real result, and the history that the same bench added it to."""
    folder = tmp_path_factory.mktemp("results")
    ended = run("bench", convnet, "--out", folder / "out", "--history", folder / "h.sqlite")
    assert ended.code == 0 and ended.errors == []
    return folder / "out", folder / "h.sqlite"


def filled(path: Path, entry: Entry, p50: list[float], **changes: Any) -> Path:
    """Write a history with a result a commit."""
    with open_history(str(path)) as history:
        history.add(
            entry.model_copy(
                update={
                    "id": f"{changes}{index}",
                    "commit_sha": f"{index:08x}" * 5,
                    "committed_utc": f"2026-01-{index + 1:02d}T00:00:00+00:00",
                    "p50_ms": value,
                    **changes,
                }
            )
            for index, value in enumerate(p50)
        )
    return path


@pytest.fixture
def slowed(results: tuple[Path, Path], tmp_path: Path) -> Path:
    """Return a history of 30 commits whose p50 rises by 10 % at the 18th."""
    with open_history(str(results[1])) as history:
        (entry,) = history.entries()
    rng = np.random.default_rng(2)
    p50 = [10 * (1.1 if index >= 18 else 1) * (1 + 0.01 * rng.standard_normal()) for index in range(30)]
    return filled(tmp_path / "slowed.sqlite", entry, p50, valid=True)


@needs_git
def test_results_belong_to_the_commit_of_the_working_folder(
    run: Any, results: tuple[Path, Path], repository: Path
) -> None:
    head = git(repository, "rev-parse", "HEAD")
    ended = run("history", "add", results[0])
    assert ended.code == 0 and ended.errors == []
    assert ended.stdout.startswith("1 of 1 results were new in sqlite:///edgeprune-history.sqlite")
    again = run("history", "add", results[0], "--commit", "other")
    assert again.stdout.startswith("0 of 1 results were new")
    (entry,) = json.loads(run("history", "show", "--json").stdout)
    assert (entry["commit_sha"], entry["branch"]) == (head, "trunk")
    assert entry["committed_utc"] == "2026-03-04T05:06:07+00:00"
    (path,) = results[0].iterdir()
    result = load_result(path)
    assert entry["fps"] > 0 and entry["peak_mb"] == result.memory.peak_hwm  # type: ignore[union-attr]
    (repository / "code.py").write_text("2\n")
    assert commit_here().sha == f"{head}-dirty" and commit_here().committed_utc
    named = commit_here("HEAD")
    assert (named.sha, named.branch) == (head, None)
    assert commit_here("--output=x").committed_utc is None


@needs_git
def test_ci_that_checks_out_no_branch_tells_it(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GITHUB_HEAD_REF", "GITHUB_REF_NAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CI_COMMIT_REF_NAME", "faster")
    assert commit_here().branch == "trunk"
    git(repository, "checkout", "--detach")
    assert commit_here().branch == "faster"
    monkeypatch.setenv("GITHUB_REF_NAME", "7/merge")
    monkeypatch.setenv("GITHUB_HEAD_REF", "pull")
    assert commit_here().branch == "pull"


def test_without_git_results_are_kept_without_a_commit(
    run: Any, results: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    ended = run("history", "add", results[0], "--db", tmp_path / "h.sqlite")
    assert ended.code == 0 and ended.stdout.rstrip().endswith("(no commit)")
    shown = run("history", "show", "--db", tmp_path / "h.sqlite")
    assert shown.code == 0 and "onnxruntime fp32" in shown.stdout


def test_what_bench_adds_and_what_its_file_adds_are_one_result(run: Any, results: tuple[Path, Path]) -> None:
    ended = run("history", "add", results[0], "--db", results[1])
    assert ended.code == 0 and ended.stdout.startswith("0 of 1 results were new")


def test_a_folder_of_several_devices_is_added_whole(
    run: Any, results: tuple[Path, Path], tmp_path: Path
) -> None:
    (written,) = results[0].iterdir()
    for device in ("pi", "board"):
        data = json.loads(written.read_text()) | {"device": device, "run_id": device}
        (tmp_path / "out" / device).mkdir(parents=True)
        (tmp_path / "out" / device / written.name).write_text(json.dumps(data))
    ended = run("history", "add", tmp_path / "out", "--db", tmp_path / "h.sqlite")
    assert ended.code == 0 and ended.stdout.startswith("2 of 2 results were new")
    shown = run("history", "show", "--db", tmp_path / "h.sqlite", "--series", " at pi", "--json")
    assert [entry["machine"].endswith(" at pi") for entry in json.loads(shown.stdout)] == [True]


def test_a_history_that_does_not_answer_is_told_before_anything_is_measured(
    run: Any, convnet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("something was measured")

    monkeypatch.setattr("edgeprune.runners.local.LocalRunner.run", refuse)
    place = tmp_path / "none" / "h.sqlite"
    sides = ("--baseline", convnet, "--candidate", convnet, "--target", "x86-ort")
    for command in (("bench", convnet), ("check", *sides)):
        ended = run(*command, "--history", place)
        assert ended.code == 3 and "unable to open database file" in ended.error


def test_what_was_measured_is_shown_although_the_history_is_gone_by_then(
    run: Any, results: tuple[Path, Path], convnet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (written,) = results[0].iterdir()
    outcome = sessions.Outcome(Place(LOCAL, LOCAL), (load_result(written),))
    monkeypatch.setattr(sessions, "measure_on", lambda *_: [outcome])

    def gone(*_: Any) -> None:
        raise ConfigError("the history does not answer")

    monkeypatch.setattr(recording, "record_bench", gone)
    ended = run("bench", convnet, "--history", tmp_path / "h.sqlite", "--json")
    assert ended.code == 3 and "does not answer" in ended.error
    assert len(json.loads(ended.stdout)) == 1


def test_what_was_measured_is_shown_although_the_disk_is_full_by_then(
    run: Any, results: tuple[Path, Path], convnet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (written,) = results[0].iterdir()
    outcome = sessions.Outcome(Place(LOCAL, LOCAL), (load_result(written),))
    monkeypatch.setattr(sessions, "measure_on", lambda *_: [outcome])

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "out/model.onnx.json")

    monkeypatch.setattr("edgeprune.records.bench_result.save_result", full)
    ended = run("bench", convnet, "--out", tmp_path / "out", "--json")
    assert ended.code == 3 and "out/model.onnx.json: the disk is full" in ended.error
    assert len(json.loads(ended.stdout)) == 1


def test_a_build_comes_with_its_accuracy(run: Any, built: Any, tmp_path: Path) -> None:
    ended = run(
        "history", "add", built.out, "--db", tmp_path / "h.sqlite", "--commit", "abc", "--branch", "b"
    )
    assert ended.code == 0
    entries = json.loads(run("history", "show", "--json", "--db", tmp_path / "h.sqlite").stdout)
    rows = [row for target in built.summary["targets"].values() for row in target["rows"] if row["bench"]]
    assert len(entries) == len(rows) > 1
    assert {entry["accuracy_metric"] for entry in entries} == {"mAP50-95"}
    assert all(entry["accuracy"] is not None and entry["branch"] == "b" for entry in entries)


def test_the_gates_result_is_kept_with_the_candidates_numbers(
    run: Any, convnet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgeprune.gate import result as gate_result
    from edgeprune.gate import run as gate

    pair = gate_result.Pair(
        order="AB", baseline_ms=2.0, candidate_ms=1.0, baseline_fps=500.0, candidate_fps=999.0
    )
    known = {"device": "a CPU", "runtime": "onnxruntime", "runtime version": "1", "threads": 1}
    verdict = gate_result.GateResult(
        verdict="pass",
        tau=0.05,
        metrics=(gate_result.MetricVerdict(name="peak memory", verdict="pass", evidence="", candidate=70.0),),
        pairs=(pair, pair.model_copy(update={"candidate_ms": 1.2})),
        baseline={},
        candidate={**known, "precision": "fp32"},
    )
    monkeypatch.setattr(gate, "run_gate", lambda *args, **kwargs: verdict)
    sides = ("--baseline", convnet, "--candidate", convnet, "--target", "x86-ort")
    ended = run("check", *sides, "--history", tmp_path / "h.sqlite", "--json")
    assert ended.code == 0 and ended.errors == []
    broken_off = json.loads(ended.stdout) | {"error": {"message": "another target's device was lost"}}
    (tmp_path / "check.json").write_text(json.dumps(broken_off))
    again = run("history", "add", tmp_path / "check.json", "--db", tmp_path / "h.sqlite")
    assert again.stdout.startswith("0 of 1 results were new")
    (entry,) = json.loads(run("history", "show", "--json", "--db", tmp_path / "h.sqlite").stdout)
    assert (entry["kind"], entry["name"], entry["p50_ms"], entry["peak_mb"]) == ("check", "x86-ort", 1.1, 70)


def test_a_plot_marks_the_commit_where_the_level_changed(run: Any, slowed: Path, tmp_path: Path) -> None:
    ended = run("history", "plot", "--db", slowed, "--out", tmp_path / "p50.html")
    assert ended.code == 0 and ended.errors == []
    assert "between 0000001100 and 0000001200" in ended.stdout
    page = (tmp_path / "p50.html").read_text()
    assert "between 0000001100 and 0000001200" in page and "<script" not in page
    assert run("history", "plot", "--db", slowed, "--out", tmp_path / "p50.svg").code == 0
    assert ElementTree.parse(tmp_path / "p50.svg").getroot().tag == "{http://www.w3.org/2000/svg}svg"
    assert "None" not in ended.stdout
    told = run("history", "plot", "--db", slowed, "--out", tmp_path / "p50.html", "--json")
    (curve,) = json.loads(told.stdout)
    assert (curve["series"]["backend"], curve["unit"], curve["results"]) == ("onnxruntime", "ms", 30)
    (change,) = curve["changes"]
    assert (change["after_commit"], change["up_to_commit"]) == ("00000011" * 5, "00000012" * 5)
    assert change["after"] / change["before"] == pytest.approx(1.1, abs=0.02)


def test_an_accuracy_that_was_nothing_is_told_without_a_share(run: Any, slowed: Path, tmp_path: Path) -> None:
    with open_history(str(slowed)) as history:
        mended = [
            entry.model_copy(update={"accuracy": 0.5 if index >= 15 else 0.0, "accuracy_metric": "mAP50-95"})
            for index, entry in enumerate(history.entries())
        ]
    with open_history(str(tmp_path / "h.sqlite")) as history:
        history.add(mended)
    page = tmp_path / "page.html"
    ended = run("history", "plot", "--db", tmp_path / "h.sqlite", "--metric", "accuracy", "--out", page)
    assert ended.code == 0 and "up from 0 (0 to 0.5) between" in ended.stdout
    assert "nan" not in ended.stdout and "+nan" not in page.read_text()


def test_a_branch_that_is_faster_is_no_change_of_the_other_one(
    run: Any, slowed: Path, tmp_path: Path
) -> None:
    with open_history(str(slowed)) as history:
        entry = next(history.entries())
    path = filled(tmp_path / "h.sqlite", entry, [10.0] * 15, branch="main")
    filled(path, entry, [5.0] * 15, branch="pull")
    both, alone = (
        run("history", "plot", "--db", path, "--out", tmp_path / "p.html", "--json", *more)
        for more in ((), ("--branch", "main"))
    )
    assert [json.loads(ended.stdout)[0]["results"] for ended in (both, alone)] == [30, 15]
    assert json.loads(alone.stdout)[0]["changes"] == []
    ended = run("history", "show", "--db", path, "--branch", "mian", "--series", "x")
    assert ended.code == 3 and "none of 30 results is of --series x, --branch mian" in ended.error


def test_an_unfit_run_is_drawn_and_has_no_say(
    run: Any, slowed: Path, results: tuple[Path, Path], tmp_path: Path
) -> None:
    with open_history(str(slowed)) as history:
        entry = next(history.entries())
    path = filled(tmp_path / "unfit.sqlite", entry, [10.0] * 15 + [20.0] * 15, valid=False)
    ended = run("history", "plot", "--db", path, "--out", tmp_path / "page.html")
    assert ended.code == 0 and "between" not in ended.stdout
    assert "30 of 30 runs are unfit" in (tmp_path / "page.html").read_text()


def test_a_name_out_of_a_file_is_no_markup(run: Any, slowed: Path, tmp_path: Path) -> None:
    with open_history(str(slowed)) as history:
        entry = next(history.entries())
    path = filled(tmp_path / "h.sqlite", entry, [1.0, 2.0], name="<script>alert(1)</script>\n\x1b[2J.onnx")
    ended = run("history", "plot", "--db", path, "--out", tmp_path / "page.html")
    assert ended.code == 0 and "<script" not in (tmp_path / "page.html").read_text()
    assert "\x1b" not in run("history", "show", "--db", path).stdout


def test_export_and_import_are_a_round_trip(run: Any, slowed: Path, tmp_path: Path) -> None:
    assert run("history", "export", tmp_path / "all.jsonl", "--db", slowed).code == 0
    for new in (30, 0):
        ended = run("history", "import", tmp_path / "all.jsonl", "--db", tmp_path / "other.sqlite")
        assert ended.code == 0 and ended.stdout.startswith(f"{new} of 30 results were new")
    assert run("history", "export", tmp_path / "again.jsonl", "--db", tmp_path / "other.sqlite").code == 0
    assert (tmp_path / "again.jsonl").read_text() == (tmp_path / "all.jsonl").read_text()
    refused = run("history", "export", tmp_path / "all.jsonl" / "below", "--db", slowed)
    assert refused.code == 3 and "below: cannot be written: a part of the path is a file" in refused.error


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("show",), "no history is here; `edgeprune history add` makes one"),
        (("plot", "--out", "p.html"), "no history is here"),
        (
            ("show", "--db", "postgresql://ci:s3cret@db:port/x"),
            "history postgresql://ci:***@db:port/x: not a",
        ),
        (("add", "missing.json"), "missing.json: cannot be read: No such file"),
        (("add", "junk.json"), "junk.json: not valid JSON"),
        (("add", "list.json"), "list.json: not a result of bench or check"),
        (("add", "other.json"), "other.json: not a result of bench or check: verdict: this key is required"),
        (("add", "old.json"), "old.json: not a result of this schema version"),
        (("add", "empty"), "empty: no result of bench or check is here"),
        (("import", "junk.json"), "junk.json:1: not an entry of a history"),
    ],
)
def test_bad_input_is_one_line(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, args: tuple[str, ...], says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    files = {
        "junk.json": "{]", "list.json": "[1, 2]", "other.json": '{"x86-ort": {}}', "old.json": '{"run_id": 1}'
    }  # fmt: skip
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    ended = run("history", *args)
    assert ended.code == 3 and says in ended.error
    assert not list(tmp_path.glob("*.sqlite")) or args[0] == "import"


def test_a_plot_of_what_is_not_there_is_one_line(run: Any, slowed: Path, tmp_path: Path) -> None:
    ended = run("history", "plot", "--db", slowed, "--metric", "accuracy", "--out", tmp_path / "p.html")
    assert ended.code == 3 and "none has accuracy" in ended.error
    ended = run("history", "plot", "--db", slowed, "--out", tmp_path / "p.png")
    assert ended.code == 3 and "a plot is an .html page or an .svg file" in ended.error
    with open_history(str(slowed)) as history:
        history.add([next(history.entries()).model_copy(update={"id": "second", "precision": "int8"})])
    ended = run("history", "plot", "--db", slowed, "--out", tmp_path / "p.svg")
    assert ended.code == 3 and "one chart holds one series, not 2" in ended.error
    only = run("history", "plot", "--db", slowed, "--out", tmp_path / "p.svg", "--series", "ime int8")
    assert only.code == 0
