"""The verdict of a build: which row is chosen, and whether pruning beat int8 alone. Pure functions."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from edgeprune.config.recipe import BudgetRecipe
from edgeprune.records.scores import Accuracy
from edgeprune.records.speedup import Speedup
from edgeprune.records.summary import ALTERNATIVES, Row

WORTH_IT = 1.05
"""Pruning is worth its accuracy when it is this much faster: half of it is the noise of a good run."""
FALSE = frozenset({"fallback", "output_mismatch"})
"""Flags of runs that did not measure what was asked for."""
AS_FAST = 1.025
"""Rows whose times differ by less than the noise of a good run count as equally fast."""

ABSENT = "not measured: the device was not there"

Compare = Callable[[Row, Row], Speedup | None]
"""How many times as fast the second row is as the first; None where one of both was not measured."""


def by_medians(before: Row, after: Row) -> Speedup | None:
    """Compare two rows by their p50: for those that did not take turns, and so without an interval."""
    if not before.p50_ms or not after.p50_ms:
        return None
    return Speedup.of_medians(before.p50_ms, after.p50_ms)


class _Bound(NamedTuple):
    """A budget on what the target measures, with a row's number: None where that was not measured."""

    name: str
    value: float | None
    limit: float
    unit: str
    sign: int

    def __str__(self) -> str:
        return f"{self.name} {'at most' if self.sign > 0 else 'at least'} {self.limit:g} {self.unit}"


def _bounds(row: Row, budget: BudgetRecipe) -> list[_Bound]:
    """Return the budgets that are set on what the target measures."""
    asked = (
        ("p50", row.p50_ms, budget.max_latency_ms, "ms", 1),
        ("peak memory", row.peak_mb, budget.max_memory_mb, "MB", 1),
        ("throughput", row.fps, budget.min_fps, "FPS", -1),
    )
    return [
        _Bound(name, value, limit, unit, sign)
        for name, value, limit, unit, sign in asked
        if limit is not None
    ]


def misses(row: Row, budget: BudgetRecipe) -> list[tuple[str, float]]:
    """List the budgets that a row misses, each with what it misses by as a share of the budget.

    Others on the machine can only make a row slower: a bound that it keeps to under load is kept, and one
    that it misses in a disturbed run is told with what disturbed that.
    """
    found = _drop_missed(row.val, budget) if row.val else []
    for name, value, bound, unit, sign in _bounds(row, budget):
        if value is not None and sign * (value - bound) > 0:
            side = "at most" if sign > 0 else "at least"
            text = f"{name} is {value:.4g} {unit}, {side} {bound:g} {unit} is wanted"
            if row.disturbed_by and name != "peak memory":
                text += f" (in a run flagged {row.disturbed_by}: measure again on a calmer machine)"
            found.append((text, sign * (value - bound) / bound))
    return found


def unjudged(row: Row, budget: BudgetRecipe) -> list[str]:
    """List the budgets that nothing tells of, such as ``p50 at most 5 ms``: their number was not measured."""
    found = [] if row.val and row.val.drop is not None else [f"a drop of at most {budget.max_drop:g}"]
    return found + [str(bound) for bound in _bounds(row, budget) if bound.value is None]


def left_open(rows: Sequence[Row], budget: BudgetRecipe) -> tuple[str, ...]:
    """Name the budgets that were not judged, of judged rows that nothing else speaks against.

    Empty where a row may be chosen: it keeps to all of them. Where a target was measured, what an absent one
    would do is not asked: what missed its budgets here has missed them.
    """
    if choose(rows):
        return ()
    found: dict[str, None] = {}
    for row in [row for row in rows if row.p50_ms is not None] or rows:
        silent = unjudged(row, budget)
        known = {ABSENT, _not_judged(silent)}
        if row.variant not in ALTERNATIVES and set(row.refused) <= known and not misses(row, budget):
            found |= dict.fromkeys(silent)
    return tuple(found)


def _not_judged(budgets: Iterable[str]) -> str:
    return f"not judged, as it was not measured: {', '.join(budgets)}"


