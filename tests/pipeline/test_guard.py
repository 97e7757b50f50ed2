"""The choice of layers in float: within the budget by measurement, at the least predicted latency."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeprune.pipeline import guard
from edgeprune.pipeline.guard import MOST_TRIES, Mix, expected_drops, rank_mixes, search
from edgeprune.records.sensitivity import LayerSensitivity


def layer(name: str, error: float, drop: float | None, gained: float | None) -> LayerSensitivity:
    times = {} if gained is None else {"float_ms": 1.0 + gained, "int8_ms": 1.0}
    return LayerSensitivity(layer=name, nodes=(name,), error=error, drop=drop, **times)


LAYERS = (
    layer("concat", 0.5, 0.55, 0.01),
    layer("dear", 0.2, 0.03, 2.0),
    layer("cheap", 0.19, 0.03, 0.1),
    layer("fine", 0.01, 0.0, 1.0),
    layer("finer", 0.005, None, 1.0),
)

layers = st.lists(
    st.tuples(st.floats(0, 1), st.none() | st.floats(-0.01, 0.6), st.floats(-1, 3)), min_size=1, max_size=12
).map(lambda rows: tuple(layer(f"l{i}", *row) for i, row in enumerate(rows)))


def _real(drops: dict[str, float], extra: float = 1.0):  # type: ignore[no-untyped-def]
    def measured(mix: Mix) -> float:
        return extra * sum(drop for name, drop in drops.items() if name not in mix.floats)

    return measured


def test_what_is_cheap_to_leave_in_float_goes_first() -> None:
    chosen, tries = search(rank_mixes(LAYERS), 0.035, _real({"concat": 0.55, "dear": 0.03, "cheap": 0.03}))
    assert set(chosen.floats) == {"concat", "cheap"}
    assert tries[0].predicted <= 0.035


def test_a_prediction_that_was_off_is_corrected() -> None:
    """Drops that together are three times their sum: more layers go back to float until it holds."""
    real = _real({"concat": 0.55, "dear": 0.03, "cheap": 0.03, "fine": 0.001}, extra=3)
    chosen, tries = search(rank_mixes(LAYERS), 0.035, real)
    assert real(chosen) <= 0.035 < tries[0].drop
    assert {"concat", "cheap", "dear"} <= set(chosen.floats) and len(chosen.floats) < len(LAYERS)


def test_what_nothing_holds_is_all_in_float() -> None:
    chosen, tries = search(rank_mixes(LAYERS), 0.01, lambda mix: 0.5 if len(mix.floats) < 5 else 0.0)
    assert set(chosen.floats) == {entry.layer for entry in LAYERS}
    assert all(tried.drop > 0.01 for tried in tries)


def test_without_times_the_fewest_layers_are_left_in_float() -> None:
    untimed = tuple(entry.model_copy(update={"float_ms": None}) for entry in LAYERS)
    chosen, _ = search(rank_mixes(untimed), 0.065, _real({"concat": 0.55, "dear": 0.03, "cheap": 0.03}))
    assert chosen.floats == ("concat",)


def test_a_layer_that_int8_slows_down_is_left_in_float() -> None:
    slow = (*LAYERS, layer("slow", 0.0, 0.0, -0.5))
    assert all("slow" in mix.floats for mix in rank_mixes(slow))


def test_drops_within_the_noise_of_the_metric_are_told_by_the_error() -> None:
    """40 layers of drops between -.003 and .003, and one that stands out: no layer gets its drop by luck."""
    noise = np.random.default_rng(0).uniform(-0.003, 0.003, 40)
    noisy = [layer(f"l{i}", 0.05 / (i + 1), float(drop), 0.1) for i, drop in enumerate(noise)]
    drops = expected_drops([*noisy, layer("dear", 0.04, 0.1, 0.1), layer("unseen", 0.04, None, 0.1)])
    assert drops["dear"] == 0.1
    told = [drops[f"l{i}"] for i in range(40)]
    assert told == sorted(told, reverse=True) and told[1] < drops["unseen"] < told[0] < 0.01


def test_predictions_that_tell_nothing_leave_a_bisection() -> None:
    """What ruins the network is where nobody looked: the fewest tries still find it, not all in float."""
    blind = [layer(f"l{i}", 1e-3 / (i + 1), None, 0.1) for i in range(60)]
    chosen, tries = search(rank_mixes(blind), 0.01, lambda mix: 0.0 if "l20" in mix.floats else 0.5)
    assert "l20" in chosen.floats and len(chosen.floats) < 40 and len(tries) <= MOST_TRIES


def test_the_solver_leaves_the_standard_output_alone(capfd: pytest.CaptureFixture[str]) -> None:
    """HiGHS prints a line about some solutions, display or not: these drops are some that make it."""
    draw = np.random.default_rng(1)
    for _ in range(5):
        rows = zip(10 ** draw.uniform(-9, 0, 60), draw.normal(0, 0.1, 60), strict=True)
        rank_mixes([layer(f"l{i}", 1.0, float(drop), float(gain)) for i, (drop, gain) in enumerate(rows)])
    assert capfd.readouterr().out == ""


def test_a_layer_that_was_not_evaluated_counts_by_its_error() -> None:
    drops = expected_drops(LAYERS)
    assert drops["concat"] == 0.55 and 0 < drops["finer"] < drops["fine"]


@given(layers, st.floats(0, 0.1), st.floats(0.2, 5))
def test_the_budget_holds_by_measurement_and_the_mixes_end_in_float(
    found: tuple[LayerSensitivity, ...], budget: float, extra: float
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(guard, "MIXES", 12)  # each is an integer program: 60 of them for each example take long
        mixes = rank_mixes(found)
    assert set(mixes[-1].floats) == {entry.layer for entry in found}
    assert [mix.predicted for mix in mixes] == sorted((mix.predicted for mix in mixes), reverse=True)
    real = _real({entry.layer: max(entry.drop or 0, 0) for entry in found}, extra)
    chosen, tries = search(mixes, budget, real)
    assert real(chosen) <= budget and len(tries) <= MOST_TRIES


def test_no_layers_leave_nothing_to_choose() -> None:
    assert search(rank_mixes(()), 0.01, lambda mix: pytest.fail("nothing to measure"))[0].floats == ()
