"""What is read of builds and results: lines by device, subjects told apart, what cannot be read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgeprune.core.errors import ConfigError, DataError, EdgepruneError, NotComparableError
from edgeprune.records.bench_result import Flag
from edgeprune.records.facts import ScenarioFacts
from edgeprune.report.devices.entries import UNKNOWN, load_lines

Make = Callable[..., Path]


def test_each_target_of_each_build_is_a_line_with_its_own_device(make: Make) -> None:
    other = {"machine": "aarch64", "board": "Raspberry Pi 5", "cpu": "Cortex-A76", "cores": 4}
    lines = load_lines([make("a"), make("b", slower=6.0, environment=other)])
    assert [(line.number, line.source.letter, line.device) for line in lines] == [
        (1, "A", "Test CPU, 4 cores"),
        (2, "A", "Test CPU, 4 cores"),
        (3, "A", "jetson: not there"),
        (4, "B", "Raspberry Pi 5, Cortex-A76, 4 cores"),
        (5, "B", "Raspberry Pi 5, Cortex-A76, 4 cores"),
        (6, "B", "jetson: not there"),
    ]
    assert len({line.subject for line in lines}) == 1
    fastest = lines[4].of("pruned int8")
    assert fastest is not None and fastest.p50_ms == 45.0 and lines[4].shipped == "pruned int8"
    assert lines[5].of("pruned int8").p50_ms is None  # type: ignore[union-attr]
    assert lines[0].of("pruned bf16") is None


@pytest.mark.parametrize(
    "change",
    [
        {"model": {"name": "yolov8n_320", "sha256": "other weights"}},
        {"data": {"yaml": "data.yaml", "images": {"train": 255, "val": 73, "test": 37}}},
        {"data": {"yaml": "data.yaml", "names": ["a"], "images": {"train": 255, "val": 73, "test": 36}}},
        {"data": {"yaml": "elsewhere.yaml", "images": {"train": 255, "val": 73, "test": 36}}},
        {"imgsz": 640},
        {"batch": 4},
        {"selection_split": "test"},
    ],
)
def test_builds_of_other_models_data_or_inputs_are_told_apart(make: Make, change: dict[str, Any]) -> None:
    assert len({line.subject for line in load_lines([make("a"), make("b", **change)])}) == 2


def test_a_copy_of_a_build_is_no_second_one(make: Make) -> None:
    with pytest.raises(ConfigError, match=r"b: it is the same build as .*a; leave one out"):
        load_lines([make("a"), make("b")])


def test_a_result_whose_engine_a_build_holds_stands_with_that_build(
    make: Make, bench: Make, energy: Any, parts: Any
) -> None:
    base = parts.summary()
    target = base.targets["x86-ort"]
    rows = tuple(
        row.model_copy(update={"sha256": f"digest {place}"}) for place, row in enumerate(target.rows)
    )
    build = make("a", targets={"x86-ort": target.model_copy(update={"rows": rows})}, chosen=None)
    there = bench("r/x.json", "x86-ort original int8", 80.0, sha256="digest 1", energy=energy)
    bench("r/y.json", "unheard of", 90.0)
    lines = load_lines([build, there.parent])
    assert [line.subject == UNKNOWN for line in lines] == [False, False, True]
    figures = lines[1].of("original int8")
    assert figures is not None and figures.row is None and figures.milli_j == pytest.approx(12.0)
    assert lines[1].device == "Raspberry Pi 5, Cortex-A76, 4 cores, ssh://pi@board"
    assert lines[1].machine == "Raspberry Pi 5 (aarch64) at ssh://pi@board"
    assert lines[2].figures[0].variant == "unheard of" and lines[1].subject == lines[0].subject


def test_two_runs_of_one_engine_are_both_kept(bench: Make) -> None:
    first = bench("r/x.json", "tiny", 8.0)
    bench("r/y.json", "tiny", 9.0)
    (line,) = load_lines([first.parent])
    assert [one.variant for one in line.figures] == ["tiny", "tiny again"]


def test_another_scenario_is_a_line_of_its_own_and_unfit_runs_are_marked(bench: Make) -> None:
    bench("r/x.json", "tiny", 8.0)
    flag = Flag(code="throttled", severity="invalid", evidence="it was hot")
    path = bench(
        "r/y.json", "tiny", 9.0, scenario=ScenarioFacts(name="throughput", in_flight=2), flags=(flag,)
    )
    first, second = load_lines([path.parent])
    assert (first.runs, second.runs) == (
        "onnxruntime 1.32.0",
        "onnxruntime 1.32.0, throughput, 2 in flight",
    )
    assert second.figures[0].evidence == ("throttled: it was hot",)
    assert (first.figures[0].unfit, second.figures[0].unfit) == ("", "throttled")


@pytest.mark.parametrize(
    ("lay", "error", "says"),
    [
        (lambda folder: [folder / "gone"], NotComparableError, "gone: neither a finished build nor a result"),
        (lambda folder: [folder], NotComparableError, ": neither a finished build nor a result of bench"),
        (lambda folder: [_put(folder / "x.json", "{")], DataError, "x.json: "),
        (lambda folder: [_put(folder / "x.json", "{}")], DataError, "x.json: not a result of bench"),
        (lambda folder: [_put(folder / "summary.json", "{}").parent], NotComparableError, "summary.json: "),
        (lambda folder: [folder, folder / ".." / folder.name], ConfigError, ": it is given twice, also as "),
    ],
)
def test_what_cannot_be_read_is_one_line(
    tmp_path: Path, lay: Callable[[Path], list[Path]], error: type[EdgepruneError], says: str
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    with pytest.raises(error) as caught:
        load_lines(lay(folder))
    assert says in str(caught.value) and "\n" not in str(caught.value)


def _put(path: Path, text: str) -> Path:
    path.write_text(text)
    return path
