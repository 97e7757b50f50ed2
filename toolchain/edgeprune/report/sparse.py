"""Sparse training in the report: how the batch-norm scales spread out, epoch by epoch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console

from edgeprune.records.pruning import GAMMA_QUANTILES, SMALL_GAMMA, SparseTraining
from edgeprune.report.cells import Cell, Head, Table, number, table
from edgeprune.report.console import draw
from edgeprune.report.svg import BLUE, MUTED, ORANGE, chart, figure, to_svg

if TYPE_CHECKING:
    from edgeprune.search.sparsity import Sweep


@chart
def gammas_by_epoch(training: SparseTraining, name: str) -> str:
    """Draw the distribution of the absolute scales over the epochs: bands of quantiles, and the median."""
    epochs = [entry.epoch for entry in training.epochs]
    lines = list(zip(*(entry.quantiles for entry in training.epochs), strict=True))
    with figure(2.9) as (drawn, axes):
        for depth in range(len(GAMMA_QUANTILES) // 2):
            axes.fill_between(
                epochs, lines[depth], lines[-1 - depth], color=BLUE, alpha=0.16 + 0.18 * depth, linewidth=0
            )
        axes.plot(epochs, lines[len(lines) // 2], color=BLUE, linewidth=1.8, marker=".", markersize=5)
        axes.axhline(SMALL_GAMMA, color=ORANGE, linewidth=1, linestyle=(0, (4, 2)))
        axes.set_ylim(0, None)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.set_xlabel("epoch")
        axes.set_ylabel("absolute batch-norm scale")
        axes.tick_params(axis="y", labelcolor=MUTED)
        axes.grid(True)
        return to_svg(drawn, name, "Distribution of the batch-norm scales over the epochs of sparse training")


def epochs_table(training: SparseTraining) -> Table:
    """Show strength, median scale, share of scales near zero and accuracy of every epoch."""
    heads = [
        Head("epoch"),
        Head("strength"),
        Head("median scale"),
        Head(f"scales below {SMALL_GAMMA:g}", "%"),
        Head(training.epochs[0].metric, "val"),
    ]
    rows = [
        [
            Cell(str(entry.epoch)),
            Cell("–", "before the training") if entry.strength is None else Cell(f"{entry.strength:.3g}"),
            number(entry.quantiles[len(entry.quantiles) // 2], 4),
            number(100 * entry.share_small, 1),
            number(entry.score, 4, "not evaluated before the training"),
        ]
        for entry in training.epochs
    ]
    return table(heads, rows)


def print_trials(found: Sweep, console: Console) -> None:
    """Print every strength that `edgeprune sweep` tried, with what it did to the scales and the accuracy."""
    heads = [Head("strength"), Head(f"scales\n< {SMALL_GAMMA:g}"), Head("median\nscale")]
    heads += [Head(found.metric), Head("drop"), Head("", numeric=False)]
    rows = [
        [
            Cell(f"{trial.strength:.3g}"),
            number(100 * trial.share_small, 1, suffix="%"),
            number(trial.median, 4),
            number(trial.score, 4),
            number(trial.drop, 4),
            Cell("" if trial.kept else "over budget"),
        ]
        for trial in found.trials
    ]
    draw(table(heads, rows), console)
