"""Qualcomm's provider with its emulator of Hexagon: what is compiled, for which SoC, and what runs where."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from edgeprune.adapters.ultralytics import detect as adapter
from edgeprune.backends import get_backend, qnn, recognise, require_runtimes
from edgeprune.config.targets import load_profile, resolve_targets
from edgeprune.core.artifact import Artifact
from edgeprune.core.errors import CompileError, ConfigError, RuntimeMissingError
from edgeprune.images.dataset import Dataset
from edgeprune.images.preprocess import Preprocess
from edgeprune.quantize import CalibrationSet, quantize
from edgeprune.records.summary import ExportCheck

SOC = {"soc": "SM8650"}


@pytest.fixture(scope="module")
def whole(convnet_int8: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the tiny network for Snapdragon 8 Gen 3, which HTP takes whole."""
    if qnn.version() is None:
        pytest.skip("onnxruntime-qnn is not installed")
    model = Artifact.of(convnet_int8, "onnx", "int8")
    return qnn.compile(model, "int8", SOC, tmp_path_factory.mktemp("qnn")).path


def _outputs(path: Path, images: np.ndarray) -> list[np.ndarray]:
    # As it is written, in float: a CPU without VNNI may saturate where it computes in integers.
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return list(session.run(None, {"images": images}))


def _distance(found: np.ndarray, wanted: np.ndarray) -> float:
    return float(np.linalg.norm(found - wanted) / np.linalg.norm(wanted))


def test_an_engine_is_a_context_binary_that_the_emulator_runs(
    whole: Path, convnet_int8: Path, random_images: np.ndarray, capfd: pytest.CaptureFixture[str]
) -> None:
    session = qnn.load(whole, "int8", 1, SOC)
    (found,), (wanted,) = session(random_images[:1]), _outputs(convnet_int8, random_images[:1])
    assert _distance(found, wanted) < 0.01
    assert (session.actual["provider"], session.actual["soc"]) == (qnn.PROVIDER, "SM8650")
    assert (session.actual["delegated"], session.actual["left"]) == (1.0, {})
    placed = qnn.placement(whole)
    assert placed is not None and (placed.processor, placed.taken, placed.operators) == ("HTP", 2, 2)
    assert qnn.input_shape(whole) == [1, 3, 32, 32]
    assert capfd.readouterr().out == "", "a command's results stand there"


def test_the_file_is_an_engine_of_this_runtime_and_of_no_other(whole: Path, convnet_int8: Path) -> None:
    found = recognise(whole)
    assert found is not None and found[0] == "qnn"
    assert qnn.recognise(convnet_int8) is None
    with pytest.raises(CompileError, match="holds no context binary"):
        qnn.load(convnet_int8, "int8", 1, SOC)


def test_a_context_binary_of_another_soc_is_refused(whole: Path) -> None:
    with pytest.raises(CompileError, match=r"is for SM8650, not for SM8550; build it for this target") as why:
        qnn.load(whole, "int8", 1, {"soc": "SM8550"})
    assert "\n" not in str(why.value)


@pytest.fixture(scope="module")
def detectors(
    float_models: dict[str, tuple[Artifact, ExportCheck]],
    tiny: Dataset,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Artifact]:
    """Return yolov8n in both schemes."""
    if qnn.version() is None:
        pytest.skip("onnxruntime-qnn is not installed")
    calibration, folder = CalibrationSet(tiny.sample("train", 2, seed=0), Preprocess(64)), {}
    for scheme in qnn.SCHEMES:
        folder[scheme] = tmp_path_factory.mktemp(scheme)
    return {
        scheme: quantize(float_models["yolov8n"][0], scheme, calibration, adapter, place)
        for scheme, place in folder.items()
    }


