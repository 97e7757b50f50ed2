"""What other tools' exporters write: taken as it lies there, or told in words what it is and what to give."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import edgeprune.models  # noqa: F401  # ultralytics must not install what it misses
from edgeprune.backends import BACKENDS, get_backend, options_for
from edgeprune.backends.executorch import FACTS
from edgeprune.bench.subject import plain_input, subjects_of
from edgeprune.config.targets import resolve_targets
from edgeprune.core.artifact import Artifact, digest_with_weights, parts_of
from edgeprune.core.errors import EdgepruneError, ModelError

HOST = {profile.backend: profile for profile in resolve_targets(("cpu",))}
METADATA = "task: detect\nbatch: 1\nimgsz:\n- 32\n- 32\nnames:\n  0: thing\n"


@pytest.fixture(scope="module")
def exported(checkpoints: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Return a function that exports a checkpoint by Ultralytics' own exporter, each way once, for 64 px."""
    from ultralytics import YOLO

    made: dict[tuple[Any, ...], Path] = {}

    def export(kind: str, **options: Any) -> Path:
        key = (kind, *options.items())
        if key not in made:
            copy = tmp_path_factory.mktemp("exported") / "best.pt"
            shutil.copyfile(checkpoints["yolov8n"], copy)
            made[key] = Path(YOLO(str(copy)).export(format=kind, imgsz=64, verbose=False, **options))
        return made[key]

    return export


@pytest.mark.parametrize(
    ("kind", "backend", "options", "precision"),
    [
        ("onnx", "onnxruntime", {}, "fp32"),
        ("openvino", "openvino", {}, "fp32"),
        ("openvino", "openvino", {"half": True}, "fp32"),  # stored in fp16, run in fp32
        ("ncnn", "ncnn", {}, "fp32"),
        ("ncnn", "ncnn", {"half": True}, "fp16"),
    ],
)
def test_what_ultralytics_exports_is_measured_as_it_lies_there(
    exported: Callable[..., Path], kind: str, backend: str, options: dict[str, Any], precision: str
) -> None:
    path = exported(kind, **options)
    (subject,) = subjects_of(path)
    assert (subject.profile.backend, subject.engine.precision) == (backend, precision)
    assert subject.profile.runs_here
    assert plain_input(path).imgsz == 64
    noise = np.random.default_rng(0).random((1, 3, 64, 64), dtype=np.float32)
    (output,) = get_backend(backend).load(subject.engine.path, precision, 1, {})(noise)
    assert output.shape == (1, 7, 84)
    (expected,) = get_backend("onnxruntime").load(exported("onnx"), "fp32", 1, {})(noise)
    assert np.linalg.norm(output - expected) / np.linalg.norm(expected) < (2e-2 if options else 1e-3)


