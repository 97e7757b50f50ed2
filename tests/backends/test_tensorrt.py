"""TensorRT where it is not: errors that help, options, commands. There is no GPU to build or run on."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

from edgeprune.backends import options_for, tensorrt
from edgeprune.backends.tensorrt_session import weight_types
from edgeprune.config.targets import DeviceProfile, load_profile, resolve_targets
from edgeprune.core.artifact import Artifact
from edgeprune.core.errors import ConfigError, ModelError, RuntimeMissingError

(JETSON,) = resolve_targets(("jetson",))
absent = pytest.mark.skipif(importlib.util.find_spec("tensorrt") is not None, reason="TensorRT is here")

# The layer that TensorRT's documentation shows under "Engine Inspector", shortened.
DOCUMENTED = """{
  "Name": "node_of_gpu_0/res4_0_branch2a_1 + node_of_gpu_0/res4_0_branch2a_bn_1",
  "LayerType": "CaskConvolution",
  "Inputs": [{"Name": "gpu_0/res3_3_branch2c_bn_3", "Dimensions": [16,512,28,28],
              "Format/Datatype": "Thirty-two wide channel vectorized row major Int8 format."}],
  "ParameterType": "Convolution",
  "Kernel": [1,1],
  "OutMaps": 256,
  "Weights": {"Type": "Int8", "Count": 131072},
  "Bias": {"Type": "Float", "Count": 256}
}"""


def profile(**options: str) -> DeviceProfile:
    return JETSON.model_copy(update={"options": {"int8": options}})


@absent
def test_without_tensorrt_the_errors_hold_the_command(convnet: Path, tmp_path: Path) -> None:
    for action in (
        lambda: tensorrt.compile(
            Artifact.of(convnet, "onnx", "fp16"), "fp16", options_for(JETSON, "fp16"), tmp_path
        ),
        lambda: tensorrt.load(tmp_path / "model.engine", "fp16", 1, {}),
        lambda: tensorrt.quantized_ops(tmp_path / "model.engine"),
    ):
        with pytest.raises(RuntimeMissingError) as caught:
            action()
        assert "pip install tensorrt --extra-index-url https://pypi.nvidia.com" in str(caught.value)
        assert caught.value.exit_code == 5
    assert tensorrt.version() is None
    assert not list(tmp_path.iterdir())


def test_an_option_that_tensorrt_does_not_take_is_an_error_everywhere(convnet: Path, tmp_path: Path) -> None:
    model = Artifact.of(convnet, "onnx", "int8")
    for options, said in (
        ({"optimisation": "5"}, "'optimisation' is not one of builder_optimization_level"),
        ({"avg_timing_iterations": "many"}, "avg_timing_iterations: a whole number is expected, not 'many'"),
    ):
        with pytest.raises(ConfigError, match=said):
            tensorrt.compile(model, "int8", options_for(profile(**options), "int8"), tmp_path)
        with pytest.raises(ConfigError, match=said):
            tensorrt.device_commands("model.onnx", options)


def test_the_commands_build_with_strong_typing_a_timing_cache_and_the_options() -> None:
    build, time = tensorrt.device_commands("pruned-int8.onnx", {"builder_optimization_level": "5"})
    assert build.split() == [
        "trtexec",
        "--onnx=pruned-int8.onnx",
        "--stronglyTyped",
        "--timingCacheFile=timing.cache",
        "--builderOptimizationLevel=5",
        "--saveEngine=pruned-int8.engine",
    ]
    assert time.startswith("trtexec --loadEngine=pruned-int8.engine ")
    # Weak typing is deprecated in TensorRT 10.12 and gone in 11.
    assert not {"--fp16", "--int8", "--best", "--calib"} & set(f"{build} {time}".split())


def test_int8_convolutions_are_told_by_their_weights() -> None:
    int8 = json.loads(DOCUMENTED)
    half = int8 | {"Weights": {"Type": "Half", "Count": 9}}
    other = {"Name": "myelin", "LayerType": "kgen"}
    assert weight_types([int8, half, other, int8]) == ["Int8", "Half", "Int8"]
    assert weight_types(["a layer of an engine without details"]) == []


@pytest.mark.parametrize(
    ("provider", "flags"),
    [
        ("DLA", " --useDLACore=0 --allowGPUFallback"),
        ("DLA.1", " --useDLACore=1 --allowGPUFallback"),
        ("GPU", ""),
    ],
)
def test_a_dla_core_is_a_provider(provider: str, flags: str) -> None:
    command = tensorrt.device_commands("model.onnx", {"provider": provider})[0]
    assert f"--timingCacheFile=timing.cache{flags} --saveEngine" in command


def test_dla_takes_no_int8_and_an_unknown_provider_is_named(convnet: Path, tmp_path: Path) -> None:
    model = Artifact.of(convnet, "onnx", "int8")
    with pytest.raises(ConfigError, match="DLA computes fp16 here, not int8, since it takes no Q/DQ pairs"):
        tensorrt.compile(model, "int8", {"provider": "DLA"}, tmp_path)
    with pytest.raises(ConfigError, match=r"provider: 'NPU' is not one of GPU, DLA"):
        tensorrt.compile(model, "fp16", {"provider": "NPU"}, tmp_path)


def test_a_profile_with_int8_on_dla_ends_before_anything_is_built(tmp_path: Path) -> None:
    path = tmp_path / "both.yaml"
    both = "description: both\nextends: jetson-dla\nprecisions: [fp16, int8]\n"
    both += "channel_step: {fp16: 16, int8: 32}\n"
    path.write_text(both)
    with pytest.raises(ConfigError, match=r"both\.yaml: options\.int8\.provider: DLA computes fp16 here"):
        load_profile(path)
    path.write_text(f"{both}options: {{int8: {{provider: GPU}}}}\n")
    assert options_for(load_profile(path), "int8") == {"provider": "GPU"}


@pytest.mark.parametrize(
    ("release", "told"),
    [
        ("35.4.1", "this is JetPack 5, whose TensorRT is for its Python 3.8"),
        ("36.3.0", "this is JetPack 6: sudo apt install python3-libnvinfer"),
        ("38.2.0", "this is JetPack 7"),
        (None, "pip install tensorrt"),
    ],
)
def test_how_to_get_it_goes_by_jetpack(release: str | None, told: str) -> None:
    assert told in tensorrt.advice({"jetson": {"l4t": release} if release else None})


def test_what_is_known_to_fail_is_told_of_that_version_and_network_alone() -> None:
    assert "ultralytics#23841" in (tensorrt.caveat("10.3.0", "yolo26n", "int8") or "")
    assert "fp16 needs none" in (tensorrt.caveat("8.5.2", "yolov8n", "int8") or "")
    for version, family, precision in (
        ("10.7.0", "yolo26n", "int8"), ("10.3.0", "yolo26n", "fp16"), ("10.3.0", "yolo11n", "int8"),
    ):  # fmt: skip
        assert tensorrt.caveat(version, family, precision) is None


def test_an_engine_without_an_account_beside_it_is_refused_and_one_with_it_known(tmp_path: Path) -> None:
    engine = tmp_path / "model.engine"
    engine.write_bytes(b"an engine")
    with pytest.raises(ModelError, match="fits one GPU and one version"):
        tensorrt.recognise(engine)
    (tmp_path / "model.json").write_text('{"tensorrt": "10.3.0", "gpu": "Orin", "precision": "int8"}')
    found = tensorrt.recognise(engine)
    assert found and (found.engine, found.precision) == (engine, "int8")
    assert list(tensorrt.parts(engine)) == [engine, tmp_path / "model.json"]
    assert tensorrt.placement(engine) is None
