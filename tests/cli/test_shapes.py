"""A batch of an input that is no square: one build whose stages and runtimes all take two images of 64x96."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import yaml

from conftest import build_detector
from edgeprune.adapters.ultralytics import detect as adapter
from edgeprune.backends import get_backend, options_for
from edgeprune.config.targets import resolve_targets
from edgeprune.images.dataset import Dataset
from edgeprune.images.preprocess import load_input
from edgeprune.images.spec import spec_of
from edgeprune.models.predictor import predictor
from edgeprune.records.bench_result import load_result
from edgeprune.records.summary import Summary, load_summary
from made_quick import fast_biases

SIZE, BATCH = (64, 96), 2
HOST = {profile.backend: profile for profile in resolve_targets(("cpu",))}


@pytest.fixture(scope="module")
def model(one_thread: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("narrow") / "narrow.pt"
    adapter.save(build_detector("yolov8n", width=0.0625), path)
    return path


@pytest.fixture(scope="module")
def pairs(run: Any, model: Path, tiny: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A build of a narrow detector for two images of 64x96 at once, for both runtimes of this CPU."""
    out = tmp_path_factory.mktemp("pairs") / "out"
    targets: list[object] = []
    for backend, profile in HOST.items():
        path = out.parent / f"{backend}.yaml"
        few = {"precisions": ["fp32", "int8"], "environments": {}}
        path.write_text(yaml.safe_dump(profile.model_dump(mode="json", exclude={"name"}) | few))
        targets += ["--target", path]
    with fast_biases():
        ended = run(
            "build", "--model", model, "--data", tiny.source, "--out", out, *targets, "--no-prune",
            "--imgsz", "64x96", "--batch", BATCH, "--bench", "quick", "--max-drop", "1",
            "--set", "quantize.images=3",
        )  # fmt: skip
    assert ended.code == 0, (ended.errors, ended.exception)
    assert f"latencies are of a batch of {BATCH} images, FPS counts images" in ended.stdout
    return out


@pytest.fixture(scope="module")
def summary(pairs: Path) -> Summary:
    return load_summary(pairs)


def test_every_row_is_measured_on_inputs_of_that_shape_and_counts_images(
    pairs: Path, summary: Summary
) -> None:
    assert (summary.imgsz, summary.batch) == (SIZE, BATCH)
    for row in summary.rows():
        assert row.imgsz == SIZE and row.bench and row.score is not None and row.fps
        result = load_result(pairs / row.bench)
        assert result.scenario.batch == BATCH
        assert result.scenario.inputs and result.scenario.inputs.shape == (BATCH, 3, *SIZE)
        assert all(block.output_ok for block in result.blocks)
        (block,) = result.blocks
        assert row.fps == pytest.approx(BATCH * len(block.samples_ns) / (block.elapsed_ns / 1e9))


def test_what_is_taken_away_tells_its_shape(pairs: Path) -> None:
    spec = spec_of(pairs / "best").preprocess
    assert (spec.imgsz, spec.batch) == (SIZE, BATCH)
    (found, *_) = (pairs / "stages").glob("onnx-*/model.onnx")
    loaded = onnx.load(found)
    shape = loaded.graph.input[0].type.tensor_type.shape
    assert [side.dim_value for side in shape.dim] == [BATCH, 3, *SIZE]
    assert {entry.key: entry.value for entry in loaded.metadata_props}["batch"] == str(BATCH)
    assert "image" in (pairs / "report.md").read_text()


@pytest.mark.parametrize("backend", HOST)
def test_a_batch_gives_what_torch_gives_one_by_one(
    pairs: Path, summary: Summary, backend: str, model: Path, tiny: Dataset
) -> None:
    rows = {(row.variant, row.precision): row for row in summary.targets[backend].rows}
    engine = pairs / rows["original", "fp32"].artifact
    torch = predictor(adapter.exportable(adapter.load(model)))
    session = get_backend(backend).load(engine, "fp32", 1, options_for(HOST[backend], "fp32"))
    spec = spec_of(pairs / "best").preprocess
    tensors = [load_input(image, spec)[0] for image in tiny.images["val"][:BATCH]]
    found = session(np.concatenate(tensors))[0]
    assert len(found) == BATCH
    for row, tensor in enumerate(tensors):
        np.testing.assert_allclose(found[row], torch(tensor)[0][0], atol=2e-2)


def test_its_layers_are_explained(run: Any, pairs: Path) -> None:
    ended = run("explain", pairs, "--json")
    assert ended.code == 0, ended.errors
    assert {layer["cost"]["side"] for layer in json.loads(ended.stdout)["engine"]["layers"]} & {
        32,
        16,
        8,
        4,
        2,
    }


def test_bench_tells_a_batch_and_an_image(run: Any, pairs: Path, summary: Summary, tmp_path: Path) -> None:
    assert summary.chosen
    ended = run("bench", pairs, "--target", summary.chosen.target, "--seconds", "0.1", "--out", tmp_path)
    assert ended.code == 0, ended.errors
    assert "batch" in ended.stdout and "ms/image" in ended.stdout
    assert f"a batch of {BATCH} images: pre" in ended.stdout
    for file in tmp_path.glob("*.json"):
        assert load_result(file).scenario.batch == BATCH


def test_a_camera_gives_no_batches(run: Any, pairs: Path) -> None:
    ended = run("bench", pairs / "best", "--scenario", "paced")
    assert ended.code == 3
    assert f"it takes {BATCH} images at once, but a camera's frames come one by one" in ended.error