@pytest.mark.parametrize("target", ["snapdragon-8gen2", "snapdragon-8gen3", "snapdragon-8elite", "qcs6490"])
def test_a_detector_is_compiled_for_each_soc_and_its_decode_stays_on_the_cpu(
    target: str, detectors: dict[str, Artifact], tmp_path: Path
) -> None:
    (profile,) = resolve_targets((target,))
    options = profile.options["int8"]
    engine = qnn.compile(detectors[profile.scheme], "int8", options, tmp_path).path
    placed = qnn.placement(engine)
    assert placed is not None and placed.taken + sum(placed.left.values()) == placed.operators
    assert placed.taken > 200 and {"Concat", "Sigmoid"} <= placed.left.keys()
    assert qnn.load(engine, "int8", 1, {}).actual["soc"] == options["soc"]


@pytest.mark.parametrize("family", ["yolo11n", "yolo26n"])
def test_newer_families_are_compiled_with_their_attention(
    family: str,
    float_models: dict[str, tuple[Artifact, ExportCheck]],
    tiny: Dataset,
    tmp_path: Path,
) -> None:
    if qnn.version() is None:
        pytest.skip("onnxruntime-qnn is not installed")
    calibration = CalibrationSet(tiny.sample("train", 1, seed=0), Preprocess(64))
    model = quantize(float_models[family][0], "qnn-u8s8", calibration, adapter, tmp_path)
    placed = qnn.placement(qnn.compile(model, "int8", SOC, tmp_path / "engine").path)
    assert placed is not None and placed.taken > 250 and "MatMul" not in placed.left


def test_an_engine_computes_its_file_and_sixteen_bits_are_nearer_to_the_float_network(
    detectors: dict[str, Artifact],
    float_models: dict[str, tuple[Artifact, ExportCheck]],
    tmp_path: Path,
) -> None:
    image = np.random.default_rng(0).random((1, 3, 64, 64), np.float32)
    (float_output,), far = _outputs(float_models["yolov8n"][0].path, image), {}
    for scheme, model in detectors.items():
        (found,) = qnn.load(qnn.compile(model, "int8", SOC, tmp_path / scheme).path, "int8", 1, SOC)(image)
        (same,) = _outputs(model.path, image)
        assert _distance(found, same) < 0.02
        far[scheme] = _distance(found, float_output)
    assert far["qnn-u16s8"] < far["qnn-u8s8"]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("{soc: SM8560}", "options.int8.soc: unknown chip 'SM8560'"),
        ("{}", "options.int8.soc: an engine of qnn is for one chip, which has to be named: SM8350"),
        ("{soc: SM8650, vtcm: '8'}", "options.int8.vtcm: qnn takes one option, soc"),
    ],
)
def test_a_profile_with_an_unknown_soc_ends_before_anything_is_built(
    options: str, says: str, tmp_path: Path
) -> None:
    profile = tmp_path / "mine.yaml"
    profile.write_text(
        "description: mine\narch: [aarch64]\nbackend: qnn\nprecisions: [int8]\nchannel_step: {int8: 32}\n"
        f"scheme: qnn-u8s8\ntime_on: device\noptions: {{int8: {options}}}\n"
    )
    with pytest.raises(ConfigError) as caught:
        load_profile(profile)
    assert says in str(caught.value) and "\n" not in str(caught.value)


def test_without_the_package_the_extra_is_named_beside_all_else_that_is_missing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime_qnn", None)
    monkeypatch.setenv("EDGEPRUNE_CACHE", str(tmp_path))
    assert get_backend("qnn").version() is None
    both = "snapdragon-8gen3: qnn is not installed here: pip install .*; rk3588: rknn is not installed here: "
    with pytest.raises(RuntimeMissingError, match=f"^{both}"):
        require_runtimes(resolve_targets(("snapdragon-8gen3", "rk3588", "x86-ort")))
    with pytest.raises(RuntimeMissingError, match=r"pip install 'edgeprune\[qnn\]'"):
        qnn.load(Path("model.onnx"), "int8", 1, SOC)
