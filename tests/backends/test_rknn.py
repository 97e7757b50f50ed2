"""Rockchip's NPU: what its converter is given, and the real converter and simulator where they are installed.

The environment is Rockchip's, under its own licence: it is used where it is installed. A test makes it only
with EDGEPRUNE_TEST_RKNN=1, which consents to that.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from edgeprune.adapters.ultralytics import detect as adapter
from edgeprune.backends import require_runtimes, rknn
from edgeprune.config.targets import load_profile, resolve_targets
from edgeprune.converters.environments import install, is_installed, python_of
from edgeprune.core.artifact import Artifact
from edgeprune.core.errors import CompileError, ConfigError, RuntimeMissingError
from edgeprune.images.dataset import Dataset
from edgeprune.images.preprocess import Preprocess, load_input
from edgeprune.quantize import CalibrationSet, quantize
from edgeprune.quantize.rknn_hybrid import pixel_scale, to_pixels
from edgeprune.records.summary import ExportCheck

KEPT = "/model.4/cv2/conv/Conv"
CONSENT = os.environ.get("EDGEPRUNE_TEST_RKNN") == "1"


@pytest.fixture(scope="module")
def source(
    float_models: dict[str, tuple[Artifact, ExportCheck]],
    tiny: Dataset,
    tmp_path_factory: pytest.TempPathFactory,
) -> Artifact:
    """Return what the converter is given of yolov8n, one layer of it kept by the guard."""
    calibration = CalibrationSet(tiny.sample("train", 3, seed=0), Preprocess(64))
    folder = tmp_path_factory.mktemp("rknn")
    return quantize(float_models["yolov8n"][0], "rknn-s8", calibration, adapter, folder, keep=[KEPT])


def test_the_graph_is_cut_at_the_head_and_its_decode_is_ours(
    source: Artifact, float_models: dict[str, tuple[Artifact, ExportCheck]]
) -> None:
    body, tail = (
        onnxruntime.InferenceSession(source.path / f"{part}.onnx", providers=["CPUExecutionProvider"])
        for part in ("body", "tail")
    )
    names = [value.name for value in body.get_outputs()]
    assert len(names) == 6 and all(re.search(r"cv[23]\.\d\.2/Conv_output", name) for name in names)
    image = np.random.default_rng(0).random((1, 3, 64, 64), dtype=np.float32)
    whole = onnxruntime.InferenceSession(
        float_models["yolov8n"][0].path, providers=["CPUExecutionProvider"]
    ).run(None, {"images": image})
    between = dict(zip(names, body.run(names, {"images": image}), strict=True))
    np.testing.assert_allclose(tail.run(None, between)[0], whole[0], rtol=1e-4, atol=1e-4)
    settings = json.loads((source.path / "settings.json").read_text())
    assert settings["floats"] == [f"{KEPT}_output_0"]
    assert len(list((source.path / "images").iterdir())) == 3


@pytest.mark.parametrize(
    "spec",
    [Preprocess(64), Preprocess(64, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))],
    ids=["scale", "mean and deviation"],
)
def test_an_input_goes_back_to_the_pixels_that_it_was_made_from(spec: Preprocess, tiny: Dataset) -> None:
    tensor, _ = load_input(tiny.images["val"][0], spec)
    pixels = to_pixels(tensor, spec)
    mean, std = (np.float32(values) for values in pixel_scale(spec))
    again = ((pixels.astype(np.float32) - mean) / std).transpose(0, 3, 1, 2)
    assert (pixels.dtype, pixels.shape) == (np.uint8, (1, 64, 64, 3))
    np.testing.assert_allclose(again, tensor, atol=1e-5)


@pytest.mark.parametrize("target", ["rk3588", "rk3576", "rk3566"])
def test_without_the_environment_a_build_says_how_to_ask_for_it(
    target: str, source: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEPRUNE_CACHE", str(tmp_path))
    (profile,) = resolve_targets((target,))
    with pytest.raises(RuntimeMissingError, match=rf"{target}: .*edgeprune runtimes install rknn"):
        require_runtimes((profile,))
    with pytest.raises(RuntimeMissingError, match="edgeprune runtimes install rknn"):
        rknn.compile(source, "int8", profile.options["int8"], tmp_path / "out")
    assert not (tmp_path / "runtimes").exists(), "nothing is installed that nobody asked for"


def test_a_profile_with_an_unknown_chip_ends_before_anything_is_built(tmp_path: Path) -> None:
    profile = tmp_path / "mine.yaml"
    profile.write_text(
        "description: mine\narch: [aarch64]\nbackend: rknn\nprecisions: [int8]\nchannel_step: {int8: 32}\n"
        "scheme: rknn-s8\ntime_on: device\noptions: {int8: {chip: rk3589}}\n"
    )
    with pytest.raises(ConfigError, match=r"options.int8.chip: unknown chip 'rk3589' \(did you mean 'rk3588"):
        load_profile(profile)


def _engine(folder: Path, **changed: object) -> Path:
    facts = {
        "chip": "rk3588",
        "image": "images",
        "input": [1, 3, 32, 32],
        "mean": [0, 0, 0],
        "std": [255, 255, 255],
        "border": ["a"],
        "outputs": ["a"],
        "tail": ["Concat", "Concat", "Sigmoid"],
        "taken": 7,
        "operators": 9,
        "left": {"Gather": 2},
    }
    folder.mkdir()
    (folder / "model.rknn").write_bytes(b"RKNN")
    (folder / "facts.json").write_text(json.dumps({**facts, **changed}))
    return folder


def test_an_engine_tells_its_input_its_chip_and_what_the_npu_leaves(tmp_path: Path) -> None:
    engine = _engine(tmp_path / "engine")
    found = rknn.recognise(engine)
    assert found is not None and found.precision == "int8"
    assert rknn.recognise(tmp_path) is None
    assert rknn.input_shape(engine) == [1, 3, 32, 32]
    placed = rknn.placement(engine)
    assert (placed.processor, placed.taken, placed.operators) == ("NPU", 7, 12)
    assert placed.left == {"Concat": 2, "Gather": 2, "Sigmoid": 1}


def test_an_engine_of_another_chip_and_damaged_facts_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CompileError, match="it is for rk3588, not for rk3566; build it for this target"):
        rknn.load(_engine(tmp_path / "engine"), "int8", 1, {"chip": "rk3566"})
    (tmp_path / "engine/facts.json").write_text("{}")
    with pytest.raises(CompileError, match="not what edgeprune writes"):
        rknn.load(tmp_path / "engine", "int8", 1, {"chip": "rk3588"})


def test_a_float_network_is_refused(convnet: Path, tmp_path: Path) -> None:
    with pytest.raises(CompileError, match="RKNN compiles int8 networks only"):
        rknn.compile(Artifact.of(convnet, "onnx", "fp32"), "fp32", {"chip": "rk3588"}, tmp_path)


@pytest.mark.skipif(not CONSENT and not is_installed("rknn"), reason="EDGEPRUNE_TEST_RKNN=1 would install it")
@pytest.mark.timeout(3600)
def test_the_real_converter_and_its_simulator(
    source: Artifact, float_models: dict[str, tuple[Artifact, ExportCheck]], tiny: Dataset, tmp_path: Path
) -> None:
    install("rknn", print)
    assert python_of("rknn").exists()
    image, _ = load_input(tiny.images["val"][0], Preprocess(64))
    (wanted,) = onnxruntime.InferenceSession(
        float_models["yolov8n"][0].path, providers=["CPUExecutionProvider"]
    ).run(None, {"images": image})
    for chip in ("rk3588", "rk3566"):
        engine = rknn.compile(source, "int8", {"chip": chip}, tmp_path / chip).path
        session = rknn.load(engine, "int8", 1, {"chip": chip})
        (found,) = session(image)
        (again,) = session(image)
        np.testing.assert_array_equal(found, again)
        assert np.linalg.norm(found - wanted) / np.linalg.norm(wanted) < 0.05
        placed = rknn.placement(engine)
        assert placed.taken > 50 and {"Concat", "Sigmoid"} <= placed.left.keys()
        assert "float16" in (engine / "simulator/body.quantization.cfg").read_text()


def test_the_converter_is_given_valid_graphs(source: Artifact) -> None:
    for part in ("body", "tail"):
        onnx.checker.check_model(source.path / f"{part}.onnx")
