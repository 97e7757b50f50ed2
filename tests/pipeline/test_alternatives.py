"""`build --compare`: the alternatives are built at their own size, measured beside the rows, never chosen."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conftest import build_detector
from edgeprune.adapters.ultralytics import detect as adapter
from edgeprune.config.recipe import BudgetRecipe, load_recipe
from edgeprune.config.targets import resolve_targets
from edgeprune.core.errors import ConfigError
from edgeprune.images.dataset import Dataset
from edgeprune.models.source import ModelSource
from edgeprune.pipeline.alternatives import MOST_SIZES, sizes_near
from edgeprune.pipeline.build import build
from edgeprune.pipeline.context import BuildRequest
from edgeprune.pipeline.verdict import choose, comparison, nearest_miss, refuse, target_verdict
from edgeprune.records.scores import Accuracy
from edgeprune.records.summary import Row, Summary, load_summary
from edgeprune.report.html import write_html
from edgeprune.report.markdown import write_markdown
from made_effort import quickly

ORT = next(profile for profile in resolve_targets(("cpu",)) if profile.backend == "onnxruntime")


@pytest.fixture(scope="module")
def smaller(one_thread: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a checkpoint of another family that was trained at 96 px, not at the build's 64."""
    model = build_detector("yolov5n")
    model.args["imgsz"] = 96
    path = tmp_path_factory.mktemp("smaller") / "smaller.pt"
    adapter.save(model, path)
    return path


def request(model: Path, data: Path, out: Path, smaller: Path | None, *assignments: str) -> BuildRequest:
    recipe = load_recipe(
        None,
        (
            *("quantize.images=4", "budget.max_drop=1", "prune.criterion=l1", "prune.ratio=0.5"),
            *("finetune.epochs=0", "bench.compare=true", *assignments),
        ),
        imgsz=64,
    )
    return BuildRequest(
        ModelSource(model), data, (ORT,), recipe, out, "edgeprune build --compare", smaller=smaller
    )


@pytest.fixture(scope="module")
def compared(
    checkpoints: dict[str, Path], tiny: Dataset, smaller: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Summary]:
    """Return a real build with both kinds of alternatives, and its folder."""
    out = tmp_path_factory.mktemp("compared") / "out"
    wanted = request(checkpoints["yolov8n"], tiny.source, out, smaller)
    return out, build(wanted, lambda stage, share, text: None, quickly())


def test_every_alternative_is_built_at_its_own_size_and_measured(compared: tuple[Path, Summary]) -> None:
    out, summary = compared
    rows = summary.targets[ORT.name].rows
    resized = [row for row in rows if row.variant == "resized"]
    (small,) = (row for row in rows if row.variant == "smaller")
    assert [(row.name, row.imgsz) for row in resized] == [("original 32 px", 32)]
    assert (small.name, small.imgsz) == ("smaller 96 px", 96)
    assert {row.imgsz for row in rows if row.variant in ("original", "pruned")} == {64}
    for row in (*resized, small):
        assert row.precision == "int8" and (row.quantized_ops or 0) > 0
        assert row.p50_ms and row.peak_mb and row.bench and row.val and row.score is not None
        shape = onnx.load(out / row.artifact).graph.input[0].type.tensor_type.shape
        assert [side.dim_value for side in shape.dim] == [1, 3, row.imgsz, row.imgsz]
        result = json.loads((out / row.bench).read_text())
        assert result["artifact"]["sha256"] == row.sha256
        # The worker was fed images of this size: its outputs are those of the evaluation.
        assert all(block["output_ok"] for block in result["blocks"])
    assert len({row.sha256 for row in rows}) == len(rows)


def test_all_rows_are_of_one_run(compared: tuple[Path, Summary]) -> None:
    out, summary = compared
    runs = {json.loads((out / row.bench).read_text())["run_id"] for row in summary.rows() if row.bench}
    assert len(runs) == 1


def test_the_choice_is_not_an_alternative_and_the_answer_is_told(compared: tuple[Path, Summary]) -> None:
    _, summary = compared
    target = summary.targets[ORT.name]
    assert summary.chosen and summary.chosen.variant in ("original", "pruned")
    assert target.comparison and target.comparison.startswith("Is pruning worth it? ")


def test_each_export_was_checked_at_its_own_size(compared: tuple[Path, Summary]) -> None:
    _, summary = compared
    expected = {row.name for row in summary.rows()}
    assert {check.name for check in summary.exports} == expected
    assert len(summary.exports) == len(expected)


def test_the_reports_show_the_alternatives_and_the_answer(compared: tuple[Path, Summary]) -> None:
    out, summary = compared
    assert load_summary(out) == summary
    page = write_html(out).read_text()
    text = write_markdown(out).read_text().replace("\\", "")
    answer = summary.targets[ORT.name].comparison
    for shown in (page, text):
        assert answer and answer in shown
        assert "smaller 96 px" in shown
    plot = page[page.index('aria-label="Scatter') :]
    plot = plot[: plot.index("</svg>")]
    assert "smaller 96 px" in plot and "original 32 px" in plot
    assert "instead of pruning" in page


def test_a_smaller_model_of_other_classes_is_named_before_anything_is_built(
    checkpoints: dict[str, Path], tiny: Dataset, tmp_path: Path
) -> None:
    model = build_detector("yolov8n")
    model.names = {0: "dog", 1: "bee", 2: "cat"}
    adapter.save(model, tmp_path / "other.pt")
    wanted = request(checkpoints["yolov8n"], tiny.source, tmp_path / "out", tmp_path / "other.pt")
    with pytest.raises(ConfigError, match=r"--smaller .*other\.pt: .*dog, bee, cat.*ant, bee, cat"):
        build(wanted, lambda stage, share, text: None)
    assert not list((tmp_path / "out" / "stages").glob("onnx-*"))