def _drop_missed(val: Accuracy, budget: BudgetRecipe) -> list[tuple[str, float]]:
    """Return what a row misses of its accuracy, as `misses`: by its drop, or by what that may be."""
    if val.drop is None:
        return []
    reached, text = val.drop, f"{val.metric} on {val.split} drops by {val.drop_words}"
    if val.drop > budget.max_drop:
        text += f", allowed are {budget.max_drop:g}"
    elif budget.sure:
        reached = val.drop_interval[1] if val.drop_interval else math.inf
        text += f": that it is within {budget.max_drop:g} is not sure, and budget.sure asks for it"
    over = reached - budget.max_drop
    return [(text, over / max(budget.max_drop, 0.001))] if over > 0 else []


def refuse(rows: Sequence[Row], budget: BudgetRecipe, compare: Compare = by_medians) -> tuple[Row, ...]:
    """Return the rows with the reasons why each may not be chosen: missed budget, no gain, false evidence."""
    return tuple(
        row.model_copy(update={"refused": tuple(_reasons(row, rows, budget, compare))}) for row in rows
    )


def _reasons(row: Row, rows: Sequence[Row], budget: BudgetRecipe, compare: Compare) -> Iterable[str]:
    if row.p50_ms is None:
        yield ABSENT
        return
    yield from (text for text, _ in misses(row, budget))
    if silent := unjudged(row, budget):
        yield _not_judged(silent)
    own = (row.target, row.variant, "fp32")
    fp32 = next((one for one in rows if (one.target, one.variant, one.precision) == own), None)
    gain = compare(fp32, row) if fp32 and row.precision == "int8" else None
    if fp32 and gain and gain.times <= 1:
        times = f"{row.p50_ms:.2f} ms against {fp32.p50_ms:.2f} ms"
        told = f", {gain.claim} by their turns" if gain.turns and gain.claim else ""
        yield f"int8 is not faster than the fp32 it replaces ({times}{told})"
    for flag in row.flags:
        if flag in FALSE:
            yield f"the run is flagged {flag}: it did not measure what was asked for"


def choose(rows: Iterable[Row]) -> Row | None:
    """Return the fastest row that nothing speaks against, or None; never an alternative to pruning."""
    return fastest(_allowed(rows))


def fastest(rows: Sequence[Row]) -> Row | None:
    """Return the measured row of the largest speed-up over the reference; of the least p50 without one."""
    if all(row.speedup for row in rows):
        return max(rows, key=lambda row: row.speedup or 0.0, default=None)
    return min(rows, key=lambda row: row.p50_ms or 0.0, default=None)


def _allowed(rows: Iterable[Row]) -> list[Row]:
    return [
        row for row in rows if not row.refused and row.p50_ms is not None and row.variant not in ALTERNATIVES
    ]


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


def target_verdict(
    rows: Sequence[Row], compare: Compare = by_medians, open_budgets: Sequence[str] = ()
) -> str:
    """Say in one sentence whether pruning was worth it over int8 alone on this target.

    The fastest allowed pruned row stands for pruning. Where another precision beats int8 without pruning, the
    gain over that row decides, for it is what a user would run unpruned.

    Args:
        open_budgets: as of `left_open`.
    """
    measured = [row for row in rows if row.p50_ms is not None]
    if not measured:
        return _nothing_measured(open_budgets)
    plain, pruned = _int8(measured, "original"), _int8(measured, "pruned")
    if plain is None or pruned is None:
        missing = "int8 alone" if plain is None else "a pruned int8 row"
        return f"No verdict on pruning: {missing} was not measured."
    quickest = choose(row for row in measured if row.variant == "pruned")
    if quickest and _times(compare, plain, quickest) > 1:
        pruned = quickest
    rival = choose(row for row in measured if row.variant == "original") or plain
    what = "" if pruned.precision == "int8" else f" (pruned {pruned.precision})"
    numbers = f"{pruned.p50_ms:.2f} ms{what} against {plain.p50_ms:.2f} ms for int8 alone"
    numbers += _in_brackets(compare, plain, pruned)
    if rival.precision != "int8" and _times(compare, rival, plain) < 1:
        numbers += f" and {rival.p50_ms:.2f} ms for unpruned {rival.precision}"
        numbers += _in_brackets(compare, rival, pruned)
    numbers += _cost(plain, pruned)
    if pruned.refused:
        return f"Pruning was not worth it: {numbers}, but {pruned.refused[0]}."
    gains = [gain for gain in (compare(plain, pruned), compare(rival, pruned)) if gain]
    if min(gain.times for gain in gains) < WORTH_IT:
        return f"Pruning was not worth it over int8 alone: {numbers}."
    if not all(gain.proven for gain in gains):
        return f"Whether pruning was worth it over int8 alone is open, the run was too noisy: {numbers}."
    return f"Pruning was worth it over int8 alone: {numbers}."


