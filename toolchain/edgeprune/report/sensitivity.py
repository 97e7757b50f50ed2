"""The accuracy guard in the report: what int8 costs and brings layer by layer, and what stays in float."""

from __future__ import annotations

from edgeprune.records.sensitivity import Guard, GuardTry
from edgeprune.records.summary import Row, Summary
from edgeprune.report.cells import Cell, Head, Table, number, plain, table, word
from edgeprune.report.svg import BLUE, MUTED, ORANGE, chart, figure, log_axis, to_svg

NAMED = 12  # layers that a sentence names
NOT_EVALUATED = "not evaluated: its error is too small to matter"
NOT_TIMED = "the layers are not timed on this target"
LEAST = 1e-6  # where errors of nothing are drawn on the logarithmic axis


def guards(summary: Summary) -> list[tuple[Row, Guard]]:
    """Return the rows that the guard changed."""
    return [(row, row.guard) for row in summary.rows() if row.guard]


def guard_note(guard: Guard) -> str:
    """Say in two sentences what the guard did and which layers it left in float."""
    names = ", ".join(plain(name) for name in guard.floats[:NAMED])
    rest = len(guard.floats) - NAMED
    more = f" and {rest} more" if rest > 0 else ""
    before, after = (number(drop, 4).text for drop in (guard.drop_before, guard.drop_after))
    left = f"{len(guard.floats)} of {len(guard.layers)} layers in {guard.fallback}"
    return (
        f"The accuracy guard left {left}: {names}{more}. "
        f"{guard.metric} on val drops by {after} with them, and by {before} if they are int8."
    )


def layers_table(guard: Guard) -> Table:
    """Show every layer, the greatest error first."""
    floats = frozenset(guard.floats)
    heads = [
        Head("layer", numeric=False),
        Head("output error", "relative"),
        Head("drop", "val"),
        Head("float", "ms"),
        Head("int8", "ms"),
        Head("gained", "ms"),
        Head("stays in", numeric=False),
    ]
    rows = [
        [
            word(layer.layer),
            Cell(f"{layer.error:.2g}"),
            number(layer.drop, 4, NOT_EVALUATED),
            number(layer.float_ms, 3, NOT_TIMED),
            number(layer.int8_ms, 3, NOT_TIMED),
            number(layer.gained_ms, 3, NOT_TIMED),
            Cell(guard.fallback if layer.layer in floats else "int8"),
        ]
        for layer in guard.layers
    ]
    return table(heads, rows)


def tries_table(tries: tuple[GuardTry, ...]) -> Table:
    """Show every choice that was built and evaluated."""
    heads = [
        Head("layers in float"),
        Head("given up", "ms"),
        Head("drop expected", "val"),
        Head("drop measured", "val"),
    ]
    rows = [
        [
            Cell(str(one.floats)),
            number(one.lost_ms, 3, NOT_TIMED),
            number(one.predicted, 4),
            number(one.drop, 4),
        ]
        for one in tries
    ]
    return table(heads, rows)


@chart
def gain_against_error(guard: Guard, name: str) -> str | None:
    """Draw each layer: the milliseconds that int8 gains in it over the error that it leaves in the outputs.

    Where layers are not timed, they are drawn in their order instead.
    """
    if not guard.layers:
        return None
    floats = frozenset(guard.floats)
    errors = [max(layer.error, LEAST) for layer in guard.layers]
    timed = any(layer.gained_ms is not None for layer in guard.layers)
    heights = [
        (layer.gained_ms or 0.0) if timed else float(index) for index, layer in enumerate(guard.layers)
    ]
    colours = [ORANGE if layer.layer in floats else BLUE for layer in guard.layers]
    with figure(3.1) as (drawn, axes):
        axes.scatter(errors, heights, c=colours, s=20, linewidths=0, alpha=0.85)
        log_axis(axes, "x", errors)
        axes.set_xlabel("relative error of the outputs when only this layer is int8")
        axes.set_ylabel("milliseconds gained" if timed else "layer, by error")
        if timed:
            axes.axhline(0, color=MUTED, linewidth=0.8)
        axes.tick_params(axis="y", labelcolor=MUTED)
        axes.grid(True)
        return to_svg(drawn, name, "Milliseconds that int8 gains in each layer over the error that it causes")
