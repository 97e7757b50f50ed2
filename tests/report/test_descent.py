"""The account of cuts to a latency: predicted beside measured, and every refusal with its reason."""

from __future__ import annotations

from edgeprune.records.pruning import Iteration, PassReport
from edgeprune.report.descent import iterations_table, passes_table, prediction_note


def _cut(predicted: float, change: float, refused: str = "") -> Iteration:
    return Iteration(
        goal_ms=9.0,
        predicted_before_ms=10.0,
        predicted_ms=predicted,
        before_ms=12.0,
        measured_ms=12.0 * (1 + change),
        change=change,
        metric="mAP50-95",
        score=None if refused else 0.57,
        refused=refused,
    )


def test_a_prediction_is_judged_by_the_cuts_that_were_kept() -> None:
    close, far = _cut(9.0, -0.1), _cut(8.0, -0.1)
    assert "0.0% off" in prediction_note([close]) and ", within 10%" in prediction_note([close])
    assert "11.1% off" in prediction_note([far]) and "not within 10%" in prediction_note([far])
    assert "over 1 cuts" in prediction_note([close, _cut(5.0, 0.2, "not faster")])
    assert "nothing is said" in prediction_note([_cut(5.0, 0.2, "not faster")])


def test_every_cut_is_shown_with_its_reason() -> None:
    lines = iterations_table([_cut(9.0, -0.1), _cut(5.0, 0.2, "not faster on the target")]).lines
    texts = [[cell.text for cell in line.cells] for line in lines]
    assert texts[0] == ["1", "9.00", "9.00", "10.80", "\N{MINUS SIGN}10.0", "0.5700", "kept"]
    assert texts[1][-1] == "not faster on the target"
    assert lines[1].cells[5].why == "not recovered in between"


def test_a_pass_that_was_undone_says_why() -> None:
    undone = PassReport(
        name="activation", refused=("measured, it makes the network no faster",), ms_before=9.0
    )
    (line,) = passes_table([undone]).lines
    assert [cell.text for cell in line.cells[:3]] == [
        "activation",
        "nothing",
        "measured, it makes the network no faster",
    ]
