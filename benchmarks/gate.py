"""The gate's error rates on real runs: equal sides against themselves, and a copy that has more work to do.

    python -m benchmarks.gate --model small.onnx --out gate.jsonl --equal 200 --slower 60

Every run is a whole one of `edgeprune check`: fresh processes in pairs, its looks and its bounds, with blocks
short enough for hundreds of runs. The slower copy is that of `benchmarks.slowed_copy`: some convolutions are
run twice. Each verdict is written to the file as it falls; the same command goes on where it was stopped. Two
at once can share the file, each on a core of its own (`taskset --cpu-list 0 python -m benchmarks.gate ...`).
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import onnx
from benchmarks.slowed_copy import WORK, slowed
from scipy.stats import binomtest

from edgeprune.bench.effort import BenchProfile
from edgeprune.bench.subject import make_job, subjects_of
from edgeprune.bench.testbed import local
from edgeprune.cli.progress import stage_progress
from edgeprune.core.errors import InconclusiveError
from edgeprune.gate.pairs import on_runner
from edgeprune.gate.result import overall
from edgeprune.gate.run import Rules, run_gate
from edgeprune.records.bench_result import Job
from edgeprune.runners.local import LocalRunner

BLOCK = BenchProfile(
    blocks=1, min_queries=64, min_seconds=0.5, warmup_iterations=10, warmup_s=0.2, warmup_cap_s=2.0
)
EQUAL, SLOWER = "equal", "slower"
TIMED_METRICS = ("p50 latency", "fps")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what is missing, in turns of the two kinds, and print the rates."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", type=Path, required=True, help="a small ONNX file")
    parser.add_argument("--target", default="x86-ort")
    parser.add_argument("--out", type=Path, required=True, help="file of the verdicts, JSON Lines")
    parser.add_argument("--equal", type=int, default=200, help="runs of the model against itself")
    parser.add_argument("--slower", type=int, default=60, help="runs against the slower copy")
    parser.add_argument("--work", type=float, default=WORK, help="multiply-adds that the copy does twice")
    parser.add_argument("--seconds", type=float, help="stop after so long; the same command goes on")
    options = parser.parse_args(arguments)
    wanted = {EQUAL: options.equal, SLOWER: options.slower}
    begin = time.monotonic()
    with tempfile.TemporaryDirectory() as name, LocalRunner() as runner, stage_progress() as notify:
        folder = Path(name)
        copy = folder / "slower.onnx"
        onnx.save(slowed(onnx.load(options.model), options.work), copy)
        baseline, candidate = (
            job_of(path, options.target, folder / str(index))
            for index, path in enumerate((options.model, copy))
        )
        sides = {EQUAL: baseline.model_copy(update={"name": "candidate"}), SLOWER: candidate}
        measure = on_runner(runner, BLOCK)
        while kind := _next(read(options.out), wanted):
            if options.seconds and time.monotonic() - begin > options.seconds:
                break
            done = len(read(options.out))
            notify("gate", done / sum(wanted.values()), kind)
            started = time.monotonic()
            line = {"kind": kind, "started_utc": datetime.now(timezone.utc).isoformat(timespec="seconds")}
            try:
                result = run_gate(baseline, sides[kind], Rules(), measure)
            except InconclusiveError as exc:
                line |= {"verdict": "inconclusive", "why": str(exc), "pairs": None, "ratio": None}
            else:
                ratios = [pair.candidate_ms / pair.baseline_ms for pair in result.counted]
                # The copy takes more memory as well: that it is slower has to be seen by its time.
                judged = [one for one in result.metrics if kind == EQUAL or one.name in TIMED_METRICS]
                line |= {
                    "verdict": overall(tuple(judged)),
                    "why": "; ".join(f"{one.name}: {one.evidence}" for one in judged),
                    "pairs": len(result.pairs),
                    "ratio": statistics.median(ratios) if ratios else None,
                }
            line["seconds"] = round(time.monotonic() - started, 1)
            with options.out.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(line) + "\n")
    lines = read(options.out)
    print(
        f"{local().machine['cpu']}, {lines[0]['started_utc']} to {lines[-1]['started_utc']}\n\n{table(lines)}"
    )


def job_of(path: Path, target: str, folder: Path) -> Job:
    """Return the job of one side, which is called as the gate calls it."""
    folder.mkdir()
    (subject,) = subjects_of(path, target)
    return make_job(subject, 1, folder)


def read(path: Path) -> list[dict[str, Any]]:
    """Return the runs of a file; none where it is not there yet. A line that was cut off does not count."""
    lines = path.read_text(encoding="utf-8").split("\n")[:-1] if path.exists() else []
    return [json.loads(line) for line in lines]


def _next(lines: Sequence[dict[str, Any]], wanted: dict[str, int]) -> str | None:
    """Return the kind that is furthest behind its number; None when both are complete."""
    share = {
        kind: sum(line["kind"] == kind for line in lines) / number
        for kind, number in wanted.items()
        if number
    }
    kind = min(share, key=lambda one: share[one], default=None)
    return kind if kind is not None and share[kind] < 1 else None


def table(lines: Sequence[dict[str, Any]]) -> str:
    """Return the rates with their 95 % intervals (Clopper and Pearson) as a Markdown table."""
    rows = [
        "| sides | runs | fail | inconclusive | pass | failed, 95 % interval | median slow-down | pairs |",
        "|---|--:|--:|--:|--:|---|--:|--:|",
    ]
    for kind in (EQUAL, SLOWER):
        own = [line for line in lines if line["kind"] == kind]
        if not own:
            continue
        count = {
            verdict: sum(line["verdict"] == verdict for line in own)
            for verdict in ("fail", "inconclusive", "pass")
        }
        interval = binomtest(count["fail"], len(own)).proportion_ci(0.95)
        ratios = [line["ratio"] for line in own if line["ratio"]]
        pairs = [line["pairs"] for line in own if line["pairs"]]
        rows.append(
            f"| {kind} | {len(own)} | {count['fail']} | {count['inconclusive']} | {count['pass']} | "
            f"{interval.low:.1%} to {interval.high:.1%} | "
            f"{statistics.median(ratios) - 1:+.1%} | {statistics.median(pairs):.0f} |"
        )
    return "\n".join(rows)


if __name__ == "__main__":
    main()
