"""Masks, keypoints and rotated boxes on the CPU runtimes of this machine, and as files for TensorRT."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from edgeprune.backends import get_backend, options_for, rtx
from edgeprune.config.recipe import ExportRecipe
from edgeprune.config.targets import resolve_targets
from edgeprune.export.onnx import export
from edgeprune.images.dataset import load_dataset
from edgeprune.images.heads import HEADS
from edgeprune.images.preprocess import load_input
from edgeprune.models import adapter_of
from edgeprune.quantize.half import to_fp16
from made_tasks import IMGSZ, TASKS

Taught = Callable[[str], Path]


@pytest.mark.parametrize("task", TASKS)
def test_runtimes_agree_on_a_task_and_tensorrt_builds_it(taught: Taught, task: str, tmp_path: Path) -> None:
    folder = taught(task)
    adapter = adapter_of(folder / "model.pt")
    model = adapter.load(folder / "model.pt")
    info, spec = adapter.info(model), adapter.preprocess(IMGSZ)
    images = load_dataset(folder / "data.yaml", info.names).images["val"][:2]
    made, check = export(
        adapter.exportable(model), info, spec, images, ExportRecipe(), "original", tmp_path / "model.onnx"
    )
    assert check.score < 1e-4
    inputs, _ = load_input(images[0], spec)
    expected = get_backend("onnxruntime").load(made.path, "fp32", 1, {})(inputs)
    for profile in resolve_targets(("cpu",)):
        (place := tmp_path / profile.name).mkdir()
        backend, options = get_backend(profile.backend), options_for(profile, "fp32")
        engine = backend.compile(made, "fp32", options, place)
        found = backend.load(engine.path, "fp32", 1, options)(inputs)
        difference = HEADS[info.postprocess.head].difference(expected, found, info.postprocess)
        assert difference.score < 1e-3, profile.name
        assert (difference.box_px or 0) < 0.1, profile.name
    if rtx.version() is not None:
        (tmp_path / "fp16").mkdir()
        proof = rtx.prove(to_fp16(made, tmp_path / "fp16").path, tmp_path / "rtx.log")
        assert {"SM86", "SM89"} <= set(proof.capabilities)
