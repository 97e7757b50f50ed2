"""`edgeprune bench`: a table for people, results with every sample for machines."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from edgeprune.records.bench_result import BenchResult, load_result


def test_a_table_shows_the_engine_and_its_numbers(run: Any, convnet: Path) -> None:
    ended = run("bench", convnet)
    assert ended.code == 0 and ended.errors == []
    lines = [line.split() for line in ended.stdout.splitlines() if line.strip()]
    assert {"engine", "p50", "FPS", "MB"} <= set(lines[0])
    name, samples, p50, p90, p99, *_ = lines[1]
    assert name == convnet.name and int(samples.replace(",", "")) >= 60
    assert 0 < float(p50) <= float(p90)
    assert p99 == "–" or float(p99) >= float(p90)


def test_json_is_all_of_standard_output_and_holds_every_sample(run: Any, convnet_int8: Path) -> None:
    ended = run("bench", convnet_int8, "--json", "--threads", "2")
    assert ended.code == 0
    (result,) = (BenchResult.model_validate(entry) for entry in json.loads(ended.stdout))
    assert len(result.blocks[0].samples_ns) >= 60 and result.blocks[0].output_ok
    assert result.backend.precision_actual == "int8" and result.backend.threads == 2


def test_the_results_are_kept_where_they_are_asked_for(run: Any, convnet: Path, tmp_path: Path) -> None:
    hostile = 'it\'s a\n$(touch pwned) "model" ' + "é" * 110 + ".onnx"  # as long as a name can be
    engine = tmp_path / hostile
    shutil.copyfile(convnet, engine)
    assert run("bench", engine, "--out", tmp_path / "results").code == 0
    (path,) = (tmp_path / "results").iterdir()
    assert load_result(path).artifact.path == str(engine) and path.name.endswith("é.json")


def test_all_measured_rows_of_a_build_run_in_one_session(
    run: Any, built: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgeprune.bench import sessions

    asked: list[Any] = []
    monkeypatch.setattr(sessions, "measure_subjects", lambda subjects, *rest: (asked.extend(subjects), [])[1])
    ended = run("bench", built.out, "--json")
    assert ended.code == 0 and json.loads(ended.stdout) == []
    rows = [row for target in built.summary["targets"].values() for row in target["rows"]]
    assert [subject.engine.sha256 for subject in asked] == [row["sha256"] for row in rows if row["p50_ms"]]


def test_what_cannot_be_measured_is_named(run: Any, tmp_path: Path, convnet: Path) -> None:
    (tmp_path / "weights.bin").write_bytes(b"1")
    ended = run("bench", tmp_path / "weights.bin")
    assert ended.code == 3 and "weights.bin: nothing to measure" in ended.error
    ended = run("bench", tmp_path / "gone\n\x1b[2J.onnx")
    assert ended.code == 3 and "/gone [2J.onnx: " in ended.error and ended.error.isprintable()
    ended = run("bench", convnet, "--target", "jetson")
    assert ended.code == 5 and "only the device compiles for it: name it by --device" in ended.error


def test_a_crash_of_the_worker_is_a_device_error(
    run: Any, convnet: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgeprune.runners.local import LocalRunner

    monkeypatch.setattr(LocalRunner, "python", lambda self, *needs: "/bin/false")
    ended = run("bench", convnet)
    assert ended.code == 4 and convnet.name in ended.error


def test_a_folder_that_takes_no_results_is_told_before_anything_is_measured(
    run: Any, convnet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("something was measured")

    monkeypatch.setattr("edgeprune.runners.local.LocalRunner.run", refuse)
    (tmp_path / "file").touch()
    ended = run("bench", convnet, "--out", tmp_path / "file" / "below")
    assert ended.code == 3 and f"--out {tmp_path}/file/below: it cannot be written to: " in ended.error
    ended = run("bench", convnet, "--record", tmp_path / "file" / "below")
    assert ended.code == 3 and "a part of the path is a file, not a folder" in ended.error


def test_ctrl_c_promises_nothing_that_a_bench_does_not_keep(
    run: Any, convnet: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgeprune.bench import sessions

    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(sessions, "measure_on", interrupted)
    ended = run("bench", convnet)
    assert ended.code == 130 and ended.error == "edgeprune: interrupted"
