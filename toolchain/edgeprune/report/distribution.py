"""Charts of the latency's distribution: every sample counts, none is clipped."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgeprune.bench.statistics import latency_ms, median_ms, pooled_ns
from edgeprune.records.bench_result import BenchResult
from edgeprune.records.summary import Row
from edgeprune.report.facts import Report
from edgeprune.report.svg import (
    INK,
    MUTED,
    RULE,
    beside,
    chart,
    colour_of,
    figure,
    log_axis,
    row_name,
    to_svg,
)

# Places on the axis 1 / (1 - share), where each further nine takes the same room.
NINES = {2.0: "50 %", 10.0: "90 %", 100.0: "99 %", 1000.0: "99.9 %", 10000.0: "99.99 %"}


@chart
def latency_percentiles(report: Report) -> str | None:
    """Draw latency over percentile, nines spread out: a mode is a step, a tail is what rises at the right."""
    measured = report.measured()
    if not measured:
        return None
    from matplotlib.ticker import FixedLocator, NullFormatter

    with figure(3.7) as (drawn, axes):
        starts = []
        for row, bench in measured:
            ordered = np.sort(_samples_ms(bench))
            spread = 1 / (1 - (np.arange(ordered.size) + 0.5) / ordered.size)
            # Some 160 samples draw the same line as all of them; the slowest twenty are always among them.
            even = np.searchsorted(spread, np.geomspace(spread[0], spread[-1], 140))
            kept = np.union1d(
                even.clip(0, ordered.size - 1), np.arange(max(ordered.size - 20, 0), ordered.size)
            )
            chosen = report.tone(row) == "chosen"
            axes.plot(spread[kept], ordered[kept], color=colour_of(row), linewidth=2.2 if chosen else 1.1)
            starts.append((float(ordered[0]), row))
        log_axis(axes, "y", [value for value, _ in starts] + [latency_ms(bench).max for _, bench in measured])
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(FixedLocator(list(NINES)))
        axes.xaxis.set_major_formatter(lambda value, _: NINES.get(value, ""))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.tick_params(axis="x", which="minor", length=0)
        axes.set_xlim(0.62, None)
        axes.set_xlabel("share of queries that were at most this slow")
        axes.set_ylabel("latency, ms (log scale)")
        axes.tick_params(axis="y", labelcolor=MUTED)
        axes.grid(True)
        _label_starts(drawn, axes, report, starts)
        return to_svg(drawn, "percentiles", "Latency over percentile of every measured row")


def _label_starts(drawn: Any, axes: Any, report: Report, starts: list[tuple[float, Row]]) -> None:
    """Write each row's number before its line, pushed up where two would meet."""
    drawn.draw_without_rendering()
    lowest = -np.inf
    for value, row in sorted(starts, key=lambda start: start[0]):
        pixel = axes.transData.transform((1, value))[1]
        lowest = max(pixel, lowest + 12)
        axes.annotate(
            str(report.number[row.label]),
            (1, value),
            (-4, (lowest - pixel) * 72 / drawn.dpi - 3),
            textcoords="offset points",
            ha="right",
            fontsize=8.5,
            weight="bold" if report.tone(row) == "chosen" else "normal",
            color=colour_of(row),
        )


@chart
def latency_histograms(report: Report) -> str | None:
    """Draw each row's latency histogram over its own median: modes, and whether processes agree."""
    measured = report.measured()
    if not measured:
        return None
    ratios = [_samples_ms(bench) / latency_ms(bench).p50 for _, bench in measured]
    low = min(float(ratio.min()) for ratio in ratios)
    high = float(np.clip(max(float(np.quantile(ratio, 0.99)) for ratio in ratios), 1.1, 2.5))
    edges = np.linspace(low, high, 121)
    with figure(0.8 + 0.33 * len(measured)) as (drawn, axes):
        for index, ((row, bench), ratio) in enumerate(zip(measured, ratios, strict=True)):
            base = -float(index)
            heights = np.sqrt(np.histogram(ratio, edges)[0])
            axes.stairs(
                base + 0.78 * heights / heights.max(), edges, baseline=base, fill=True, color=colour_of(row)
            )
            medians = [median_ms(block) / latency_ms(bench).p50 for block in bench.blocks if block.samples_ns]
            axes.plot(medians, [base - 0.1] * len(medians), ".", color=INK, markersize=2.6)
            if beyond := int(np.sum(ratio > high)):
                beside(axes, high, base + 0.2, f"+{beyond} up to {ratio.max():.1f}×", MUTED)
        axes.set_yticks([-index + 0.22 for index in range(len(measured))])
        axes.set_yticklabels([row_name(report, row) for row, _ in measured])
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.set_ylim(-len(measured) + 0.7, 0.9)
        axes.set_xlim(low - 0.02 * (high - low), high + 0.34 * (high - low))
        axes.axvline(high, color=RULE, linewidth=1)
        axes.set_xlabel("latency over the row's own median")
        axes.grid(True, axis="x")
        return to_svg(drawn, "histograms", "Latency histogram of every measured row, relative to its median")


def _samples_ms(bench: BenchResult) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.asarray(pooled_ns(bench.blocks), dtype=np.float64) / 1e6
