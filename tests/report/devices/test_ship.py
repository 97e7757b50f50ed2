"""What ships where: the fastest choice of a device; where nothing was chosen, why not, told once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

from edgeprune.records.bench_result import Flag
from edgeprune.report.devices.entries import load_lines
from edgeprune.report.devices.pages import in_words, write_pages
from edgeprune.report.devices.ship import reasons, ship_table
from made_summaries import column, with_rows

Make = Callable[..., Path]


def test_what_ships_is_the_fastest_choice_of_each_device_and_an_unfit_run_says_so(
    make: Make, parts: SimpleNamespace
) -> None:
    targets = with_rows(parts.summary(), "x86-openvino", flags=("contended",))
    lines = load_lines([make("a", targets=targets, chosen=targets["x86-openvino"].chosen)])
    ships = ship_table(lines)
    assert column(ships, "ship") == ["pruned int8, A: x86-openvino, openvino 2026.4.1"]
    assert column(ships, "p50") == ["7.50 (unfit: contended)"]
    assert column(ships, "loses") == ["0.0070 [−0.002, 0.019] mAP50-95"]
    openvino, jetson = reasons(lines)
    assert "Measured in a run flagged contended: measure again before it ships." in openvino
    assert jetson.startswith("Nothing was chosen on 3, jetson: not there: Nothing was measured")


def test_results_name_the_fastest_row_that_the_build_allows_and_choose_nothing(
    make: Make, bench: Make, parts: SimpleNamespace
) -> None:
    targets = with_rows(parts.summary(), "x86-ort")
    rows = targets["x86-ort"].rows
    rows = tuple(
        row.model_copy(update={"sha256": str(place), "refused": ("no",) if place == 3 else ()})
        for place, row in enumerate(rows)
    )
    build = make("a", targets={"x86-ort": targets["x86-ort"].model_copy(update={"rows": rows})}, chosen=None)
    for place, p50 in enumerate((90.0, 40.0, 60.0, 20.0)):
        path = bench(f"r/{place}.json", f"row {place}", p50, sha256=str(place))
    hot = Flag(code="throttled", severity="invalid", evidence="1.5 GHz of 2.4 GHz")
    unfit = bench("hot.json", "row", 9.0, sha256="0", env_before={"board": "hot"}, flags=(hot,))
    lines = load_lines([build, path.parent, bench("lone.json", "lone", 5.0), unfit])
    said, ships = reasons(lines), ship_table(lines)
    assert said[1].endswith(
        "bench judges no budget; of the rows that the build allows original int8 is the fastest here."
    )
    assert said[3].startswith("Nothing was chosen on 4, Raspberry Pi 5, ") and said[3].endswith(
        "bench judges no budget, and no given build holds and allows what ran there."
    )
    assert said[2].endswith("each run there of a row that its build allows was unfit: measure again.")
    assert column(ships, "ship")[1:] == [
        "original int8, the fastest that its build allows, B: onnxruntime 1.32.0"
    ]
    assert (column(ships, "p50")[1], column(ships, "speed-up")[1]) == ("40.32", "–")


def test_devices_of_which_the_same_is_said_share_a_sentence(make: Make, bench: Make, tmp_path: Path) -> None:
    for place in range(40):
        board = {"machine": "aarch64", "board": f"board {place}", "cores": 4}
        bench(f"r/{place}.json", "lone", 5.0 + place, env_before=board)
    lines = load_lines([make("a"), tmp_path / "r"])
    assert len(ship_table(lines).lines) == 1
    said = reasons(lines)
    assert len(said) == 3 and said[2].startswith("Nothing was chosen on 40 devices (4 to 43): bench judges")
    assert in_words(lines)[1:] == said[1:]


def test_a_page_of_results_alone_says_that_nothing_was_chosen(bench: Make, tmp_path: Path) -> None:
    lines = load_lines([bench("one.json", "a", 5.0), bench("two.json", "b", 6.0)])
    for path in write_pages(lines, None, tmp_path / "out").values():
        assert "Nothing was chosen on any of these devices." in Path(path).read_text(encoding="utf-8")
