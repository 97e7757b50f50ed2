"""Tables of many devices: a dash for what was not measured, marks for what speaks against a number."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from edgeprune.report.cells import Table
from edgeprune.report.devices.entries import load_lines
from edgeprune.report.devices.tables import notes_table, number_tables, parts_of, reasons, ship_table, untold

Make = Callable[..., Path]


def _column(data: Table, head: str) -> list[str]:
    place = [one.text for one in data.heads].index(head)
    return [line.cells[place].text for line in data.lines]


def _with(parts: SimpleNamespace, target: str, **changes: Any) -> dict[str, Any]:
    """Return the targets of a build, the rows of one of them changed."""
    targets = dict(parts.summary().targets)
    rows = tuple(row.model_copy(update=changes) for row in targets[target].rows)
    chosen = rows[-1] if targets[target].chosen else None
    targets[target] = targets[target].model_copy(update={"rows": rows, "chosen": chosen})
    return targets


def test_devices_stand_down_variants_across_and_nothing_is_made_up(make: Make) -> None:
    lines = load_lines([make("a"), make("b", slower=2.0)])
    (part,) = parts_of(lines)
    tables = dict(number_tables(part))
    assert list(tables) == ["Latency, p50 in ms", "Peak memory in MB", "mAP50-95 on test"]
    latency = tables["Latency, p50 in ms"]
    assert [head.text for head in latency.heads[3:]] == [
        f"{kind} {precision}"
        for kind in ("original", "pruned")
        for precision in ("fp32", "fp16", "bf16", "int8")
    ]
    assert _column(latency, "pruned int8") == ["8.50", "7.50", "–", "17.00", "15.00", "–"]
    assert _column(latency, "pruned bf16")[1] == "10.00 (refused)"
    assert _column(tables["mAP50-95 on test"], "original int8") == ["0.5740", "0.5750", "–"] * 2
    assert untold(part) == "Measured nowhere, so no table: energy."


def test_energy_has_a_table_with_its_rails_where_a_sensor_told(bench: Make, energy: Any) -> None:
    bench("r/x.json", "tiny", 8.0, energy=energy)
    (part,) = parts_of(load_lines([bench("r/y.json", "other", 9.0).parent]))
    data = dict(number_tables(part))["Energy of an inference above idle in mJ"]
    assert (_column(data, "tiny"), _column(data, "other")) == (["12.0"], ["–"])
    assert _column(data, "measured by") == ["ina3221 VDD_IN"]
    assert untold(part) == "Measured nowhere, so no table: accuracy."


def test_different_metrics_never_share_a_column(make: Make, parts: SimpleNamespace) -> None:
    targets = _with(parts, "x86-openvino", metric="top1", others={})
    (part,) = parts_of(load_lines([make("a", targets=targets, chosen=targets["x86-openvino"].chosen)]))
    tables = dict(number_tables(part))
    assert _column(tables["mAP50-95 on test"], "pruned int8") == ["0.5710", "–", "–"]
    assert _column(tables["top1 on test"], "pruned int8") == ["–", "0.5730", "–"]


def test_an_accuracy_of_another_arithmetic_says_so(make: Make, parts: SimpleNamespace) -> None:
    targets = _with(parts, "x86-ort", flags=("accuracy_on_host",))
    targets |= {"jetson": _with(parts, "jetson", score=0.5, flags=("accuracy_emulated",))["jetson"]}
    (part,) = parts_of(load_lines([make("a", targets=targets)]))
    shown = dict(number_tables(part))["mAP50-95 on test"]
    assert _column(shown, "original fp32")[:2] == ["0.5800 (build's machine)", "0.5800"]
    assert _column(shown, "original fp16")[2] == "0.5000 (emulator)"


def test_models_that_differ_have_tables_of_their_own(make: Make) -> None:
    lines = load_lines([make("a"), make("b", model={"name": "other"})])
    first, second = parts_of(lines)
    assert [line.source.letter for line in first.lines] == ["A"] * 3
    assert second.subject.title.startswith("other on data.yaml: 36 images of test, 320 px")


def test_what_ships_is_the_fastest_choice_of_each_device_and_an_unfit_run_says_so(
    make: Make, parts: SimpleNamespace
) -> None:
    targets = _with(parts, "x86-openvino", flags=("contended",))
    lines = load_lines([make("a", targets=targets, chosen=targets["x86-openvino"].chosen)])
    ships = ship_table(lines)
    assert _column(ships, "ship") == ["pruned int8, A: x86-openvino, openvino 2026.4.1", "–"]
    assert (
        _column(ships, "p50") == ["7.50 (unfit: contended)", "–"]
        and _column(ships, "loses")[0] == "0.0070 mAP50-95"
    )
    openvino, jetson = reasons(lines)
    assert "Measured in a run flagged contended: measure again before it ships." in openvino
    assert jetson.startswith("3, jetson: not there: The device was not there. Nothing was measured")
    latency = dict(number_tables(parts_of(lines)[0]))["Latency, p50 in ms"]
    assert _column(latency, "pruned int8")[1] == "7.50 (unfit: contended)"
    notes = [[cell.text for cell in line.cells] for line in notes_table(lines).lines]
    assert ["2", "pruned bf16", "refused: It loses 0.0185 mAP50-95 on val; the budget is 0.01."] in notes


def test_results_name_the_fastest_row_that_the_build_allows_and_choose_nothing(
    make: Make, bench: Make, parts: SimpleNamespace
) -> None:
    targets = _with(parts, "x86-ort")
    rows = targets["x86-ort"].rows
    rows = tuple(
        row.model_copy(update={"sha256": str(place), "refused": ("no",) if place == 3 else ()})
        for place, row in enumerate(rows)
    )
    build = make("a", targets={"x86-ort": targets["x86-ort"].model_copy(update={"rows": rows})}, chosen=None)
    for place, p50 in enumerate((90.0, 40.0, 60.0, 20.0)):
        path = bench(f"r/{place}.json", f"row {place}", p50, sha256=str(place))
    lines = load_lines([build, path.parent, bench("lone.json", "lone", 5.0)])
    said = reasons(lines)
    assert said[1].endswith(
        "bench judges no budget; of the rows that the build allows original int8 is the fastest here"
    )
    assert said[2].endswith("bench judges no budget, and no build that is given holds these engines")
    assert _column(ship_table(lines), "ship")[1:] == ["–", "–"]
