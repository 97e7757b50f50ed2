"""The search on several data sets: what it chooses within the budget, how fast that is, what it took.

    python -m benchmarks.budget --set bccd best.pt bccd/data.yaml --set digits digits digits --out runs

Every set gets the same command: `edgeprune build --model ... --data ... --target cpu`, with what follows `--`
added for all of them. Nothing is tuned to a set. Drops are shown with their 95 % intervals.
A run that was killed goes on after the last whole stage.
With `--seeds 3` each is built with three seeds: the chosen latencies tell how far a build repeats itself.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from edgeprune.records.resampling.interval import drop_words
from edgeprune.records.scores import Accuracy
from edgeprune.records.summary import Row, Summary, load_summary

HEADS = (
    "set", "seed", "chosen", "p50 ms", "speed-up over fp32", "over the best unpruned", "drop val",
    "drop test", "sizes tried", "min",
)  # fmt: skip


class DataSet(NamedTuple):
    """A data set and the network that was trained on it, as `edgeprune build` takes them."""

    name: str
    model: str
    data: str


def main(given: Sequence[str] | None = None) -> None:
    """Build every set with every seed, and print a Markdown table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--set", nargs=3, action="append", required=True, metavar=("NAME", "MODEL", "DATA"))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("more", nargs="*", help="further options of every build, after --")
    options = parser.parse_args(given)
    sets = [DataSet(*one) for one in options.set]
    print(f"| {' | '.join(HEADS)} |\n|{'---|' * len(HEADS)}")
    for one in sets:
        for seed in range(options.seeds):
            folder = options.out / f"{one.name}-{seed}"
            build(one, seed, folder, options.more)
            print(f"| {' | '.join(cells(one.name, seed, load_summary(folder)))} |", flush=True)


def build(one: DataSet, seed: int, folder: Path, more: Sequence[str]) -> None:
    """Run the build of a set; one that found nothing within the budget counts too.

    Raises:
        SystemExit: it failed otherwise.
    """
    command = [
        *(sys.executable, "-m", "edgeprune", "build", "--model", one.model, "--data", one.data),
        *("--target", "cpu", "--seed", str(seed), "--out", str(folder), *more),
    ]
    ended = subprocess.run(command, stdout=subprocess.DEVNULL, check=False)
    if ended.returncode not in (0, 7):
        raise SystemExit(f"{one.name}: the build ended with exit code {ended.returncode}")


def cells(name: str, seed: int, summary: Summary) -> list[str]:
    """Return the cells of a build's line."""
    row = summary.chosen
    searches = [
        target.pruning.search
        for target in summary.targets.values()
        if target.pruning and target.pruning.search
    ]
    tried = sum(len(search.rungs) for search in searches)
    minutes = f"{sum(summary.seconds.values()) / 60:.0f}"
    if row is None:
        return [name, str(seed), f"none: {summary.nearest_miss}", *["–"] * 5, str(tried), minutes]
    own = best_unpruned(summary)
    over = row.speedup / own.speedup if own and own.speedup and row.speedup else None
    return [
        name,
        str(seed),
        row.label,
        _shown(row.p50_ms, 2),
        _shown(row.speedup, 2),
        _shown(over, 2),
        _lost(row.val),
        _lost(row) if summary.split != summary.selection_split else "no test",
        str(tried),
        minutes,
    ]


def best_unpruned(summary: Summary) -> Row | None:
    """Return the fastest row of the original that nothing speaks against."""
    rows = [row for row in summary.rows() if row.variant == "original" and row.speedup and not row.refused]
    return max(rows, key=lambda row: row.speedup or 0.0, default=None)


def _lost(scored: Row | Accuracy | None) -> str:
    if scored is None or scored.drop is None:
        return "–"
    return drop_words(scored.drop, scored.drop_interval)


def _shown(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


if __name__ == "__main__":
    main()
