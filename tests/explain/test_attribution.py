"""The speed-up taken apart: factors multiply to what was measured, and nothing is made up between rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeprune.core.errors import ConfigError
from edgeprune.explain.attribution import measured_row, split
from edgeprune.records.pruning import LayerWidth, PassReport, Pruning
from edgeprune.records.summary import Row, Summary, TargetSummary
from made_summaries import a_summary, row

ORT, VINO = "x86-ort", "x86-openvino"
CORNERS = list(product((ORT, VINO), ("original", "pruned"), ("fp32", "int8")))
PRUNING = Pruning(
    criterion="l1", goal="ratio 0.4", ratio=0.4, step=32, params_before=9, params_after=5,
    macs_before=9, macs_after=5,
)  # fmt: skip


def built(rows: Sequence[Row], prunings: dict[str, Pruning] | None = None) -> Summary:
    prunings = prunings or {}
    reference = f"{ORT} original fp32"
    ms = next((row.p50_ms for row in rows if row.label == reference), None)
    rows = [row.model_copy(update={"speedup": ms / row.p50_ms}) if ms and row.p50_ms else row for row in rows]
    targets = {
        name: TargetSummary(
            rows=tuple(row for row in rows if row.target == name),
            chosen=None,
            verdict="-",
            split="test",
            pruning=prunings.get(name, PRUNING),
        )
        for name in dict.fromkeys(row.target for row in rows)
    }
    return a_summary().model_copy(
        update={"targets": targets, "reference": reference, "chosen": rows[-1] if rows else None}
    )


def cube(times: Sequence[float]) -> list[Row]:
    """Make a row for each corner, in the order of `CORNERS`."""
    return [
        row(variant, precision, ms, target=target)
        for (target, variant, precision), ms in zip(CORNERS, times, strict=True)
    ]


def told(rows: Sequence[Row], label: str = f"{VINO} pruned int8", **facts: Any) -> Any:
    summary = built(rows, **facts)
    found = split(summary, measured_row(summary, label))
    assert found is not None
    return found


MS = st.floats(0.5, 100)


@given(st.lists(MS, min_size=8, max_size=8))
def test_factors_multiply_to_the_measured_speedup_and_lie_in_their_range(times: list[float]) -> None:
    found = told(cube(times))
    assert found.method == "mean of all orders" and not found.missing
    assert [one.change for one in found.factors] == ["compiler", "int8", "pruning"]
    assert math.prod(one.factor for one in found.factors) == pytest.approx(times[0] / times[-1])
    for one in found.factors:
        assert one.lowest * (1 - 1e-9) <= one.factor <= one.highest * (1 + 1e-9)
    shares = [one.share for one in found.factors if one.share is not None]
    assert not shares or sum(shares) == pytest.approx(1)


def test_independent_changes_have_one_factor_in_every_order() -> None:
    gains = {VINO: 1.25, "pruned": 2.0, "int8": 3.0}
    times = [60 / math.prod(gains.get(part, 1.0) for part in corner) for corner in CORNERS]
    for one, expected in zip(told(cube(times)).factors, (1.25, 3.0, 2.0), strict=True):
        assert (one.factor, one.lowest, one.highest) == pytest.approx((expected,) * 3)


def test_what_hangs_on_the_order_is_averaged_over_all_orders() -> None:
    """int8 brings 2x to the original and nothing to the pruned network, on one runtime."""
    rows = cube([40, 20, 10, 10, 1, 1, 1, 1])[:4]
    found = told(rows, f"{ORT} pruned int8")
    int8, pruning = found.factors
    assert (int8.lowest, int8.highest) == pytest.approx((1.0, 2.0))
    assert (int8.factor, pruning.factor) == pytest.approx((math.sqrt(2), math.sqrt(8)))


@given(st.lists(st.none() | MS, min_size=6, max_size=6), MS, MS)
def test_without_every_corner_one_measured_order_stands_and_nothing_is_estimated(
    between: list[float | None], first: float, last: float
) -> None:
    rows = cube([first, *between, last])
    found = told(rows)
    assert math.prod(one.factor for one in found.factors) == pytest.approx(first / last)
    absent = {row.label for row in rows if row.p50_ms is None}
    assert {corner.row for corner in found.missing} == absent
    if absent:
        assert found.method == "one order"
        times = [row.p50_ms for row in rows if row.p50_ms]
        for one in found.factors:
            assert one.lowest is None
            ratios = (before / after for before in times for after in times)
            assert any(one.factor == pytest.approx(ratio) for ratio in ratios)
    assert sorted(" and ".join(one.change for one in found.factors).split(" and ")) == [
        "compiler", "int8", "pruning",
    ]  # fmt: skip


def test_an_order_that_was_measured_is_found_and_the_first_one_is_compiler_int8_pruning() -> None:
    chain = cube([40, None, None, None, 30, 15, None, 5])  # type: ignore[list-item]
    found = told(chain)
    assert found.order == ("compiler", "int8", "pruning")
    assert [one.factor for one in found.factors] == pytest.approx([4 / 3, 2, 3])
    other = told(cube([40, None, 20, None, None, None, 16, 5]))  # type: ignore[list-item]
    assert other.order == ("pruning", "compiler", "int8")
    assert [one.change for one in other.factors] == list(other.order)


def test_changes_that_no_row_tells_apart_are_told_together() -> None:
    rows = [row("original", "fp32", 40, target=ORT), row("pruned", "int8", 5, target=VINO)]
    found = told(rows)
    assert [(one.change, one.factor) for one in found.factors] == [("compiler and int8 and pruning", 8.0)]
    assert len(found.missing) == 6


def test_a_network_pruned_for_another_step_is_another_corner() -> None:
    rows = cube([40, 20, 20, 10, 30, 15, 15, 5])
    layer = LayerWidth(layer="conv", before=64, after=40)
    other = PRUNING.model_copy(update={"layers": (layer,)})
    assert told(rows, prunings={ORT: other, VINO: other}).missing == ()
    tried = PassReport(name="activation", ms_before=1.0, ms_after=2.0)  # not applied: the network is the same
    busy = tried.model_copy(update={"ms_before": 1.5})
    twins = {ORT: PRUNING.model_copy(update={"passes": (tried,)}),
             VINO: PRUNING.model_copy(update={"passes": (busy,)})}  # fmt: skip
    assert told(rows, prunings=twins).missing == ()
    found = told(rows, prunings={ORT: other})
    assert {corner.row for corner in found.missing} == {f"{ORT} pruned fp32", f"{ORT} pruned int8"}
    assert [one.factor for one in found.factors] == pytest.approx([40 / 30, 2, 3])


def test_the_reference_has_nothing_to_take_apart_and_a_build_without_one_no_split() -> None:
    rows = cube([40, 20, 20, 10, 30, 15, 15, 5])
    found = told(rows, f"{ORT} original fp32")
    assert found.factors == () and found.speedup == 1
    summary = built(rows).model_copy(update={"reference": None})
    assert split(summary, rows[0]) is None


def test_a_smaller_input_is_a_change_of_its_own_name() -> None:
    rows = [
        row("original", "fp32", 40, target=ORT),
        row("original", "int8", 20, target=ORT),
        row("resized", "int8", 10, target=ORT, imgsz=256),
    ]
    found = told(rows, f"{ORT} original 256 px int8")
    assert [(one.change, one.factor) for one in found.factors] == [("int8", 2.0), ("original 256 px", 2.0)]


def test_a_row_that_was_not_measured_cannot_be_explained() -> None:
    rows = [row("original", "fp32", 40, target=ORT), row("pruned", "int8", None, target=ORT)]
    with pytest.raises(ConfigError, match=r"no measured row of this build.*x86-ort original fp32"):
        measured_row(built(rows), f"{ORT} pruned int8")
    with pytest.raises(ConfigError, match="chose no row"):
        measured_row(built([]), None)
