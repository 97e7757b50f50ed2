"""Providers and devices: what is asked for runs, or is refused with the way to get it."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import yaml
from onnx import TensorProto, helper

from edgeprune.backends import absence, get_backend, options_for, providers
from edgeprune.backends.openvino import OpenVinoSession
from edgeprune.config.targets import DeviceProfile, load_profile, resolve_targets
from edgeprune.core.artifact import Artifact
from edgeprune.core.errors import CompileError, ConfigError, RuntimeMissingError

CPU = {"onnxruntime": "CPUExecutionProvider", "openvino": "CPU"}
every_runtime = pytest.mark.parametrize("runtime", CPU)


def _missing(runtime: str) -> str:
    wanted = {"onnxruntime": "CUDAExecutionProvider", "openvino": "NPU"}[runtime]
    if any(name.startswith(wanted) for name in providers(runtime)):
        pytest.skip(f"this machine has a {wanted}")
    return wanted


@every_runtime
def test_the_cpu_is_always_there_and_takes_every_node(
    runtime: str, convnet: Path, random_images: np.ndarray
) -> None:
    assert CPU[runtime] in providers(runtime)
    session = get_backend(runtime).load(convnet, "fp32", 1, {"provider": CPU[runtime]})
    session(random_images[:1])
    assert session.actual["provider"] == CPU[runtime]
    if runtime == "onnxruntime":
        assert session.actual["nodes"] == {"CPUExecutionProvider": 4}


@every_runtime
def test_a_provider_that_is_not_here_is_refused_with_the_way_to_get_it(runtime: str, convnet: Path) -> None:
    wanted = _missing(runtime)
    with pytest.raises(RuntimeMissingError) as caught:
        get_backend(runtime).load(convnet, "fp32", 1, {"provider": wanted})
    message = str(caught.value)
    assert wanted in message
    assert ", ".join(providers(runtime)) in message
    assert {"onnxruntime": "pip install onnxruntime-gpu", "openvino": "linux-npu-driver"}[runtime] in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("runtime", "wanted", "meant"),
    [("onnxruntime", "CUDAExecutonProvider", "CUDAExecutionProvider"), ("openvino", "GPUs", "GPU")],
)
def test_a_misspelt_provider_gets_a_suggestion(runtime: str, wanted: str, meant: str, convnet: Path) -> None:
    with pytest.raises(ConfigError, match=f"did you mean '{meant}'"):
        get_backend(runtime).load(convnet, "fp32", 1, {"provider": wanted})


def _profile(folder: Path, **keys: Any) -> DeviceProfile:
    data = yaml.safe_load((Path(__file__).parents[2] / "targets" / "x86-openvino.yaml").read_text()) | keys
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump(data))
    return load_profile(path)


def test_the_provider_of_a_profile_is_an_option_of_every_precision(tmp_path: Path) -> None:
    profile = _profile(tmp_path, provider="GPU")
    assert options_for(profile, "fp32") == {"provider": "GPU", "INFERENCE_PRECISION_HINT": "f32"}
    assert "provider" not in options_for(_profile(tmp_path), "fp32")


@pytest.mark.parametrize(
    ("keys", "complaint"),
    [
        ({"backend": "ncnn", "provider": "GPU"}, "provider: ncnn leaves no choice"),
        ({"scheme": "litert-s8"}, "scheme: openvino takes nncf or ort-u8s8 or .*, not 'litert-s8'"),
        ({"format": "ort"}, "format: openvino takes onnx, not 'ort'"),
    ],
)
def test_a_profile_cannot_ask_for_what_its_runtime_does_not_have(
    keys: dict[str, str], complaint: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=complaint):
        _profile(tmp_path, **keys)


@pytest.mark.skipif(platform.machine() != "x86_64", reason="these are profiles of x86-64")
def test_a_target_whose_device_is_not_here_says_so() -> None:
    _missing("openvino")
    (npu,) = resolve_targets(("intel-npu-openvino",))
    assert absence(npu) == f"openvino finds no NPU here, only {', '.join(providers('openvino'))}"
    (phone,) = resolve_targets(("android-ort",))
    assert absence(phone) == "run on the device itself"
    (arm,) = resolve_targets(("arm64-ort",))
    assert absence(arm) == "needs aarch64"
    assert absence(resolve_targets(("x86-ort",))[0]) is None


def test_a_build_for_a_device_that_is_not_here_ends_with_the_reason(convnet: Path, tmp_path: Path) -> None:
    _missing("openvino")
    (npu,) = resolve_targets(("intel-npu-openvino",))
    with pytest.raises(RuntimeMissingError, match="finds no NPU here"):
        get_backend("openvino").compile(
            Artifact.of(convnet, "onnx", "fp32"), "fp16", options_for(npu, "fp16"), tmp_path
        )


class Gpu:
    """A compiled model as OpenVINO's GPU plugin describes it: it tells no number of threads."""

    outputs = ("one",)

    def create_infer_request(self) -> None:
        return None

    def get_property(self, name: str) -> Any:
        from openvino import Type

        return {
            "SUPPORTED_PROPERTIES": ["EXECUTION_DEVICES", "INFERENCE_PRECISION_HINT", "NUM_STREAMS"],
            "EXECUTION_DEVICES": ["GPU.0"],
            "INFERENCE_PRECISION_HINT": Type.f16,
            "NUM_STREAMS": 1,
        }[name]


