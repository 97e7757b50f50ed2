"""The page is parsed as XML, which HTML parsers also read: what is not well-formed fails."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import pytest

from browser import CHROMIUM, scroll_sideways, width_on_a_phone
from edgeprune.records.bench_result import Flag
from edgeprune.report.html import write_html

HOSTILE = "<script>alert(1)</script> \"'><img src=x onerror=alert(1)> $x_{ \x00\x1b[31m\n" + 60 * "W"
SHOWN = "<script>alert(1)</script> \"'><img src=x onerror=alert(1)> $x_{ [31m " + 60 * "W"
Make = Callable[..., Path]


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory, parts: SimpleNamespace) -> Path:
    """The unchanged build folder, its page written."""
    folder: Path = parts.write_build(tmp_path_factory.mktemp("html") / "build")
    write_html(folder)
    return folder


@pytest.fixture
def page(build: Path) -> ElementTree.Element:
    return ElementTree.parse(build / "report.html").getroot()


def _parse(folder: Path) -> ElementTree.Element:
    return ElementTree.fromstring(write_html(folder).read_text(encoding="utf-8"))


def _text(element: ElementTree.Element) -> str:
    return " ".join("".join(element.itertext()).split())


def _classes(element: ElementTree.Element) -> list[str]:
    return element.get("class", "").split()


def _hostile_build(make_build: Make, parts: SimpleNamespace, layers: int = 4) -> Path:
    summary = parts.summary()
    target = summary.targets["x86-openvino"]
    rows = tuple(row.model_copy(update={"per_class": {HOSTILE: 0.5}}) for row in target.rows)
    pruning = parts.pruning(layers)
    first = pruning.layers[0].model_copy(update={"layer": HOSTILE})
    pruning = pruning.model_copy(update={"layers": (first, *pruning.layers[1:])})
    refused = rows[0].model_copy(update={"refused": (HOSTILE,)})
    rows = (refused, *rows[1:])
    changed = target.model_copy(
        update={
            "rows": rows,
            "chosen": rows[-1],
            "pruning": pruning,
            "verdict": HOSTILE,
            "on_device": (HOSTILE,),
        }
    )
    return make_build(
        targets={**summary.targets, "x86-openvino": changed},
        chosen=rows[-1],
        verdict=HOSTILE,
        model={"name": HOSTILE, HOSTILE: [HOSTILE]},
        environment={HOSTILE: {HOSTILE: HOSTILE}},
        command=HOSTILE,
        split=HOSTILE,
    )


def test_every_row_is_there_and_the_chosen_one_stands_out(
    page: ElementTree.Element, parts: SimpleNamespace
) -> None:
    lines = [line for line in page.iter("tr") if "row" in _classes(line)]
    expected = parts.summary().rows()
    assert len(lines) == len(expected)
    for index, (line, row) in enumerate(zip(lines, expected, strict=True), start=1):
        cells = [_text(cell) for cell in line.iter("td")]
        assert cells[0] == str(index) and cells[1].startswith(f"{row.variant} {row.precision}")
        assert cells[2] == ("–" if row.p50_ms is None else f"{row.p50_ms:.2f}")
    assert [_text(line)[:2] for line in lines if "chosen" in _classes(line)] == ["10"]
    assert "Refused: It loses 0.0185 mAP50-95 on val" in _text(page)
    tiles = next(element for element in page.iter("dl") if "tiles" in _classes(element))
    assert [_text(tile) for tile in tiles.iter("dd")] == ["3.33×", "7.50", "128.0", "0.0070", "2.38", "78"]


def test_a_device_that_was_not_there_gets_reasons_and_commands_but_no_number(
    page: ElementTree.Element,
) -> None:
    lines = [line for line in page.iter("tr") if "row" in _classes(line)][-4:]
    for line in lines:
        missing = [cell for cell in line.iter("td") if _text(cell) == "–"]
        assert len(missing) == 9
        assert missing[0].get("title") == "not measured: the device was not there"
        assert all(cell.get("title") for cell in missing)
    assert "No latency is shown for jetson: the device was not there" in _text(page)
    assert any(_text(block).startswith("trtexec --onnx=") for block in page.iter("pre"))


def test_the_page_asks_nobody_for_anything_and_runs_no_script(page: ElementTree.Element) -> None:
    assert not list(page.iter("script")) and not list(page.iter("link")) and not list(page.iter("img"))
    for element in page.iter():
        for key, value in element.attrib.items():
            assert "://" not in value and "javascript:" not in value, (element.tag, key)
            assert key not in ("src", "srcset", "data") and not key.startswith("on")
            assert key != "href" or value.startswith("#")
    style = "".join(element.text or "" for element in page.iter("style"))
    assert "@import" not in style and "url(" not in style


def test_chart_text_is_text_ids_are_unique_and_references_resolve(page: ElementTree.Element) -> None:
    charts = list(page.iter("svg"))
    assert len(charts) == 5  # scatter, percentiles, histograms, memory, channels
    assert all(list(chart.iter("text")) and chart.get("aria-label") for chart in charts)
    ids = [element.get("id") for element in page.iter() if element.get("id")]
    assert len(ids) == len(set(ids))
    references = {element.get("href", "")[1:] for chart in charts for element in chart.iter("use")}
    assert references and references <= set(ids)


def test_two_writes_give_the_same_bytes(build: Path, tmp_path: Path) -> None:
    again = write_html(build, tmp_path / "again.html")
    assert again == tmp_path / "again.html"
    assert again.read_bytes() == (build / "report.html").read_bytes()


def test_hostile_names_are_shown_and_do_nothing(make_build: Make, parts: SimpleNamespace) -> None:
    folder = _hostile_build(make_build, parts)
    raw = write_html(folder).read_text(encoding="utf-8")
    assert "<script" not in raw and "<img" not in raw and "\x1b" not in raw
    page = ElementTree.fromstring(raw)
    assert not [key for element in page.iter() for key in element.attrib if key.startswith("on")]
    assert any(_text(cell) == SHOWN for cell in page.iter("td"))
    verdict = next(page.iter("header")).findall("p")[-2]
    assert _text(verdict) == SHOWN


def test_a_missed_budget_puts_the_nearest_miss_first(make_build: Make, parts: SimpleNamespace) -> None:
    targets = {
        name: target.model_copy(update={"chosen": None}) for name, target in parts.summary().targets.items()
    }
    page = _parse(
        make_build(
            targets=targets, chosen=None, verdict="Budget not met.", nearest_miss="row 10 misses 5 ms."
        )
    )
    header = _text(next(page.iter("header")))
    assert "No row keeps to every budget" in header
    assert "No row was chosen. Nearest miss: row 10 misses 5 ms." in header
    assert not [element for element in page.iter("dl") if "tiles" in _classes(element)]
    assert not [line for line in page.iter("tr") if "chosen" in _classes(line)]


def test_without_pruning_and_without_samples_the_page_says_so(
    make_build: Make, parts: SimpleNamespace
) -> None:
    targets = {
        name: target.model_copy(update={"pruning": None}) for name, target in parts.summary().targets.items()
    }
    text = _text(_parse(make_build(benches=False, targets=targets)))
    assert "Nothing was pruned in this build." in text
    assert "this folder holds no bench results" in text
    assert "the samples of x86-ort original fp32 cannot be read" in text


def test_one_row_of_one_query_is_drawn_too(make_build: Make, parts: SimpleNamespace) -> None:
    target = parts.summary().targets["x86-ort"]
    row = target.rows[0]
    target = target.model_copy(update={"rows": (row,), "chosen": row, "pruning": parts.pruning(0)})
    folder = make_build(targets={"x86-ort": target}, chosen=row)
    result = parts.bench_result("one", 25.0)
    block = result.blocks[0].model_copy(update={"samples_ns": (25_000_000,)})
    (folder / row.bench).write_text(result.model_copy(update={"blocks": (block,)}).model_dump_json())
    assert len(list(_parse(folder).iter("svg"))) == 4


def test_a_damaged_measurement_is_named_and_the_others_are_shown(make_build: Make) -> None:
    folder = make_build()
    (folder / "bench/x86-ort-original-fp32.json").write_text('{"schema_version": 1')
    page = _parse(folder)
    assert "the samples of x86-ort original fp32 cannot be read" in _text(page)
    assert len(list(page.iter("svg"))) == 5


def test_a_percentile_of_too_few_samples_is_withheld_with_the_reason(
    make_build: Make, parts: SimpleNamespace
) -> None:
    folder = make_build()
    few: Any = parts.bench_result(
        "few", 25.0, queries=50, flags=(Flag(code="n_insufficient", severity="warning", evidence="50 < 64"),)
    )
    (folder / "bench/x86-ort-original-fp32.json").write_text(few.model_dump_json())
    page = _parse(folder)
    table = next(element for element in page.iter("div") if element.get("aria-label") == "Latency")
    first = next(table.iter("tbody"))[0]
    assert [_text(cell) for cell in first][2] == "50"
    assert [cell.get("title") for cell in first if _text(cell) == "–"] == [
        f"withheld: fewer than {least} samples" for least in (64, 130, 662)
    ]
    assert "n_insufficient warning 50 < 64" in " ".join(_text(cell) for cell in page.iter("td"))


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium here")
@pytest.mark.parametrize("hostile", [False, True])
def test_on_a_phone_the_page_does_not_scroll_sideways(
    build: Path, make_build: Make, parts: SimpleNamespace, tmp_path: Path, hostile: bool
) -> None:
    path = write_html(_hostile_build(make_build, parts, 61)) if hostile else build / "report.html"
    assert width_on_a_phone(path.read_text(encoding="utf-8"), tmp_path) == 390


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium here")
def test_on_a_screen_no_table_scrolls_sideways(build: Path, tmp_path: Path) -> None:
    """Drops and speed-ups have their intervals below them."""
    page = (build / "report.html").read_text(encoding="utf-8")
    assert " <small>[" in page and " <small>(" in page
    assert scroll_sideways(page, tmp_path, 1100) == []


def test_warnings_stand_above_the_rows_as_text(page: ElementTree.Element, make_build: Make) -> None:
    panel = next(element for element in page.iter("div") if "miss" in _classes(element))
    assert _text(panel).startswith("1 warning pruned_slower x86-ort pruned fp32 takes <b>26.00</b> ms")
    assert "Prune to a latency." in _text(panel)
    sound = _parse(make_build(warnings=()))
    assert not [element for element in sound.iter("div") if "miss" in _classes(element)]
