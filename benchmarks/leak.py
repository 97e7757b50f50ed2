"""The 10-minute run that a leak is found in, and none is reported without one: the same engine twice.

    python -m benchmarks.leak ENGINE

One process runs the engine as it is, another one keeps a megabyte more each minute. Both run at the same
time, on the same cores: resident memory does not mind, latency would. A wrong verdict exits with 1.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.leaky_worker import MB_PER_MINUTE

from edgeprune.bench.effort import PROFILES
from edgeprune.bench.scenario_runs import measure_setup
from edgeprune.bench.setup import Setup
from edgeprune.bench.subject import make_job, subjects_of
from edgeprune.records.bench_result import BenchResult
from edgeprune.runners.local import LocalRunner


class LeakyDevice(LocalRunner):
    """This machine, with workers that leak."""

    def run(self, args: Sequence[str], timeout: float, on_line: Any = None) -> Any:
        """Run the worker that leaks in place of the harness's."""
        python, _, _, *files = args
        return super().run((python, "-m", "benchmarks.leaky_worker", *files), timeout, on_line)


def main() -> int:
    """Measure both at once and print what the rule says of each."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("engine", type=Path)
    parser.add_argument("--seconds", type=float, default=PROFILES["sustained"].min_seconds)
    given = parser.parse_args()
    setup = Setup("sustained", seconds=given.seconds)
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(2) as both:
        (subject,) = subjects_of(given.engine)
        job = make_job(subject, 1, Path(folder))
        told = lambda done, total, text: print(f"{done:.0f} of {total} s: {text}", file=sys.stderr)  # noqa: E731
        runs = {
            "as it is": both.submit(measure_setup, [job], setup, PROFILES["sustained"], LocalRunner(), told),
            f"{MB_PER_MINUTE:g} MB a minute planted": both.submit(
                measure_setup, [job], setup, PROFILES["sustained"], LeakyDevice()
            ),
        }
        results = {name: run.result()[0] for name, run in runs.items()}
    print("| run | queries | RSS first minute | RSS last minute | MB a minute | 99 % bounds | leak |")
    print("|---|---|---|---|---|---|---|")
    for name, result in results.items():
        print(_row(name, result))
    verdicts = [result.growth.leak if result.growth else None for result in results.values()]
    return 0 if verdicts == [False, True] else 1


def _row(name: str, result: BenchResult) -> str:
    growth, first, last = result.growth, result.minutes[0], result.minutes[-1]
    if growth is None:
        return f"| {name} | {len(result.blocks[0].samples_ns)} | – | – | – | – | – |"
    cells = (
        name,
        len(result.blocks[0].samples_ns),
        f"{first.rss_mb:.1f} MB",
        f"{last.rss_mb:.1f} MB",
        f"{growth.mb_per_minute:.3f}",
        f"{growth.lower:.3f} … {growth.upper:.3f}",
        {True: "found", False: "none", None: "too few readings"}[growth.leak],
    )
    return "| " + " | ".join(map(str, cells)) + " |"


if __name__ == "__main__":
    sys.exit(main())
