"""The latency table: between its points, over a network, and when it may not be used."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeprune.core.errors import ConfigError, NotComparableError
from edgeprune.records.latency_table import (
    Anchor,
    Grid,
    Shape,
    load_table,
    save_table,
    widths_at,
)
from made_latency import DEEP, KEY, LAYERS, ORIGINAL, SHAPE, table


def test_widths_follow_the_groups() -> None:
    assert [widths_at(layer, {"a": 48, "b": 16}, ORIGINAL) for layer in LAYERS] == [
        (64, 48), (48, 16), (32, 64),
    ]  # fmt: skip
    assert [widths_at(layer, {}, ORIGINAL) for layer in LAYERS] == [(64, 64), (64, 32), (64, 64)]


@given(cin=st.integers(1, 64), cout=st.integers(1, 64))
def test_a_wider_layer_never_costs_less_where_the_measurements_rise(cin: int, cout: int) -> None:
    measured = table()
    assert measured.layer_ms(SHAPE, cin, cout) <= measured.layer_ms(SHAPE, cin + 1, cout)
    assert measured.layer_ms(SHAPE, cin, cout) <= measured.layer_ms(SHAPE, cin, cout + 1)


@given(cin=st.integers(1, 64), cout=st.integers(1, 64))
def test_a_width_costs_what_the_stair_above_it_costs(cin: int, cout: int) -> None:
    measured = table()
    stair = -(-cin // 16) * 16, -(-cout // 16) * 16
    assert measured.layer_ms(SHAPE, cin, cout) == measured.layer_ms(SHAPE, *stair)


def test_measured_points_are_returned_as_they_are_and_between_them_it_is_linear() -> None:
    measured = table()
    assert measured.layer_ms(SHAPE, 32, 64) == pytest.approx(2.048)
    assert measured.layer_ms(SHAPE, 32, 48) == pytest.approx((1.024 + 2.048) / 2)
    assert measured.layer_ms(SHAPE, 8, 8) == measured.layer_ms(SHAPE, 16, 16)
    assert measured.layer_ms(SHAPE, 64, 80) == measured.layer_ms(SHAPE, 64, 64)


def test_an_original_width_off_the_step_is_no_stair() -> None:
    ms = ((1.0, 2.0, 5.0),)
    grid = Grid(shape=DEEP, cin=(0,), cout=(16, 32, 40), ms=ms, iqr_ms=ms, n=3)
    measured = table(grids=(*table().grids, grid))
    assert measured.layer_ms(DEEP, 40, 40) == 5.0
    assert measured.layer_ms(DEEP, 36, 36) == 5.0
    assert measured.layer_ms(DEEP, 32, 32) == 2.0


def test_the_original_is_predicted_as_it_was_measured() -> None:
    measured = table()
    assert measured.network_ms(LAYERS, {}, ORIGINAL) == pytest.approx(12.0)
    assert measured.rest_ms() == pytest.approx(12.0 - (4.096 + 2.048 + 4.096))
    assert measured.caveats() == ()


def test_one_anchor_keeps_the_rest_and_two_let_it_follow_the_volume() -> None:
    keep = {"a": 32, "b": 16}
    one = table()
    layers_ms = 2.048 + 0.512 + 2.048
    assert one.network_ms(LAYERS, keep, ORIGINAL) == pytest.approx(layers_ms + one.rest_ms())
    half = Anchor(keep=keep, ms=layers_ms + 0.5, iqr_ms=0.1, n=3)
    two = table(anchors=(*one.anchors, half))
    assert two.network_ms(LAYERS, keep, ORIGINAL) == pytest.approx(layers_ms + 0.5)
    assert two.network_ms(LAYERS, {}, ORIGINAL) == pytest.approx(12.0)


@pytest.mark.parametrize(("measured", "fit"), [(1.0, True), (1.09, True), (1.2, False), (0.85, False)])
def test_a_table_that_mispredicts_a_whole_network_is_unfit_and_says_so(measured: float, fit: bool) -> None:
    """The middle network has no part in the line of the rest, so it is a check."""
    half, least = {"a": 32, "b": 16}, {"a": 16, "b": 16}
    ends = table(anchors=(Anchor(ms=12.0, iqr_ms=0.1, n=3), Anchor(keep=least, ms=3.0, iqr_ms=0.1, n=3)))
    predicted = ends.network_ms(LAYERS, half, ORIGINAL)
    between = Anchor(keep=half, ms=predicted * measured, iqr_ms=0.1, n=3)
    three = table(anchors=(ends.anchors[0], between, ends.anchors[1]))
    assert three.off == pytest.approx(abs(1 / measured - 1))
    assert three.network_ms(LAYERS, half, ORIGINAL) == pytest.approx(predicted)
    assert three.unfit != fit
    assert bool(three.caveats()) != fit
    assert fit or "predicts a network that was measured as a whole" in three.caveats()[0]


def test_a_table_of_a_busy_machine_is_unfit() -> None:
    assert table(foreign=0.3).unfit and not table().unfit and table().off is None


def test_layers_dearer_than_the_whole_are_told() -> None:
    (caveat,) = table(anchors=(Anchor(ms=10.0, iqr_ms=0.1, n=3),)).caveats()
    assert caveat == "the layers one by one take 0.24 ms more than the whole network of 10 ms"


def test_a_shape_that_was_not_measured_is_refused() -> None:
    with pytest.raises(ConfigError, match="no layer 3x3 stride 2 depthwise SiLU at 8x8; run `edgeprune pro"):
        table().layer_ms(DEEP, 16, 16)


def test_factors_are_looked_up_for_a_rewriting_and_change_no_prediction() -> None:
    wide, tall = (128, 256), SHAPE.model_copy(update={"kernel": (3, 1), "stride": (2, 1)})
    ms = ((7.0, 8.0), (9.0, 10.0))
    factors = tuple(Grid(shape=shape, cin=wide, cout=wide, ms=ms, iqr_ms=ms, n=3) for shape in (SHAPE, tall))
    plain, measured = table(), table(factors=factors)
    for keep in ({}, {"a": 48}, {"a": 16, "b": 16}):
        assert measured.network_ms(LAYERS, keep, ORIGINAL) == plain.network_ms(LAYERS, keep, ORIGINAL)
        assert measured.predictor()(keep) == plain.predictor()(keep)
    assert measured.layer_ms(SHAPE, 64, 64) == plain.layer_ms(SHAPE, 64, 64) == plain.factor_ms(SHAPE, 64, 64)
    assert measured.factor_ms(SHAPE, 128, 256) == measured.factor_ms(tall, 128, 256) == 8.0
    assert measured.factor_ms(tall, 16, 16) == 7.0  # narrower than what was measured
    with pytest.raises(ConfigError, match="no layer 3x1 stride 2x1 SiLU at 8x8"):
        plain.factor_ms(tall, 128, 128)


def test_a_stride_has_two_directions_and_groups_a_number() -> None:
    shape = SHAPE.model_copy(update={"stride": (2, 1), "height": 9, "groups": 4})
    assert (shape.out_size, shape.pixels) == ((5, 8), 40)
    assert str(shape) == "3x3 stride 2x1 in 4 groups SiLU at 9x8"
    assert Shape.model_validate_json(shape.model_dump_json()) == shape


def test_a_table_from_before_strides_had_two_directions_is_read(tmp_path: Path) -> None:
    text = _text()
    old = text.replace('"stride": [1, 1]', '"stride": 1').replace('"factors": [], ', "")
    assert old != text
    (tmp_path / "table.json").write_text(old)
    assert load_table(tmp_path / "table.json", KEY) == table()


def test_a_saved_table_reads_back(tmp_path: Path) -> None:
    save_table(table(), tmp_path / "table.json")
    assert load_table(tmp_path / "table.json", KEY) == table()


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"cpu": "another"}, "measured with cpu 'a cpu', but here it is 'another'"),
        ({"runtime_version": "1.32.0"}, "measured with runtime_version '1.31.1', but here it is '1.32.0'"),
        ({"precision": "fp32"}, "measured with precision 'int8', but here it is 'fp32'"),
        ({"threads": 2}, "measured with threads 1, but here it is 2"),
        (
            {"environment": {"KMP_BLOCKTIME": "2"}},
            "measured with environment none, but here it is KMP_BLOCKTIME=2",
        ),
    ],
)
def test_a_table_of_other_conditions_is_refused(
    tmp_path: Path, change: dict[str, Any], expected: str
) -> None:
    path = tmp_path / "table.json"
    save_table(table(), path)
    with pytest.raises(NotComparableError) as caught:
        load_table(path, KEY.model_copy(update=change))
    assert str(caught.value) == f"{path}: {expected}; run `edgeprune profile` again"


def _text(**changes: Any) -> str:
    return json.dumps(table().model_dump(mode="json") | changes)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{", "not valid JSON"),
        ("[]", "the latency table is corrupt: not a JSON object"),
        (_text(schema_version=9), "a latency table of schema 9, not 1"),
        (_text(steps=3), "not a whole latency table: unknown key 'steps' (did you mean 'step'?)"),
        (_text(grids=[]), "nothing was measured for a"),
        (_text(anchors=[]), "the original network is not the first of them"),
        (_text()[:-200], "not valid JSON"),
    ],
)
def test_a_corrupt_or_stale_table_is_one_clear_line(tmp_path: Path, text: str, expected: str) -> None:
    path = tmp_path / "table.json"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_table(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ") and expected in message
    assert message.endswith("; run `edgeprune profile` again") and "\n" not in message


def test_a_missing_table_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.json: cannot be read: No such file"):
        load_table(tmp_path / "none.json")
