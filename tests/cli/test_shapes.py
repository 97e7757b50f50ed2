"""An input that is no square, from one build: every stage and every runtime takes its height and width."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from edgeprune.backends import get_backend, options_for
from edgeprune.config.targets import resolve_targets
from edgeprune.images.dataset import Dataset
from edgeprune.images.preprocess import load_input
from edgeprune.images.spec import spec_of
from edgeprune.models import get_adapter
from edgeprune.models.predictor import predictor
from edgeprune.records.bench_result import load_result
from edgeprune.records.summary import Summary, load_summary
from made_quick import fast_biases

SIZE = (64, 96)
HOST = resolve_targets(("cpu",))


@pytest.fixture(scope="module")
def wide(
    run: Any, checkpoints: dict[str, Path], tiny: Dataset, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A pruned build of a tiny yolov8n at 64x96, for both runtimes of this CPU."""
    out = tmp_path_factory.mktemp("wide") / "out"
    with fast_biases():
        ended = run(
            "build", "--model", checkpoints["yolov8n"], "--data", tiny.source, "--out", out,
            "--target", "cpu", "--imgsz", "64x96", "--ratio", "0.5", "--epochs", "1",
            "--bench", "quick", "--max-drop", "1",
            "--set", "quantize.images=4", "--set", "finetune.batch=6", "--set", "prune.activation=keep",
        )  # fmt: skip
    assert ended.code == 0, (ended.errors, ended.exception)
    return out


@pytest.fixture(scope="module")
def summary(wide: Path) -> Summary:
    return load_summary(wide)


def test_every_row_is_measured_on_inputs_of_that_shape(wide: Path, summary: Summary) -> None:
    assert summary.imgsz == SIZE
    for row in summary.rows():
        assert row.imgsz == SIZE and row.bench and row.score is not None
        result = load_result(wide / row.bench)
        assert result.scenario.inputs and result.scenario.inputs.shape == (1, 3, *SIZE)
        assert all(block.output_ok for block in result.blocks)


def test_what_is_taken_away_tells_height_and_width(wide: Path) -> None:
    assert spec_of(wide / "best").preprocess.imgsz == SIZE
    (found, *_) = (wide / "stages").glob("onnx-*/model.onnx")
    shape = onnx.load(found).graph.input[0].type.tensor_type.shape
    assert [side.dim_value for side in shape.dim] == [1, 3, *SIZE]


@pytest.mark.parametrize("profile", HOST, ids=lambda profile: profile.name)
def test_a_runtime_computes_what_torch_does_there(
    wide: Path, summary: Summary, profile: Any, checkpoints: dict[str, Path], tiny: Dataset
) -> None:
    (row,) = (
        row
        for row in summary.targets[profile.name].rows
        if (row.variant, row.precision) == ("original", "fp32")
    )
    adapter = get_adapter("ultralytics")
    torch = predictor(adapter.exportable(adapter.load(checkpoints["yolov8n"])))
    session = get_backend(profile.backend).load(wide / row.artifact, "fp32", 1, options_for(profile, "fp32"))
    tensor, _ = load_input(tiny.images["val"][0], spec_of(wide / "best").preprocess)
    np.testing.assert_allclose(session(tensor)[0], torch(tensor)[0], atol=2e-2)


def test_its_layers_are_explained(run: Any, wide: Path) -> None:
    ended = run("explain", wide, "--json")
    assert ended.code == 0, ended.errors
    assert '"side": 8' in ended.stdout.replace('"side":8', '"side": 8')
