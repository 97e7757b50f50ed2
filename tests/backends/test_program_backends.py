"""LiteRT and ExecuTorch: what they load and tell, and their real converters where those are installed."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from edgeprune.adapters.ultralytics import detect as adapter
from edgeprune.backends import get_backend, litert
from edgeprune.config.targets import resolve_targets
from edgeprune.converters.environments import SCRIPTS, is_installed
from edgeprune.core.artifact import Artifact
from edgeprune.core.errors import CompileError, RuntimeMissingError
from edgeprune.images.dataset import Dataset
from edgeprune.images.preprocess import Preprocess, load_input
from edgeprune.quantize import CalibrationSet, quantize

NAMES = ("litert", "executorch")
SPEC = Preprocess(64)


@pytest.fixture(params=NAMES)
def runtime(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    if get_backend(name).version() is None:
        pytest.skip(f"{name}'s runtime is not installed")
    return name


@pytest.fixture
def converter(runtime: str) -> str:
    if not is_installed(runtime):
        pytest.skip(f"{runtime}'s converter is not installed")
    return runtime


def test_the_engine_that_doctor_runs_gives_evidence_of_what_ran(runtime: str) -> None:
    session = get_backend(runtime).load(SCRIPTS / get_backend(runtime).PROBE, "fp32", 1, {})
    images = np.random.default_rng(1).random((2, 3, 32, 32), dtype=np.float32)
    (first,) = session(images[:1])
    kept = first.copy()
    session(images[1:])
    assert (first.shape, first.dtype) == ((1, 8, 32, 32), np.float32)
    np.testing.assert_array_equal(first, kept)  # not overwritten by the next query
    actual = session.actual
    assert (actual["provider"], actual["precision"], actual["threads"]) == ("XNNPACK", "fp32", 1)
    assert actual["delegated"] == 1.0
    assert actual["left"] == {}
    assert get_backend(runtime).quantized_ops(SCRIPTS / get_backend(runtime).PROBE) == 0


def test_a_file_that_is_no_model_and_an_option_are_refused_in_one_line(runtime: str, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.write_bytes(b"not a model")
    with pytest.raises(CompileError, match=r"broken: .* cannot load this") as caught:
        get_backend(runtime).load(broken, "fp32", 1, {})
    assert "\n" not in str(caught.value)
    with pytest.raises(CompileError, match="takes no options, fast is given"):
        get_backend(runtime).load(SCRIPTS / get_backend(runtime).PROBE, "fp32", 1, {"fast": "1"})


@pytest.mark.parametrize(
    ("name", "module", "get"),
    [
        ("litert", "ai_edge_litert", "pip install ai-edge-litert"),
        ("executorch", "executorch.extension.pybindings", "pip install executorch"),
    ],
)
def test_a_runtime_that_is_not_installed_says_how_to_get_it(
    name: str, module: str, get: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for loaded in [loaded for loaded in sys.modules if loaded.startswith(module)]:
        monkeypatch.delitem(sys.modules, loaded)
    monkeypatch.setitem(sys.modules, module, None)
    backend = get_backend(name)
    assert backend.version() is None
    with pytest.raises(RuntimeMissingError, match=get):
        backend.compile(Artifact(tmp_path, "program", "fp32", "0"), "fp32", {}, tmp_path / "out")


def test_without_the_converter_the_command_that_gets_it_is_told(
    runtime: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEPRUNE_CACHE", str(tmp_path))
    program = Artifact(tmp_path, "program", "fp32", "0")
    with pytest.raises(RuntimeMissingError, match=f"edgeprune runtimes install {runtime}"):
        get_backend(runtime).compile(program, "fp32", {}, tmp_path / "out")


def test_what_lies_between_a_delegates_border_tensors_is_in_it() -> None:
    def operator(name: str, inputs: list[int], outputs: list[int]) -> dict[str, object]:
        return {"op_name": name, "inputs": inputs, "outputs": outputs}

    network = [
        operator("CONV_2D", [0, 10, 11], [1]),
        operator("LOGISTIC", [1], [2]),
        operator("MUL", [1, 2], [3]),
        operator("RESIZE_NEAREST_NEIGHBOR", [3], [4]),
        operator("CONV_2D", [4, 12], [5]),
    ]
    parts = [operator("DELEGATE", [0, 10, 11], [3]), operator("DELEGATE", [4, 12], [5])]
    assert litert.count_delegated([*network, *parts]) == (0.8, {"RESIZE_NEAREST_NEIGHBOR": 1})
    assert litert.count_delegated(network)[0] == 0
    assert litert.count_delegated([]) == (0.0, {})


@pytest.fixture(scope="module")
def program(checkpoints: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    from edgeprune.export.onnx import export_program

    module = adapter.exportable(adapter.load(checkpoints["yolov8n"]))
    return export_program(module, SPEC, tmp_path_factory.mktemp("program"))


def test_the_nodes_of_a_program_are_named_so_that_adapters_find_the_decode(program: Artifact) -> None:
    from edgeprune.quantize.programs import node_names

    names = node_names(program)
    assert len(set(names.values())) == len(names)
    kept = set(adapter.float_nodes(list(names)))
    assert {"/model.22/Sigmoid", "/model.22/dfl/Exp"} <= kept
    assert "/model.22/cv2.0/0/conv/Conv2D" in names.keys() - kept
    # One scale over boxes and scores makes every score 0: what joins them must stay in float.
    assert list(names)[-1] in kept


def test_the_real_converters_keep_what_the_network_computes(
    converter: str, program: Artifact, checkpoints: dict[str, Path], tiny: Dataset, tmp_path: Path
) -> None:
    from edgeprune.models.predictor import predictor

    backend = get_backend(converter)
    (profile,) = resolve_targets((f"x86-{converter}",))
    image, _ = load_input(tiny.images["val"][0], SPEC)
    expected = predictor(adapter.exportable(adapter.load(checkpoints["yolov8n"])))(image)[0]
    engine = backend.compile(program, "fp32", {}, tmp_path / "float")
    (got,) = backend.load(engine.path, "fp32", 1, {})(image)
    assert np.abs(got - expected)[:, :4].max() < 0.01  # pixels
    assert np.abs(got - expected)[:, 4:].max() < 1e-4
    calibration = CalibrationSet(tiny.sample("train", 3, seed=0), SPEC)
    (tmp_path / "int8").mkdir()
    made = quantize(program, profile.scheme, calibration, adapter, tmp_path / "int8")
    integer = backend.compile(made, "int8", {}, tmp_path / "engine")
    (got,) = backend.load(integer.path, "int8", 1, {})(image)
    # One scale over boxes and scores would make every score 0.
    assert np.corrcoef(got[:, 4:].ravel(), expected[:, 4:].ravel())[0, 1] > 0.95
    assert np.abs(got - expected)[:, 4:].max() < 0.01
    assert integer.size_bytes < 0.5 * engine.size_bytes
    assert (backend.quantized_ops(integer.path) or 0) > 55  # of 63 convolutions