def test_a_gpu_tells_its_device_and_precision() -> None:
    actual = OpenVinoSession(Gpu(), "2026").actual
    assert (actual["provider"], actual["precision"]) == ("GPU", "fp16")
    assert (actual["threads"], actual["streams"]) == (None, 1)


def _with_odd_operator(path: Path, domain: str) -> Path:
    image = helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, 8, 8])
    output = helper.make_tensor_value_info("output0", TensorProto.FLOAT, [1, 3, 8, 8])
    nodes = [
        helper.make_node("Relu", ["images"], ["hidden"], name="/model.0/act/Relu"),
        helper.make_node("Frobnicate", ["hidden"], ["output0"], name="/model.3/odd", domain=domain),
    ]
    opsets = [helper.make_opsetid("", 17)] + ([helper.make_opsetid(domain, 1)] if domain else [])
    graph = helper.make_graph(nodes, "odd", [image], [output])
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    return path


@every_runtime
@pytest.mark.parametrize("domain", ["", "my.domain", "com.microsoft"])
def test_an_operator_that_the_runtime_lacks_is_named_with_its_node(
    runtime: str, domain: str, tmp_path: Path
) -> None:
    model = Artifact.of(_with_odd_operator(tmp_path / "odd.onnx", domain), "onnx", "fp32")
    with pytest.raises(CompileError) as caught:
        get_backend(runtime).compile(model, "fp32", {}, tmp_path / "out")
    message = str(caught.value)
    operator = f"{domain}:Frobnicate" if domain else "Frobnicate"
    assert f"has no operator {operator} (node /model.3/odd)" in message
    assert {"onnxruntime": "ONNX Runtime", "openvino": "OpenVINO"}[runtime] in message
    assert "\n" not in message


def test_an_operator_without_a_kernel_is_named_too(tmp_path: Path) -> None:
    image = helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, 8, 8])
    output = helper.make_tensor_value_info("output0", TensorProto.FLOAT, [1, 3, 8, 8])
    nodes = [
        helper.make_node("Cast", ["images"], ["b"], name="in", to=TensorProto.BFLOAT16),
        helper.make_node("Erf", ["b"], ["e"], name="/model.3/erf"),
        helper.make_node("Cast", ["e"], ["output0"], name="out", to=TensorProto.FLOAT),
    ]
    graph = helper.make_graph(nodes, "odd", [image], [output])
    path = tmp_path / "erf.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    with pytest.raises(CompileError, match=r"ONNX Runtime .* has no operator Erf \(node /model\.3/erf\)"):
        get_backend("onnxruntime").load(path, "fp32", 1, {})


@every_runtime
def test_a_runtime_that_is_not_installed_says_how_to_get_it(
    runtime: str, convnet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, runtime, None)
    backend = get_backend(runtime)
    assert backend.version() is None
    with pytest.raises(RuntimeMissingError, match=f"pip install {runtime}"):
        backend.compile(Artifact.of(convnet, "onnx", "fp32"), "fp32", {}, tmp_path)
    with pytest.raises(RuntimeMissingError, match=f"pip install {runtime}"):
        providers(runtime)
