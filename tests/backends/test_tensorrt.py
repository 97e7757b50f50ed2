"""TensorRT where it is not: errors that help, options, commands. There is no GPU to build or run on."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

from edgeprune.backends import options_for, tensorrt
from edgeprune.config.targets import DeviceProfile, resolve_targets
from edgeprune.core.artifact import Artifact
from edgeprune.core.errors import ConfigError, RuntimeMissingError

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
        assert "pip install tensorrt cuda-python --extra-index-url https://pypi.nvidia.com" in str(
            caught.value
        )
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
    assert tensorrt._weight_types([int8, half, other, int8]) == ["Int8", "Half", "Int8"]
    assert tensorrt._weight_types(["a layer of an engine without details"]) == []