def test_without_pruning_there_is_nothing_to_compare(
    checkpoints: dict[str, Path], tiny: Dataset, tmp_path: Path
) -> None:
    wanted = request(checkpoints["yolov8n"], tiny.source, tmp_path / "out", None, "prune.enabled=false")
    with pytest.raises(ConfigError, match=r"bench\.compare: pruning is off"):
        build(wanted, lambda stage, share, text: None)


@given(st.integers(1, 40), st.sampled_from([32, 64]), st.floats(0.001, 2))
def test_the_sizes_surround_the_one_that_takes_that_share(steps: int, stride: int, share: float) -> None:
    imgsz = steps * stride
    sizes = sizes_near(imgsz, stride, share)
    assert bool(sizes) == (steps > 1) and len(sizes) <= MOST_SIZES
    assert all(size % stride == 0 and 0 < size < imgsz for size in sizes)
    assert list(sizes) == list(range(sizes[0], sizes[-1] - 1, -stride)) if sizes else True
    wanted = imgsz * np.sqrt(share)
    if sizes and stride < wanted:  # one below by the estimate, unless the smallest is there already
        assert sizes[-1] <= max(stride, wanted - 1e-6)


def test_of_an_input_that_is_no_square_both_sides_shrink() -> None:
    assert sizes_near((96, 160), 32, 0.45) == ((64, 96), (32, 64))
    assert sizes_near((96, 160), 32, 1.0) == ((64, 96),)


def row(variant: Any, precision: str, p50: float | None, rated: float, **changes: Any) -> Row:
    facts: dict[str, Any] = {
        "target": "x86-ort", "variant": variant, "precision": precision, "runtime": "onnxruntime",
        "imgsz": 320, "p50_ms": p50, "size_mb": 5.0, "metric": "mAP50-95", "artifact": "stages/x",
        "sha256": "0",
        "val": Accuracy(metric="mAP50-95", split="val", images=9, score=rated, drop=0.6 - rated),
    }  # fmt: skip
    return Row(**facts | changes)


PLAIN = [row("original", "fp32", 20, 0.6), row("original", "int8", 10, 0.59)]
PRUNED = row("pruned", "int8", 6, 0.58)
AT_256 = row("resized", "int8", 7, 0.57, imgsz=256)
AT_224 = row("resized", "int8", 5.8, 0.55, imgsz=224)


def test_pruning_is_worth_it_when_it_is_more_accurate_than_what_is_as_fast() -> None:
    assert comparison([*PLAIN, PRUNED, AT_256, AT_224]) == (
        "Is pruning worth it? Yes: pruned int8 (6.00 ms, mAP50-95 0.5800 on val) is more accurate than the "
        "best alternative as fast, original 224 px int8 (5.80 ms, mAP50-95 0.5500 on val)."
    )


def test_the_most_accurate_of_those_that_are_as_fast_decides() -> None:
    small = row("smaller", "int8", 6.1, 0.585, imgsz=320)  # within the noise of a run
    assert comparison([*PLAIN, PRUNED, AT_224, small]) == (
        "Is pruning worth it? No: smaller 320 px int8 (6.10 ms, mAP50-95 0.5850 on val) is as fast as and no "
        "less accurate than pruned int8 (6.00 ms, mAP50-95 0.5800 on val)."
    )


def test_int8_alone_is_an_alternative_too() -> None:
    text = comparison([PLAIN[0], row("original", "int8", 5, 0.59), PRUNED, AT_224])
    assert text.startswith("Is pruning worth it? No: original int8 (5.00 ms")


def test_what_is_slower_does_not_count() -> None:
    assert comparison([*PLAIN, PRUNED, AT_256]) == (
        "Is pruning worth it? Yes: nothing else is as fast as pruned int8 (6.00 ms, mAP50-95 0.5800 on val); "
        "nearest is original 256 px int8 (7.00 ms, mAP50-95 0.5700 on val)."
    )


def test_a_false_run_is_no_rival_and_a_refused_row_does_not_stand_for_pruning() -> None:
    false = row("resized", "int8", 5, 0.6, imgsz=256, flags=("output_mismatch",))
    assert comparison([*PLAIN, PRUNED, false, AT_224]) == comparison([*PLAIN, PRUNED, AT_224])
    refused = PRUNED.model_copy(update={"refused": ("too inaccurate",)})
    assert comparison([*PLAIN, refused, AT_224]) == "Is pruning worth it? No: every pruned row is refused."
    absent = [entry.model_copy(update={"p50_ms": None}) for entry in (*PLAIN, PRUNED)]
    assert comparison(absent) == "Is pruning worth it? Nothing was measured: the device was not there."


def test_an_alternative_is_judged_but_changes_neither_the_choice_nor_the_verdict() -> None:
    budget = BudgetRecipe(max_drop=0.03)
    fastest = row("smaller", "int8", 1, 0.6)
    without = refuse([*PLAIN, PRUNED], budget)
    with_them = refuse([*PLAIN, PRUNED, AT_224, fastest], budget)
    assert choose(with_them) == choose(without)
    assert target_verdict(with_them) == target_verdict(without)
    assert with_them[3].refused and not with_them[4].refused
    strict = BudgetRecipe(max_drop=1, max_latency_ms=4)
    near = row("smaller", "int8", 4.01, 0.6)
    assert nearest_miss([PRUNED, near], strict) == nearest_miss([PRUNED], strict)
