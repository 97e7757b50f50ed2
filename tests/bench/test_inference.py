"""An engine on a device behind a real ssh server, asked for the images of a data set."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgeprune.backends import get_backend
from edgeprune.bench import inference
from edgeprune.bench.inference import DeviceEngine
from edgeprune.bench.jobs import build_job
from edgeprune.config.targets import resolve_targets
from edgeprune.core.artifact import Artifact
from edgeprune.images.answers import answers
from edgeprune.images.dataset import Dataset
from edgeprune.images.preprocess import Preprocess, load_input
from edgeprune.runners import Runner
from edgeprune.runners.ssh import SshRunner
from sshd import Device

SPEC = Preprocess(32)


def engine_on(runner: Runner, model: Path, precision: str = "fp32") -> DeviceEngine:
    (profile,) = resolve_targets(("x86-ort",))
    engine = Artifact.of(model, "engine", precision)
    return DeviceEngine(build_job("it", engine, profile, threads=1, inputs=model), runner, SPEC)


def test_images_go_there_once_and_its_outputs_are_those_of_this_machine(
    device: Device, convnet: Path, convnet_int8: Path, digits: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inference, "PART_BYTES", 8 * 3 * 32 * 32)
    images, shares, files = digits.images["train"], [], []
    with SshRunner(device.address()) as runner:
        for model, precision in ((convnet, "fp32"), (convnet_int8, "int8")):
            here = get_backend("onnxruntime").load(model, precision, 1, {})
            there = engine_on(runner, model, precision)
            there.say = shares.append
            there.expect(images)
            for tensor, _, got in answers(there, images, SPEC):
                np.testing.assert_allclose(got[0], here(tensor)[0], rtol=1e-5, atol=1e-5)
            assert there.answer and there.answer.version == get_backend("onnxruntime").version()
            files.append(set((device.cache / "files").iterdir()))
    assert max(shares) == 1.0 and shares.index(1.0) > 1
    sizes = sorted(file.stat().st_size for file in files[1] - files[0])
    canvases = 24 * 3 * 32 * 32
    assert sum(sizes[:-1]) < canvases / 2, "an engine and jobs are new there, the images are not"


def test_what_was_not_expected_is_asked_for_by_itself(device: Device, convnet: Path, digits: Dataset) -> None:
    images = digits.images["val"]
    here = get_backend("onnxruntime").load(convnet, "fp32", 1, {})
    with SshRunner(device.address()) as runner:
        there = engine_on(runner, convnet)
        there.expect(images[:2])
        for image in reversed(images[:3]):
            tensor = load_input(image, SPEC)[0]
            np.testing.assert_allclose(there(tensor)[0], here(tensor)[0], rtol=1e-5, atol=1e-5)
        both = np.concatenate([load_input(image, SPEC)[0] for image in images[3:5]])
        assert there(both)[0].shape == (2, 16, 32, 32)
