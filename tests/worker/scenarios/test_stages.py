"""The stages around a network: those that this machine has are timed, the others are None."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeprune.bench.jobs import write_image, write_inputs
from edgeprune.images.postprocess import detector
from edgeprune.images.preprocess import CENTRE_CROP, Preprocess
from edgeprune.worker.scenarios.stages import stages_ms


class Detector:
    """A session of two classes and four anchors."""

    def __init__(self, batch: int = 1) -> None:
        self.batch = batch

    def __call__(self, images: Any) -> list[Any]:
        assert images.shape == (self.batch, 3, 32, 32) and images.dtype == np.float32
        return [np.full((self.batch, 6, 4), 0.5, np.float32)]


class OnAGpu(Detector):
    def stages_ms(self, images: Any) -> dict[str, float]:
        return {"h2d": 0.5, "compute": 7.0, "d2h": 0.25}


@pytest.fixture
def job(random_images: np.ndarray, tmp_path: Path) -> dict[str, Any]:
    image = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    return {
        "batch": 1,
        "image": str(write_image(image, tmp_path / "image.npy")),
        "inputs": str(write_inputs(random_images, tmp_path / "inputs.npy")),
        "preprocess": Preprocess(32).told(),
        "postprocess": detector(("a", "b"), end2end=False).told(),
    }


def test_a_cpu_has_no_copies_to_time(job: dict[str, Any]) -> None:
    found = stages_ms(job, Detector())  # type: ignore[arg-type]
    assert (found["h2d"], found["d2h"]) == (None, None)
    assert all(found[stage] > 0 for stage in ("pre", "compute", "post"))  # type: ignore[operator]


def test_a_batch_is_timed_as_a_whole(job: dict[str, Any]) -> None:
    found = stages_ms(job | {"batch": 3}, Detector(3))  # type: ignore[arg-type]
    assert all(found[stage] > 0 for stage in ("pre", "compute", "post"))  # type: ignore[operator]


def test_a_device_tells_its_own_copies_and_compute(job: dict[str, Any]) -> None:
    found = stages_ms(job, OnAGpu())  # type: ignore[arg-type]
    assert [found[stage] for stage in ("h2d", "compute", "d2h")] == [0.5, 7.0, 0.25]


def test_what_the_device_lacks_is_none_and_never_invented(
    job: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    found = stages_ms(job | {"postprocess": None}, Detector())  # type: ignore[arg-type]
    assert (found["pre"], found["post"]) == (None, None)
    assert found["compute"] is not None


def test_a_classifier_is_prepared_as_its_document_says(job: dict[str, Any]) -> None:
    """A crop that a document leaves out is the whole side, one that it names is taken."""
    for crop in (1.0, 0.875):
        spec = Preprocess(
            32, pad=None, resize=CENTRE_CROP, mean=(0.4, 0.5, 0.6), std=(0.2, 0.2, 0.2), crop=crop
        )
        found = stages_ms(job | {"preprocess": spec.told()}, Detector())  # type: ignore[arg-type]
        assert found["pre"] is not None and found["pre"] > 0
