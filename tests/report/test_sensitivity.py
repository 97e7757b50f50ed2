"""The accuracy guard in the reports: the layers in float are named, every layer is listed and drawn."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from edgeprune.records.sensitivity import Guard, GuardTry, LayerSensitivity
from edgeprune.records.summary import load_summary, save_summary
from edgeprune.report.html import write_html
from edgeprune.report.markdown import write_markdown
from edgeprune.report.sensitivity import gain_against_error, guard_note, layers_table


def a_guard(timed: bool = True) -> Guard:
    layers = tuple(
        LayerSensitivity(
            layer=f"/model.{index}/<conv>",
            nodes=(f"/model.{index}/<conv>",),
            error=0.5 / (index + 1) ** 2,
            drop=0.3 / (index + 1) if index < 3 else None,
            float_ms=0.5 if timed else None,
            int8_ms=0.2 + 0.1 * index if timed else None,
        )
        for index in range(20)
    )
    return Guard(
        score_before=0.0,
        drop_before=0.58,
        drop_after=0.0042,
        floats=tuple(layer.layer for layer in layers[:14]),
        tries=(GuardTry(floats=14, predicted=0.005, drop=0.0042),),
        layers=layers,
    )


def test_reports_name_what_stays_in_float(make_build: Callable[..., Path], parts: SimpleNamespace) -> None:
    folder = make_build()
    summary = load_summary(folder)
    name, target = next(iter(summary.targets.items()))
    rows = (target.rows[0], target.rows[1].model_copy(update={"guard": a_guard()}), *target.rows[2:])
    targets = {**summary.targets, name: target.model_copy(update={"rows": rows})}
    save_summary(summary.model_copy(update={"targets": targets}), folder)
    html = write_html(folder).read_text(encoding="utf-8")
    assert "14 of 20 layers in float" in html and "/model.3/&lt;conv&gt;" in html
    assert "<conv>" not in html and 'id="guard"' in html and "guard-0-" in html
    text = write_markdown(folder).read_text(encoding="utf-8")
    assert "14 of 20 layers in float" in text and "and 2 more" in text and "0.0042" in text


@pytest.mark.parametrize("timed", [True, False])
def test_a_layer_without_a_number_says_why(timed: bool) -> None:
    guard = a_guard(timed)
    lines = layers_table(guard).lines
    assert [line.cells[-1].text for line in lines].count("float") == 14
    assert "too small" in lines[-1].cells[2].why
    assert ("not timed" in lines[0].cells[3].why) is not timed
    svg = gain_against_error(guard, "chart")
    assert svg and ("milliseconds gained" in svg) is timed
    assert "by 0.0042 with them" in guard_note(guard)
