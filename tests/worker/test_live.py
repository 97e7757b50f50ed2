"""The live view: what workers tell as they measure, and how it is shown."""

from __future__ import annotations

import io
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from edgeprune.bench.effort import BenchProfile
from edgeprune.bench.protocol import measure, run_workers
from edgeprune.cli.progress import stage_progress
from edgeprune.records.bench_result import Job
from edgeprune.runners.local import LocalRunner
from edgeprune.worker import live

PLAN = BenchProfile(blocks=1, min_queries=20, min_seconds=2.2, warmup_s=0.0, warmup_cap_s=0.2)


def test_a_worker_alone_tells_each_second_what_it_has(job: Job) -> None:
    said: list[dict] = []
    (report,) = run_workers([job], "single_stream", PLAN, LocalRunner(), said.append)
    assert report.block is not None
    counts = [one["n"] for one in said]
    assert counts == sorted(counts) and counts[-1] == len(report.block.samples_ns)
    assert 3 <= len(said) <= 5 and said[-1]["share"] == 1
    assert min(report.block.samples_ns) <= said[-1]["p50_ms"] * 1e6 <= max(report.block.samples_ns)
    # What lies between two slices is in no number.
    assert sum(report.block.samples_ns) <= report.block.elapsed_ns
    assert report.block.elapsed_ns >= 2.2e9


def test_rows_in_turns_are_told_one_by_one(job: Job) -> None:
    texts: list[str] = []
    jobs = [job, job.model_copy(update={"name": "other row"})]
    measure(jobs, replace(PLAN, min_seconds=1.5), LocalRunner(), lambda done, total, text: texts.append(text))
    shown = next(text for text in texts if "\n" in text)
    assert shown.splitlines()[0].startswith("block 1 of 1")
    rows = shown.splitlines()[1:]
    assert {row.split(":")[0].strip() for row in rows} == {"tiny fp32", "other row"}
    assert all("queries, p50 " in row for row in rows)


def test_the_hottest_zone_is_told_and_none_where_there_is_none(tmp_path: Path) -> None:
    assert live.temperature(tmp_path) == {}
    for index, text in enumerate(("41000\n", "54500\n", "broken\n")):
        zone = tmp_path / "sys/class/thermal" / f"thermal_zone{index}"
        zone.mkdir(parents=True)
        (zone / "temp").write_text(text)
    assert live.temperature(tmp_path) == {"temperature_c": 54.5}


def test_words_are_one_line_without_a_terminal(capsys) -> None:
    text = live.words(
        "block 2 of 5", {"share": 0.5, "temperature_c": 54.4, "rows": {"a": {"n": 1200, "p50_ms": 3.456}}}
    )
    assert text == "block 2 of 5, 54 °C\n  a: 1,200 queries, p50 3.46 ms"
    with stage_progress() as notify:
        notify("bench", 0.0, text)
    assert capsys.readouterr().err == "bench: 0% block 2 of 5, 54 °C; a: 1,200 queries, p50 3.46 ms\n"
    assert live.words("block 1 of 1", {"share": 0.0}) == "block 1 of 1"


def test_a_terminal_shows_a_devices_name_and_its_worker_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    with stage_progress() as notify:
        notify("[fe80::1]", 0.5, live.words("[block] 1", {"n": 7, "p50_ms": 1.5, "temperature_c": 54.4}))
    shown = sys.stderr.getvalue()  # type: ignore[attr-defined]
    assert "[fe80::1]" in shown and "[block] 1, 7 queries, p50 1.50 ms, 54 °C" in shown
