"""Any kind of model is judged and taught from pictures alone, and says what needs labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from edgeprune.adapters.ultralytics import classify
from edgeprune.adapters.unlabelled import Unlabelled, wrap
from edgeprune.config.recipe import Recipe
from edgeprune.config.targets import resolve_targets
from edgeprune.images.dataset import Dataset
from edgeprune.images.spec import spec_of
from edgeprune.models.source import ModelSource, choose_adapter
from edgeprune.records.summary import load_summary
from made_onnx import Cells, exported

ORT = next(profile.name for profile in resolve_targets(("cpu",)) if profile.backend == "onnxruntime")


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Return a folder of pictures that show nothing."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(20):
        noise = np.random.default_rng(number).integers(90, 110, (32, 32, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / f"{number}.png"), noise)
    return folder


def asked(model: Path, data: Path, out: Path) -> tuple[Any, ...]:
    return ("build", "--model", model, "--data", data, "--out", out, "--target", ORT, "--no-labels")


def test_no_labels_leads_to_the_adapter_that_reads_none(
    classifiers: dict[str, Path], digits: Dataset, pictures: Path
) -> None:
    source = ModelSource(classifiers["yolov8n-cls"])
    recipe = Recipe().model_copy(update={"finetune": Recipe().finetune.model_copy(update={"labels": False})})
    adapter = choose_adapter(source, recipe)
    assert isinstance(adapter, Unlabelled) and wrap(adapter, source, recipe) is adapter
    model = adapter.load(source.file)
    told = adapter.info(model)
    assert (told.metric, classify.info(model).metric) == ("top-1 agreement", "top-1")
    assert adapter.parts()["judged_by"]
    found = adapter.dataset(pictures, told)
    assert found.is_unlabelled and sum(len(images) for images in found.images.values()) == 20


def test_criteria_of_gradients_need_no_labels(classifiers: dict[str, Path], pictures: Path) -> None:
    adapter = Unlabelled(classify, classifiers["yolov8n-cls"])
    model = adapter.prunable(adapter.load(adapter.original))
    found = adapter.dataset(pictures, adapter.info(model))
    for batch in adapter.labelled_images(found, adapter.preprocess(32), 2, 0):
        adapter.loss(model, batch).backward()
    first = next(layer for layer in model.modules() if isinstance(layer, torch.nn.Conv2d))
    assert first.weight.grad is not None and first.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("key", ["sparse.epochs", "quantize.aware_epochs"])
def test_what_needs_labels_is_said_in_a_line(
    run: Any, classifiers: dict[str, Path], pictures: Path, tmp_path: Path, key: str
) -> None:
    options = ("--criterion", "slim", "--set", f"{key}=1", "--imgsz", "32", "--epochs", "0")
    ended = run(*asked(classifiers["yolov8n-cls"], pictures, tmp_path / "out"), *options)
    assert ended.code == 3
    assert ended.error.startswith(f"edgeprune: {key}: ")
    assert ended.error.endswith("needs labels, which are not read here; leave it out")
    assert not list((tmp_path / "out" / "stages").glob("*-*"))  # before anything was made


def test_an_original_that_finds_nothing_is_told(
    run: Any, checkpoints: dict[str, Path], pictures: Path, tmp_path: Path
) -> None:
    ended = run(*asked(checkpoints["yolov8n"], pictures, tmp_path / "out"))
    assert ended.code == 3
    assert "the original itself finds nothing with a confidence of 0.25 in these 3 pictures" in ended.error


def test_a_bare_onnx_file_builds_from_pictures_alone(run: Any, digits: Dataset, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model, out = exported(Cells(4), tmp_path / "cells.onnx"), tmp_path / "out"
    ended = run(
        *(
            "build",
            "--model",
            model,
            "--data",
            digits.source,
            "--out",
            out,
            "--target",
            ORT,
            "--ratio",
            "0.3",
        ),
        *("--epochs", "1", "--bench", "quick", "--max-drop", "1", "--set", "quantize.images=4"),
        *("--set", "input.colour=BGR", "--set", "input.scale=0.00392157", "--set", "input.resize=crop"),
    )
    assert ended.code == 0, (ended.errors, ended.exception)
    summary = load_summary(out)
    assert (summary.metric, summary.imgsz) == ("top-1 agreement", (24, 32))
    rows = {(row.variant, row.precision): row for row in summary.rows()}
    assert set(rows) == {(each, how) for each in ("original", "pruned") for how in ("fp32", "int8")}
    whole = rows["original", "fp32"].val
    assert whole and whole.score == 1 and whole.others["output agreement"] > 0.999
    pruned = [target.pruning for target in summary.targets.values()]
    assert all(found and found.params_after < found.params_before for found in pruned)
    assert spec_of(out / "best").preprocess.colour == "BGR"
