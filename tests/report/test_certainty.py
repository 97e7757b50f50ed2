"""How sure a drop is: the interval beside it, and what the choice looks like on images of its own."""

from __future__ import annotations

from types import SimpleNamespace

from edgeprune.report.certainty import brief_cell, drop_cell, optimism, shows_intervals


def test_the_interval_stands_beside_the_drop() -> None:
    assert drop_cell(0.0038, (-0.0041, 0.012)).text == "0.0038 [−0.004, 0.012]"
    assert brief_cell(-0.0038, (-1.2, -0.0001), "ends").text == "−0.0038 [−1.200, .000]"
    assert brief_cell(0.0038, (-0.0041, 0.012), "ends").text == "0.0038 [−.004, .012]"
    assert brief_cell(0.0038, (-0.0041, 0.012), "reach").text == "0.0038 ±.008"
    assert brief_cell(0.0038, (-0.0041, 0.012), "none").text == "0.0038"


def test_where_nothing_differs_or_nothing_is_known_there_is_none() -> None:
    assert drop_cell(0.0, (0.0, 0.0)).text == "0.0000"
    assert drop_cell(0.0038).text == "0.0038"
    assert (drop_cell(None, None, "why").text, drop_cell(None, None, "why").why) == ("–", "why")


def test_the_optimism_of_the_choice_is_told(parts: SimpleNamespace) -> None:
    summary = parts.summary()
    assert optimism(summary) == (
        "x86-openvino pruned int8 loses 0.0075 [−0.004, 0.019] mAP50-95 on val, which it was chosen on, and "
        "0.0070 [−0.002, 0.019] on test: the optimism of the choice is −0.0005."
    )
    assert shows_intervals(summary)


def test_without_a_test_split_nothing_measures_it(parts: SimpleNamespace) -> None:
    assert optimism(parts.summary(split="val")).startswith("There is no test split: the drop of x86-openvino")


def test_nothing_is_said_of_a_drop_that_is_not_known(parts: SimpleNamespace) -> None:
    bare = parts.row("x86-ort", "original", "int8", 3.0, 0.5, drop=None, drop_interval=None)
    assert optimism(parts.summary(chosen=bare)) == optimism(parts.summary(chosen=None)) == ""
