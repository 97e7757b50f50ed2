"""Tables of many devices: a dash for what was not measured, marks for what speaks against a number."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from edgeprune.report.devices.entries import load_lines
from edgeprune.report.devices.tables import notes_table, number_tables, parts_of, untold
from made_summaries import column, with_rows

Make = Callable[..., Path]


def test_devices_stand_down_variants_across_and_nothing_is_made_up(make: Make) -> None:
    lines = load_lines([make("a"), make("b", slower=2.0)])
    (part,) = parts_of(lines)
    tables = dict(number_tables(part))
    assert list(tables) == ["Latency, p50 in ms", "Peak memory in MB", "mAP50-95 on test"]
    latency = tables["Latency, p50 in ms"]
    assert [head.text for head in latency.heads[3:]] == [
        f"{kind} {precision}"
        for kind in ("original", "pruned")
        for precision in ("fp32", "bf16", "int8")  # the Jetson's fp16 was measured nowhere
    ]
    assert column(latency, "pruned int8") == ["8.50", "7.50", "–", "17.00", "15.00", "–"]
    assert column(latency, "pruned bf16")[1] == "10.00 (refused)"
    assert column(tables["mAP50-95 on test"], "original int8") == ["0.5740", "0.5750", "–"] * 2
    assert untold(part) == "Measured nowhere, so no table: energy."


def test_energy_has_a_table_with_its_rails_where_a_sensor_told(bench: Make, energy: Any) -> None:
    bench("r/x.json", "tiny", 8.0, energy=energy)
    (part,) = parts_of(load_lines([bench("r/y.json", "other", 9.0).parent]))
    data = dict(number_tables(part))["Energy of an inference above idle in mJ"]
    assert column(data, "tiny") == ["12.0"] and "other" not in [head.text for head in data.heads]
    assert column(data, "measured by") == ["ina3221 VDD_IN"]
    assert untold(part) == "Measured nowhere, so no table: accuracy."


def test_different_metrics_never_share_acolumn(make: Make, parts: SimpleNamespace) -> None:
    targets = with_rows(parts.summary(), "x86-openvino", metric="top1", others={})
    (part,) = parts_of(load_lines([make("a", targets=targets, chosen=targets["x86-openvino"].chosen)]))
    tables = dict(number_tables(part))
    assert column(tables["mAP50-95 on test"], "pruned int8") == ["0.5710", "–", "–"]
    assert column(tables["top1 on test"], "pruned int8") == ["–", "0.5730", "–"]


def test_an_accuracy_of_another_arithmetic_says_so(make: Make, parts: SimpleNamespace) -> None:
    targets = with_rows(parts.summary(), "x86-ort", flags=("accuracy_on_host",))
    targets |= {
        "jetson": with_rows(parts.summary(), "jetson", score=0.5, flags=("accuracy_emulated",))["jetson"]
    }
    (part,) = parts_of(load_lines([make("a", targets=targets)]))
    shown = dict(number_tables(part))["mAP50-95 on test"]
    assert column(shown, "original fp32")[:2] == ["0.5800 (build's machine)", "0.5800"]
    assert column(shown, "original fp16")[2] == "0.5000 (emulator)"


def test_models_that_differ_have_tables_of_their_own(make: Make) -> None:
    lines = load_lines([make("a"), make("b", model={"name": "other"})])
    first, second = parts_of(lines)
    assert [line.source.letter for line in first.lines] == ["A"] * 3
    assert second.subject.title.startswith("other on data.yaml: 36 images of test, 320 px")


def test_what_speaks_against_a_row_stands_beside_its_number_and_is_listed(
    make: Make, parts: SimpleNamespace
) -> None:
    targets = with_rows(parts.summary(), "x86-openvino", flags=("contended",))
    lines = load_lines([make("a", targets=targets, chosen=targets["x86-openvino"].chosen)])
    latency = dict(number_tables(parts_of(lines)[0]))["Latency, p50 in ms"]
    assert column(latency, "pruned int8")[1] == "7.50 (unfit: contended)"
    notes = [[cell.text for cell in line.cells] for line in notes_table(lines).lines]
    assert ["2", "pruned bf16", "refused: It loses 0.0185 mAP50-95 on val; the budget is 0.01."] in notes
