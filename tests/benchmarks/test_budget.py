"""`python -m benchmarks.budget`: the line of a build, of one that chose a row and of one that did not."""

from __future__ import annotations

from benchmarks import budget
from edgeprune.records.summary import Summary
from made_summaries import a_summary, four


def _built() -> Summary:
    rows = [row.model_copy(update={"speedup": 20 / row.p50_ms}) for row in four() if row.p50_ms]
    summary = a_summary()
    target = summary.targets["x86-ort"].model_copy(update={"rows": tuple(rows)})
    return summary.model_copy(update={"targets": {"x86-ort": target}, "chosen": rows[-1]})


def test_a_line_names_the_chosen_row_and_its_speed_over_the_best_unpruned_one() -> None:
    line = budget.cells("bccd", 1, _built())
    assert len(line) == len(budget.HEADS)
    assert line[:6] == ["bccd", "1", "x86-ort pruned int8", "6.00", "3.33", "1.67"]
    assert line[6] == "0.0080"
    own = budget.best_unpruned(_built())
    assert own is not None and own.label == "x86-ort original int8"


def test_the_drops_have_their_intervals() -> None:
    built = _built()
    assert built.chosen is not None and built.chosen.val is not None
    val = built.chosen.val.model_copy(update={"drop_interval": (-0.009, 0.024)})
    chosen = built.chosen.model_copy(update={"val": val, "drop": 0.0068, "drop_interval": (-0.008, 0.022)})
    line = budget.cells("bccd", 1, built.model_copy(update={"chosen": chosen}))
    assert line[6:8] == ["0.0080 [-0.0090, 0.0240]", "0.0068 [-0.0080, 0.0220]"]


def test_a_build_that_chose_nothing_says_what_was_nearest() -> None:
    found = _built().model_copy(update={"chosen": None, "nearest_miss": "drop .02"})
    line = budget.cells("bccd", 0, found)
    assert len(line) == len(budget.HEADS) and line[2] == "none: drop .02"