def comparison(rows: Sequence[Row], compare: Compare = by_medians) -> str:
    """Say in one sentence whether pruning is worth it beside what is as fast without it, on one target.

    The fastest allowed pruned row is held against the most accurate unpruned, resized or smaller one that
    is at least as fast, by its score on the split that choices are made on. What was not proven slower, for
    the run was noisy, counts as as fast.
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
    gains = {row.label: compare(row, pruned) for row in rivals}
    as_fast = [
        row for row in rivals if (gain := gains[row.label]) and (gain.times <= AS_FAST or not gain.proven)
    ]
    if not as_fast:
        rival = min(rivals, key=lambda row: _times(compare, row, pruned))
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


def _nothing_measured(open_budgets: Sequence[str]) -> str:
    said = "Nothing was measured: the device was not there; build and time the engines on it."
    return f"{said} Not judged: {', '.join(open_budgets)}." if open_budgets else said


def overall_verdict(
    chosen: Row | None,
    rows: Sequence[Row],
    miss: str | None,
    compare: Compare = by_medians,
    open_budgets: Sequence[str] = (),
) -> str:
    """Say in a few sentences what was chosen over all targets and what pruning brought there.

    Args:
        open_budgets: as of `left_open`.
    """
    if chosen is None:
        if not any(row.p50_ms is not None for row in rows):
            return _nothing_measured(open_budgets)
        if open_budgets:
            return f"No row is known to keep to every budget. Not judged: {', '.join(open_budgets)}."
        return f"No row keeps to every budget; the nearest is {miss or 'refused for another reason'}."
    head = f"{chosen.label} is chosen: {chosen.p50_ms:.2f} ms at p50"
    if chosen.disturbed_by:
        head += f" in a run flagged {chosen.disturbed_by}"
    gain = chosen.over_reference
    if gain and gain.claim:
        head += f", {gain.claim} the reference"
    drop = chosen.val.drop if chosen.val else None
    head += (
        f", {chosen.val.metric} {-drop:+.4f}{_change_interval(chosen.val)} on {chosen.val.split}."
        if chosen.val and drop is not None
        else "."
    )
    if tied := ties(chosen, rows, compare):
        head += f" Not told apart from it in speed: {', '.join(tied)}."
    target = [row for row in rows if row.target == chosen.target]
    return f"{head} {target_verdict(target, compare)}"


def _change_interval(val: Accuracy) -> str:
    low, high = val.drop_interval or (None, None)
    return "" if low is None or high is None else f" [{0 - high:+.4f}, {0 - low:+.4f}]"


def ties(chosen: Row | None, rows: Sequence[Row], compare: Compare = by_medians) -> tuple[str, ...]:
    """Name the rows that might have been chosen as well: which is faster was not told apart."""
    if chosen is None:
        return ()
    others = [row for row in _allowed(rows) if row.label != chosen.label]
    return tuple(row.label for row in others if (gain := compare(row, chosen)) and gain.tied)


def _times(compare: Compare, before: Row, after: Row) -> float:
    gain = compare(before, after)
    return gain.times if gain else 0.0


def _in_brackets(compare: Compare, before: Row, after: Row) -> str:
    gain = compare(before, after)
    return f" ({gain.claim.replace(' (', ', ').rstrip(')')})" if gain and gain.claim else ""


def _int8(rows: Iterable[Row], variant: str) -> Row | None:
    return next((row for row in rows if row.variant == variant and row.precision == "int8"), None)


def _cost(plain: Row, pruned: Row) -> str:
    if not plain.val or not pruned.val:
        return ""
    change = pruned.val.score - plain.val.score
    return f", at {change:+.4f} {pruned.val.metric} on {pruned.val.split}"
