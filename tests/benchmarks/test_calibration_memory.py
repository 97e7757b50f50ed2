"""Memory of calibration does not grow with the number of images, for any method."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest

from benchmarks import calibration_memory
from conftest import write_convnet
from edgeprune.images.dataset import Dataset
from edgeprune.quantize import METHODS_OF
from edgeprune.quantize.ranges import METHODS

FEW, MANY = 16, 96
TENSORS_MB = 8 * 64 * 32 * 32 * 4 / 1e6  # of one image, in the network below


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_convnet(tmp_path_factory.mktemp("memory") / "convnet.onnx", width=64, depth=4)


@pytest.mark.parametrize(
    ("scheme", "method"),
    [("ort-u8s8", method) for method in METHODS] + [("nncf", method) for method in METHODS_OF["nncf"]],
)
def test_it_needs_no_more_for_many_images(network: Path, tiny: Dataset, scheme: str, method: str) -> None:
    peak = functools.partial(calibration_memory.measure, network, tiny.source, scheme, method)
    few, many = peak(FEW)["peak_mb"], peak(MANY)["peak_mb"]
    assert 0.9 < many / few < 1.1
    assert few * 1.1 < few + (MANY - FEW) * TENSORS_MB  # keeping all tensors would be seen
