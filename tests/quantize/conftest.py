"""A tiny detector in every Q/DQ scheme, for the tests of this folder."""

from __future__ import annotations

import pytest

from edgeprune.adapters.ultralytics import detect as adapter
from edgeprune.core.artifact import Artifact
from edgeprune.images.dataset import Dataset
from edgeprune.images.preprocess import Preprocess
from edgeprune.quantize import CalibrationSet, quantize
from edgeprune.quantize.schemes import QDQ_SCHEMES
from edgeprune.records.summary import ExportCheck


@pytest.fixture(scope="session")
def calibration(tiny: Dataset) -> CalibrationSet:
    return CalibrationSet(tiny.sample("train", 3, seed=0), Preprocess(64))


@pytest.fixture(scope="session")
def quantized(
    float_models: dict[str, tuple[Artifact, ExportCheck]],
    calibration: CalibrationSet,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Artifact]:
    """Return yolov8n in every Q/DQ scheme."""
    folder = tmp_path_factory.mktemp("int8")
    for scheme in QDQ_SCHEMES:
        (folder / scheme).mkdir()
    return {
        scheme: quantize(float_models["yolov8n"][0], scheme, calibration, adapter, folder / scheme)
        for scheme in QDQ_SCHEMES
    }
