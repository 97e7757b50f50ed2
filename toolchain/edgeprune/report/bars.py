"""Charts of bars: peak memory of each row, channels of each layer."""

from __future__ import annotations

from collections.abc import Sequence

from edgeprune.records.pruning import LayerWidth, Pruning
from edgeprune.report.cells import ending
from edgeprune.report.facts import Report
from edgeprune.report.svg import BLUE, INK, MUTED, ORANGE, beside, chart, figure, row_name, to_svg

LAYERS_A_CHART = 32
_NAME_LIMIT = 26


@chart
def memory(report: Report) -> str | None:
    """Draw peak resident memory: what the imports take, what the loaded engine adds, what inference adds."""
    rows = [row for row in report.summary.rows() if row.peak_mb is not None]
    if not rows:
        return None
    with figure(1.05 + 0.26 * len(rows)) as (drawn, axes):
        for index, row in enumerate(rows):
            bench = report.benches.get(row.label)
            steps = bench.memory if bench else None
            parts = (
                [(steps.baseline_hwm, 0.25), (steps.load_hwm, 0.5), (steps.peak_hwm, 0.9)]
                if steps
                else [(row.peak_mb or 0, 0.9)]
            )
            left = 0.0
            for value, strength in parts:
                axes.barh(-index, max(value - left, 0), left=left, height=0.62, color=MUTED, alpha=strength)
                left = max(left, value)
            beside(axes, left, -index, f"{row.peak_mb:,.0f}", INK)
        axes.set_yticks([-index for index in range(len(rows))])
        axes.set_yticklabels([row_name(report, row) for row in rows])
        axes.tick_params(axis="y", length=0)
        axes.margins(x=0.12)
        axes.set_ylim(-len(rows) + 0.4, 0.6)
        axes.set_xlabel("peak resident memory, MB")
        axes.grid(True, axis="x")
        return to_svg(drawn, "memory", "Peak resident memory of every measured row")


def channels(pruning: Pruning, name: str) -> list[str]:
    """Draw the output channels of every convolution before and after, in charts of at most 32 layers."""
    count = -(-len(pruning.layers) // LAYERS_A_CHART)
    size = -(-len(pruning.layers) // count) if count else 0
    widest = max((layer.before for layer in pruning.layers), default=0)
    parts = [pruning.layers[start * size : (start + 1) * size] for start in range(count)]
    return [_channels(part, widest, f"{name}-{index}") for index, part in enumerate(parts)]


@chart
def _channels(layers: Sequence[LayerWidth], widest: int, name: str) -> str:
    with figure(0.55 + 0.185 * len(layers)) as (drawn, axes):
        places = [-index for index in range(len(layers))]
        axes.barh(places, [layer.before for layer in layers], height=0.7, color=ORANGE, alpha=0.35)
        axes.barh(
            places,
            [layer.after for layer in layers],
            height=0.7,
            color=[BLUE if layer.prunable else MUTED for layer in layers],
        )
        for place, layer in zip(places, layers, strict=True):
            changed = layer.after != layer.before
            text = f"{layer.before} → {layer.after}" if changed else f"{layer.before}"
            beside(axes, layer.before, place, text, INK if changed else MUTED)
        axes.set_yticks(places)
        axes.set_yticklabels([ending(layer.layer, _NAME_LIMIT) for layer in layers], fontsize=8)
        axes.tick_params(axis="y", length=0)
        axes.set_xlim(0, widest * 1.28)
        axes.set_ylim(-len(layers) + 0.3, 0.7)
        axes.set_xlabel("output channels")
        axes.grid(True, axis="x")
        return to_svg(drawn, name, "Output channels of each convolution before and after pruning")
