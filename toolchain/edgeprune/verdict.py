"""The verdict of a build: which row is chosen, and whether pruning beat int8 alone. Pure functions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from edgeprune.recipe import BudgetRecipe
from edgeprune.summary import ALTERNATIVES, Row

WORTH_IT = 1.05
"""Pruning is worth its accuracy when it is this much faster: half of it is the noise of a good run."""
FALSE = frozenset({"fallback", "output_mismatch"})
"""Flags of runs that did not measure what was asked for."""
AS_FAST = 1.025
"""Rows whose times differ by less than the noise of a good run count as equally fast."""


def misses(row: Row, budget: BudgetRecipe) -> list[tuple[str, float]]:
    """List the budgets that a row misses, each with what it misses by as a share of the budget."""
    found: list[tuple[str, float]] = []
    drop = row.val.drop if row.val else None
    if row.val and drop is not None and drop > budget.max_drop:
        text = f"{row.val.metric} on {row.val.split} drops by {drop:.4f}, allowed are {budget.max_drop:g}"
        found.append((text, (drop - budget.max_drop) / max(budget.max_drop, 0.001)))
    bounds = (
        ("p50", row.p50_ms, budget.max_latency_ms, "ms", 1),
        ("peak memory", row.peak_mb, budget.max_memory_mb, "MB", 1),
        ("throughput", row.fps, budget.min_fps, "FPS", -1),
    )
    for name, value, bound, unit, sign in bounds:
        if value is not None and bound is not None and sign * (value - bound) > 0:
            side = "at most" if sign > 0 else "at least"
            text = f"{name} is {value:.4g} {unit}, {side} {bound:g} {unit} is wanted"
            found.append((text, sign * (value - bound) / bound))
    return found


def refuse(rows: Sequence[Row], budget: BudgetRecipe) -> tuple[Row, ...]:
    """Return the rows with the reasons why each may not be chosen: missed budget, no gain, false evidence."""
    return tuple(row.model_copy(update={"refused": tuple(_reasons(row, rows, budget))}) for row in rows)


def _reasons(row: Row, rows: Sequence[Row], budget: BudgetRecipe) -> Iterable[str]:
    if row.p50_ms is None:
        yield "not measured: the device was not there"
        return
    yield from (text for text, _ in misses(row, budget))
    own_fp32 = next(
        (
            other.p50_ms
            for other in rows
            if (other.target, other.variant, other.precision) == (row.target, row.variant, "fp32")
        ),
        None,
    )
    if row.precision == "int8" and own_fp32 is not None and row.p50_ms >= own_fp32:
        yield f"int8 is not faster than the fp32 it replaces ({row.p50_ms:.2f} ms against {own_fp32:.2f} ms)"
    for flag in row.flags:
        if flag in FALSE:
            yield f"the run is flagged {flag}: it did not measure what was asked for"


def choose(rows: Iterable[Row]) -> Row | None:
    """Return the fastest row that nothing speaks against, or None; never an alternative to pruning."""
    return min(
        (
            row
            for row in rows
            if not row.refused and row.p50_ms is not None and row.variant not in ALTERNATIVES
        ),
        key=lambda row: row.p50_ms or 0.0,
        default=None,
    )


def nearest_miss(rows: Iterable[Row], budget: BudgetRecipe) -> str | None:
    """Name the measured row that misses its budgets by the smallest share, and what it misses."""
    candidates = [
        (found, row)
        for row in rows
        if row.p50_ms is not None and row.variant not in ALTERNATIVES and (found := misses(row, budget))
    ]
    if not candidates:
        return None
    found, row = min(candidates, key=lambda entry: max(share for _, share in entry[0]))
    return f"{row.label}: {'; '.join(text for text, _ in found)}"


def target_verdict(rows: Sequence[Row]) -> str:
    """Say in one sentence whether pruning was worth it over int8 alone on this target.

    The fastest allowed pruned row stands for pruning. Where another precision beats int8 without pruning, the
    gain over that row decides, for it is what a user would run unpruned.
    """
    measured = [row for row in rows if row.p50_ms is not None]
    if not measured:
        return "Nothing was measured: the device was not there; build and time the engines on it."
    plain, pruned = _int8(measured, "original"), _int8(measured, "pruned")
    if plain is None or pruned is None:
        missing = "int8 alone" if plain is None else "a pruned int8 row"
        return f"No verdict on pruning: {missing} was not measured."
    fastest = choose(row for row in measured if row.variant == "pruned")
    if fastest and _gain(plain, fastest) > 1:
        pruned = fastest
    rival = choose(row for row in measured if row.variant == "original") or plain
    what = "" if pruned.precision == "int8" else f" (pruned {pruned.precision})"
    numbers = f"{pruned.p50_ms:.2f} ms{what} against {plain.p50_ms:.2f} ms for int8 alone"
    numbers += f" ({_gain(plain, pruned):.2f}x)"
    if rival.precision != "int8" and _gain(rival, plain) < 1:
        numbers += f" and {rival.p50_ms:.2f} ms for unpruned {rival.precision} ({_gain(rival, pruned):.2f}x)"
    numbers += _cost(plain, pruned)
    if pruned.refused:
        return f"Pruning was not worth it: {numbers}, but {pruned.refused[0]}."
    if min(_gain(plain, pruned), _gain(rival, pruned)) < WORTH_IT:
        return f"Pruning was not worth it over int8 alone: {numbers}."
    return f"Pruning was worth it over int8 alone: {numbers}."


def comparison(rows: Sequence[Row]) -> str:
    """Say in one sentence whether pruning is worth it beside what is as fast without it, on one target.

    The fastest allowed pruned row is held against the most accurate unpruned, resized or smaller one that
    is at least as fast, by its score on the split that choices are made on.
    """
    question = "Is pruning worth it?"
    rivals = [
        row
        for row in rows
        if row.variant != "pruned" and row.p50_ms is not None and row.val and not FALSE & set(row.flags)
    ]
    if not rivals:
        return f"{question} Nothing was measured: the device was not there."
    pruned = choose(row for row in rows if row.variant == "pruned")
    if pruned is None or not pruned.p50_ms or not pruned.val:
        return f"{question} No: every pruned row is refused."
    as_fast = [row for row in rivals if (row.p50_ms or 0) <= AS_FAST * pruned.p50_ms]
    if not as_fast:
        rival = min(rivals, key=lambda row: row.p50_ms or 0)
        return f"{question} Yes: nothing else is as fast as {_placed(pruned)}; nearest is {_placed(rival)}."
    rival = max(as_fast, key=_rated)
    if _rated(pruned) > _rated(rival):
        return (
            f"{question} Yes: {_placed(pruned)} is more accurate than the best alternative as fast, "
            f"{_placed(rival)}."
        )
    return f"{question} No: {_placed(rival)} is as fast as and no less accurate than {_placed(pruned)}."


def _rated(row: Row) -> float:
    return row.val.score if row.val else 0.0


def _placed(row: Row) -> str:
    split = row.val.split if row.val else ""
    return f"{row.name} {row.precision} ({row.p50_ms:.2f} ms, {row.metric} {_rated(row):.4f} on {split})"


def overall_verdict(chosen: Row | None, rows: Sequence[Row], miss: str | None) -> str:
    """Say in one or two sentences what was chosen over all targets and what pruning brought there."""
    if chosen is None:
        if not any(row.p50_ms is not None for row in rows):
            return "Nothing was measured: the device was not there; build and time the engines on it."
        return f"No row keeps to every budget; the nearest is {miss or 'refused for another reason'}."
    speed = f", {chosen.speedup:.2f}x the reference" if chosen.speedup else ""
    head = f"{chosen.label} is chosen: {chosen.p50_ms:.2f} ms at p50{speed}"
    drop = chosen.val.drop if chosen.val else None
    head += (
        f", {chosen.val.metric} {-drop:+.4f} on {chosen.val.split}."
        if chosen.val and drop is not None
        else "."
    )
    return f"{head} {target_verdict([row for row in rows if row.target == chosen.target])}"


def _gain(before: Row, after: Row) -> float:
    return (before.p50_ms or 0.0) / (after.p50_ms or 1.0)


def _int8(rows: Iterable[Row], variant: str) -> Row | None:
    return next((row for row in rows if row.variant == variant and row.precision == "int8"), None)


def _cost(plain: Row, pruned: Row) -> str:
    if not plain.val or not pruned.val:
        return ""
    change = pruned.val.score - plain.val.score
    return f", at {change:+.4f} {pruned.val.metric} on {pruned.val.split}"
