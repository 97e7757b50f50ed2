"""The rows of a finished build in turns once more: each one's time, and its speed-up with the interval.

    python -m benchmarks.speedups --build build --out calm

Prints the table as it goes into the README, and beside each speed-up the ratio of the two medians, which a
busy machine bends. What `--out` holds already is not measured again: an earlier run's table is printed at
once. Latency does not depend on the weights: for the widths of a build its network need not be trained out.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

from edgeprune.bench.effort import BenchProfile
from edgeprune.bench.protocol import measure
from edgeprune.bench.side_by_side import speedup
from edgeprune.bench.statistics import achieved_fps, latency_ms
from edgeprune.bench.subject import make_job, subjects_of
from edgeprune.cli.progress import stage_progress
from edgeprune.core.errors import ConfigError
from edgeprune.records.bench_result import BenchResult, load_result, result_file, save_result
from edgeprune.records.summary import Row, load_summary
from edgeprune.runners.local import LocalRunner

HEAD = (
    "| target | variant | precision | p50 ms | p90 ms | FPS | speed-up | 95 % interval | by medians "
    "| peak MB |"
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure the rows of a build side by side, unless that is done already, and print one table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--build", type=Path, required=True, help="folder of a finished build")
    parser.add_argument("--out", type=Path, required=True, help="folder for the results")
    parser.add_argument("--rounds", type=int, default=4, help="fresh processes of each row")
    parser.add_argument("--seconds", type=float, default=6.0, help="time of each process")
    options = parser.parse_args(arguments)
    summary = load_summary(options.build)
    rows = [row for row in summary.rows() if row.p50_ms is not None]
    if not rows or summary.reference is None:
        raise ConfigError(f"{options.build}: no row was measured in this build")
    files = {row.label: options.out / result_file(row.label) for row in rows}
    if not all(path.is_file() for path in files.values()):
        count = options.rounds
        plan = BenchProfile(blocks=count, min_queries=64 * count, min_seconds=options.seconds * count)
        options.out.mkdir(parents=True, exist_ok=True)
        for result in measure_rows(options.build, summary.threads, set(files), plan):
            save_result(result, files[result.name])
    results = {label: load_result(path) for label, path in files.items()}
    print(f"{HEAD}\n|{'---|' * HEAD.count(' | ')}---|")
    for row in rows:
        print(_line(row, results[row.label], results[summary.reference]))
    flags = {label: sorted({flag.code for flag in result.flags}) for label, result in results.items()}
    print("\n" + "\n".join(f"{label}: {', '.join(codes) or 'no flag'}" for label, codes in flags.items()))
    blocks = {len(result.disturbed) for result in results.values()}
    print(f"rounds that were disturbed and do not count: {max(blocks)}")


def measure_rows(build: Path, threads: int, labels: set[str], plan: BenchProfile) -> Sequence[BenchResult]:
    """Measure rows of a finished build side by side, by their labels."""
    with tempfile.TemporaryDirectory() as name, LocalRunner() as runner, stage_progress() as notify:
        jobs = []
        for number, one in enumerate(subjects_of(build)):
            if one.name in labels:
                folder = Path(name) / str(number)
                folder.mkdir()
                jobs.append(make_job(one, threads, folder))
        return measure(
            jobs, plan, runner, lambda done, total, text: notify("bench", done / max(total, 1), text)
        )


def _line(row: Row, result: BenchResult, reference: BenchResult) -> str:
    times, gain = latency_ms(result), speedup(reference, result)
    by_medians = latency_ms(reference).p50 / times.p50
    told, interval = "–", "–"
    if gain and gain.low is not None and gain.high is not None:
        told = f"at least {gain.low:.2f}" if gain.disturbed else f"{gain.times:.2f}"
        interval = f"{gain.low:.2f} to {gain.high:.2f}"
    p90 = "–" if times.p90 is None else f"{times.p90:.2f}"
    peak = "–" if result.memory is None else f"{result.memory.peak_hwm:.0f}"
    return (
        f"| {row.target} | {row.name} | {row.precision} | {times.p50:.2f} | {p90} "
        f"| {achieved_fps(result.blocks):.1f} | {told} | {interval} | {by_medians:.2f} | {peak} |"
    )


if __name__ == "__main__":
    main()