@pytest.fixture(scope="module")
def folders(convnet: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return the tiny network as folders of OpenVINO and ncnn, named as Ultralytics names them."""
    model = Artifact.of(convnet, "onnx", "fp32")
    root = tmp_path_factory.mktemp("folders")
    made = {}
    for backend in ("openvino", "ncnn"):
        profile = HOST.get(backend) or resolve_targets(("x86-ncnn",))[0]
        engine = (
            get_backend(backend).compile(model, "fp32", options_for(profile, "fp32"), root / backend).path
        )
        made[backend] = engine.rename(root / f"best_{backend}_model")
        (made[backend] / "metadata.yaml").write_text(METADATA)
    for ending in (".xml", ".bin"):
        (made["openvino"] / f"model{ending}").rename(made["openvino"] / f"best{ending}")
    (made["ncnn"] / "model.json").unlink()
    return made


@pytest.mark.parametrize(("backend", "ending"), [("openvino", ".xml"), ("ncnn", ".param")])
def test_a_graph_its_weights_and_their_folder_are_one_engine(
    folders: dict[str, Path], backend: str, ending: str
) -> None:
    folder = folders[backend]
    graph = next(folder.glob(f"*{ending}"))
    (subject,) = subjects_of(folder)
    assert subjects_of(graph) == subjects_of(graph.with_suffix(".bin")) == (subject,)
    assert (subject.profile.backend, subject.name) == (backend, folder.name)
    assert plain_input(graph).imgsz == 32


@pytest.mark.parametrize(("backend", "ending"), [("openvino", ".xml"), ("ncnn", ".param")])
def test_among_other_files_the_engine_is_the_graph_with_its_weights(
    folders: dict[str, Path], tmp_path: Path, backend: str, ending: str
) -> None:
    shutil.copytree(folders[backend], tmp_path / "all")
    graph = next((tmp_path / "all").glob(f"*{ending}"))
    (tmp_path / "all" / "holiday.mp4").write_bytes(b"large")
    (subject,) = subjects_of(graph)
    assert subject.engine.path == graph
    assert parts_of(graph) == (graph, graph.with_suffix(".bin"))
    assert plain_input(graph).imgsz == 32
    noise = np.random.default_rng(0).random((1, 3, 32, 32), dtype=np.float32)
    assert get_backend(backend).load(graph, "fp32", 1, {})(noise)[0].shape == (1, 16, 32, 32)
    before = digest_with_weights(graph)
    with graph.with_suffix(".bin").open("ab") as stream:
        stream.write(b"more")
    assert digest_with_weights(graph) != before


@pytest.mark.parametrize(("backend", "ending"), [("openvino", ".xml"), ("ncnn", ".param")])
def test_of_several_models_in_a_folder_one_has_to_be_named(
    folders: dict[str, Path], tmp_path: Path, backend: str, ending: str
) -> None:
    shutil.copytree(folders[backend], tmp_path / "all")
    graph = next((tmp_path / "all").glob(f"*{ending}"))
    for part in (graph, graph.with_suffix(".bin")):
        shutil.copyfile(part, part.with_name(f"other{part.name.removeprefix(graph.stem)}"))
    if graph.name.startswith("model."):  # the usual name decides
        (graph.with_suffix(".bin")).rename(graph.with_name("third.bin"))
        graph = graph.rename(graph.with_name("third.param"))
    with pytest.raises(EdgepruneError, match=f"it holds 2 .* models; name the one to run: .*{graph.name}"):
        subjects_of(tmp_path / "all")
    assert subjects_of(graph)[0].engine.path == graph


@pytest.mark.parametrize(("backend", "ending"), [("openvino", ".xml"), ("ncnn", ".param")])
def test_a_graph_without_its_weights_is_told(
    folders: dict[str, Path], tmp_path: Path, backend: str, ending: str
) -> None:
    graph = next(folders[backend].glob(f"*{ending}"))
    alone = Path(shutil.copy(graph, tmp_path))
    with pytest.raises(EdgepruneError, match=r"is not beside it; an .* model is both files"):
        subjects_of(alone)


def test_an_ncnn_folder_that_tells_no_size_is_told(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = shutil.copytree(folders["ncnn"], tmp_path / "ncnn")
    (folder / "metadata.yaml").unlink()
    with pytest.raises(ModelError, match=r"nothing tells the size of the input: no metadata\.yaml is there"):
        plain_input(folder)
    (folder / "metadata.yaml").write_text("imgsz: [32, -1]\n")
    with pytest.raises(ModelError, match="imgsz: height and width in pixels are expected"):
        plain_input(folder)


def test_the_only_engine_of_a_folder_is_taken_and_of_several_one_has_to_be_named(
    folders: dict[str, Path], convnet: Path, tmp_path: Path
) -> None:
    shutil.copyfile(convnet, tmp_path / "best.onnx")
    (tmp_path / "best.pt").write_bytes(b"a checkpoint")
    assert subjects_of(tmp_path) == subjects_of(tmp_path / "best.onnx")
    shutil.copytree(folders["openvino"], tmp_path / "best_openvino_model")
    with pytest.raises(
        ModelError, match=r"it holds 2 engines; name the one to run: best\.onnx, best_openvino_model$"
    ):
        subjects_of(tmp_path)


def test_a_program_of_executorch_by_another_tool_is_recognised(tmp_path: Path) -> None:
    folder = tmp_path / "best_executorch_model"
    folder.mkdir()
    (folder / "model.pte").write_bytes(b"ET12 XnnpackBackend")
    (folder / "metadata.yaml").write_text(METADATA)
    backend = get_backend("executorch")
    found = backend.recognise(folder)
    assert found and (found.precision, backend.input_shape(found.engine)) == ("fp32", [1, 3, 32, 32])
    assert backend.recognise(folder / "model.pte") is not None
    assert backend.quantized_ops(folder) is None
    (folder / FACTS).write_text('{"input": [1, 3, 32, 32], "integer_convolutions": 2, "operators": 3')
    with pytest.raises(EdgepruneError, match=r"conversion\.json: not valid JSON"):
        backend.recognise(folder)


def _write_network(path: Path, sides: list[Any], kind: int = TensorProto.FLOAT) -> Path:
    image, answer = (helper.make_tensor_value_info(name, kind, sides) for name in "xy")
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "net", [image], [answer])
    opset = helper.make_opsetid("", 17)
    onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=8), path)
    return path


def test_an_input_in_fp16_is_fed_and_named_so(tmp_path: Path) -> None:
    path = _write_network(tmp_path / "half.onnx", [1, 3, 32, 32], TensorProto.FLOAT16)
    (subject,) = subjects_of(path)
    assert subject.engine.precision == "fp16"
    session = get_backend("onnxruntime").load(path, "fp16", 1, {})
    assert session.actual["precision"] == "fp16"
    assert session(np.ones((1, 3, 32, 32), np.float32))[0].dtype == np.float16


@pytest.mark.parametrize("sides", [["batch", 3, "height", "width"], [1, 3, "size", "size"]])
def test_a_dynamic_input_is_called_so(tmp_path: Path, sides: list[Any]) -> None:
    with pytest.raises(ModelError, match=r"its input \(.*\?.*\) is dynamic; export it for one size and one"):
        plain_input(_write_network(tmp_path / "dynamic.onnx", sides))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("best.torchscript", "this is TorchScript, which edgeprune has no runtime for; give a build folder"),
        ("best.mnn", "this is MNN"),
        ("best_saved_model/", "this is TensorFlow SavedModel"),
        ("best.mlpackage/", "this is Core ML"),
        ("best_rknn_model/", "this is RKNN"),
        ("best.pt", "a checkpoint is no engine; `edgeprune build --model best.pt` makes engines of it"),
        ("best.engine", "a TensorRT engine fits one GPU and one version of TensorRT"),
        ("notes.txt", "nothing to measure is here; give a build folder, an .onnx file"),
        ("empty/", "nothing to measure is here"),
    ],
)
def test_what_no_runtime_here_loads_is_called_by_its_name(tmp_path: Path, name: str, said: str) -> None:
    path = tmp_path / name
    path.mkdir() if name.endswith("/") else path.write_bytes(b"something")
    with pytest.raises(ModelError, match=re.escape(said)):
        subjects_of(path)


def test_a_path_that_does_not_exist_is_told_so_with_the_nearest_name(tmp_path: Path) -> None:
    (tmp_path / "model_int8.onnx").write_bytes(b"")
    with pytest.raises(
        ModelError, match=r"model_int.onnx: no such file or folder \(did you mean 'model_int8.onnx'\?\)$"
    ):
        subjects_of(tmp_path / "model_int.onnx")
    with pytest.raises(ModelError, match=r"no such file or folder; the folder .*/nowhere is not there$"):
        subjects_of(tmp_path / "nowhere" / "model.onnx")


def test_a_pipe_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "model.onnx")
    with pytest.raises(ModelError, match="neither a regular file nor a folder"):
        subjects_of(tmp_path / "model.onnx")


@pytest.mark.parametrize("name", BACKENDS)
def test_no_runtime_takes_what_is_none_of_its_own(tmp_path: Path, name: str) -> None:
    (tmp_path / "layout.xml").write_text("<html></html>")
    (tmp_path / "data.bin").write_bytes(b"data")
    (tmp_path / "some.param").write_text("lr=0.1")
    for path in (tmp_path, *tmp_path.iterdir(), tmp_path / "nowhere.onnx"):
        assert get_backend(name).recognise(path) is None
