"""What `bench` and `check` accept as a subject, how they run it, and what they refuse."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeprune.backends import get_backend, options_for
from edgeprune.bench.subject import make_job, plain_input, subjects_of
from edgeprune.config.targets import resolve_targets
from edgeprune.core.artifact import Artifact, digest
from edgeprune.core.errors import CompileError, ConfigError, ModelError, NotComparableError
from made_builds import write_build

HOST = {profile.backend: profile for profile in resolve_targets(("cpu",))}
ORT, OPENVINO = HOST["onnxruntime"], HOST["openvino"]


@pytest.fixture(scope="module")
def ir(convnet: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the tiny network as an OpenVINO IR folder."""
    model = Artifact.of(convnet, "onnx", "fp32")
    return (
        get_backend("openvino")
        .compile(model, "fp32", options_for(OPENVINO, "fp32"), tmp_path_factory.mktemp("ir"))
        .path
    )


@pytest.fixture
def build_folder(tmp_path: Path, convnet: Path, convnet_int8: Path) -> Path:
    """Return a build of two targets: ONNX Runtime with a chosen int8 row, a Jetson that was not there."""
    both = {"fp32": convnet, "int8": convnet_int8}
    return write_build(tmp_path, {ORT.name: both, "jetson": {"int8": convnet_int8}})


def test_a_lone_onnx_file_runs_in_onnx_runtime_at_the_precision_it_holds(
    convnet: Path, convnet_int8: Path
) -> None:
    for path, precision in ((convnet, "fp32"), (convnet_int8, "int8")):
        (subject,) = subjects_of(path)
        assert (subject.profile, subject.engine.precision) == (ORT, precision)
        assert subject.name == path.name and subject.engine.sha256 == digest(path)


def test_an_ir_folder_and_its_xml_are_the_same_subject(ir: Path) -> None:
    assert subjects_of(ir) == subjects_of(ir / "model.xml")
    assert subjects_of(ir)[0].profile == OPENVINO
    assert plain_input(ir).imgsz == 32


def test_a_target_that_runs_other_engines_is_refused(convnet: Path, ir: Path) -> None:
    with pytest.raises(ConfigError, match=f"does not run onnxruntime engines: --target {ORT.name}$"):
        subjects_of(convnet, OPENVINO.name)
    with pytest.raises(ConfigError, match="does not run openvino engines"):
        subjects_of(ir, "jetson")


def test_a_target_of_another_machine_measures_nothing_here(convnet: Path) -> None:
    other = "arm64-ort" if ORT.name == "x86-ort" else "x86-ort"
    with pytest.raises(CompileError, match="not this machine"):
        subjects_of(convnet, other)


@pytest.mark.parametrize("kind", ["missing", "text", "empty"])
def test_what_is_no_engine_is_refused_in_one_line(tmp_path: Path, kind: str) -> None:
    path = tmp_path / ("model.onnx" if kind != "text" else "notes.txt")
    if kind != "missing":
        path.write_text("hello" if kind == "text" else "")
    with pytest.raises(ModelError) as caught:
        subjects_of(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_build_that_has_not_ended_is_not_comparable(tmp_path: Path) -> None:
    (tmp_path / "stages").mkdir()
    with pytest.raises(NotComparableError, match="no finished build"):
        subjects_of(tmp_path)


def test_the_measured_rows_of_a_build_are_its_subjects(build_folder: Path) -> None:
    subjects = subjects_of(build_folder)
    assert [subject.name for subject in subjects] == [f"{ORT.name} original {p}" for p in ("fp32", "int8")]
    assert subjects[1].environment == {"ONEDNN_MAX_CPU_ISA": "AVX2"}
    assert {subject.accuracy and subject.accuracy.score for subject in subjects} == {0.5}, (
        "the gate compares the selection split"
    )


def test_only_the_chosen_rows_and_only_one_target_when_asked(build_folder: Path) -> None:
    assert [entry.engine.precision for entry in subjects_of(build_folder, chosen_only=True)] == ["int8"]
    assert subjects_of(build_folder, "cpu") == subjects_of(build_folder, ORT.name)
    with pytest.raises(ModelError, match="no measured row on jetson"):
        subjects_of(build_folder, "jetson")
    with pytest.raises(ConfigError, match="did you mean"):
        subjects_of(build_folder, ORT.name[:-1])


@pytest.mark.parametrize(
    ("targets", "machine", "loaded"),
    [
        (("arm64-ort", "jetson"), "aarch64", ["arm64-ort"]),  # for TensorRT there is no engine yet
        (("jetson",), "aarch64", ["jetson"]),  # which the device is to build
        (("arm64-ort", "x86-ort"), "x86_64", ["x86-ort"]),
        (("android-ort", "arm64-ort"), "aarch64", ["android-ort", "arm64-ort"]),  # a phone by ssh into Termux
    ],
)
def test_of_a_build_a_device_is_given_the_rows_that_it_loads(
    tmp_path: Path, convnet: Path, targets: tuple[str, ...], machine: str, loaded: list[str]
) -> None:
    folder = write_build(tmp_path, {name: {"fp32": convnet} for name in targets})
    assert [one.profile.name for one in subjects_of(folder, machine=machine)] == loaded


def test_a_build_without_a_row_for_the_device_is_one_line(tmp_path: Path, convnet: Path) -> None:
    folder = write_build(tmp_path, {"jetson": {"int8": convnet}})
    with pytest.raises(ModelError, match="has no row that a device of x86_64 Linux loads as it is"):
        subjects_of(folder, machine="x86_64")


def test_what_only_a_device_compiles_is_told_from_an_engine(
    build_folder: Path, convnet: Path, tmp_path: Path
) -> None:
    (lone,) = subjects_of(convnet, "jetson", machine="aarch64")
    (row,) = subjects_of(build_folder, "jetson", machine="aarch64")
    assert (lone.engine.kind, lone.engine.precision) == ("onnx", "fp32")
    assert (row.engine.kind, row.engine.precision) == ("onnx", "int8")
    with pytest.raises(CompileError, match="only the device compiles for it: name it by --device"):
        subjects_of(convnet, "jetson")


def test_an_engine_that_only_a_device_loads_is_held_against_the_file_behind_it(
    convnet: Path, tmp_path: Path
) -> None:
    (tmp_path / "model.engine").write_bytes(b"only the device loads it")
    account = {"tensorrt": "10.7.0", "gpu": "Orin", "precision": "fp32", "metadata": {}}
    (tmp_path / "model.json").write_text(json.dumps(account))
    shutil.copyfile(convnet, tmp_path / "model.source.onnx")
    (engine,) = subjects_of(tmp_path, "jetson", machine="aarch64")
    assert engine.engine.path.name == "model.engine"
    job = make_job(engine, 1, tmp_path)
    (same,) = subjects_of(convnet)
    plain = make_job(same, 1, tmp_path / "plain")
    assert (np.load(job.reference or "")["out0"] == np.load(plain.reference or "")["out0"]).all()
    assert job.backend == "tensorrt" and job.tolerance == 1e-2 > plain.tolerance


def test_a_name_that_no_result_can_hold_is_refused(tmp_path: Path, convnet: Path) -> None:
    path = tmp_path / os.fsdecode(b"mod\xff.onnx")
    shutil.copyfile(convnet, path)
    with pytest.raises(ModelError, match=r"mod\\udcff.onnx': its path is not valid UTF-8") as caught:
        subjects_of(path)
    assert str(caught.value).isascii()


def test_an_engine_that_was_swapped_after_the_build_is_refused(build_folder: Path, convnet: Path) -> None:
    shutil.copyfile(convnet, build_folder / ORT.name / "int8.onnx")
    with pytest.raises(ModelError, match="not the one that the build measured"):
        subjects_of(build_folder)


def test_a_job_carries_the_inputs_the_reference_and_the_environment(build_folder: Path) -> None:
    job = make_job(subjects_of(build_folder, chosen_only=True)[0], 1, build_folder)
    inputs, reference = np.load(job.inputs), np.load(job.reference or "")
    assert inputs.shape == (32, 3, 32, 32) and inputs.dtype == np.float32
    assert reference["out0"].shape == (32, 16, 32, 32)
    assert (
        job.environment == {"ONEDNN_MAX_CPU_ISA": "AVX2"}
        and job.precision == "int8"
        and job.backend == "onnxruntime"
    )


def test_an_engine_that_does_not_take_one_square_image_is_refused(tmp_path: Path) -> None:
    import onnx
    from onnx import TensorProto, helper

    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"])],
        "flat",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 10])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 10])],
    )
    onnx.save(helper.make_model(graph), tmp_path / "flat.onnx")
    with pytest.raises(ModelError, match=r"its input \(1, 10\) is no image"):
        plain_input(tmp_path / "flat.onnx")


def test_the_input_of_an_engine_need_not_be_a_square(tmp_path: Path) -> None:
    import onnx
    from onnx import TensorProto, helper

    shape = [1, 3, 48, 80]
    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"])],
        "wide",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
    )
    onnx.save(helper.make_model(graph), tmp_path / "wide.onnx")
    assert plain_input(tmp_path / "wide.onnx").imgsz == (48, 80)


def test_a_link_out_of_the_build_is_not_followed(build_folder: Path, tmp_path_factory: Any) -> None:
    engine = next(build_folder.glob(f"{ORT.name}/fp32.onnx"))
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "engine.onnx"
    engine.rename(elsewhere)
    engine.symlink_to(elsewhere)
    with pytest.raises(ModelError, match="a path inside this folder is expected"):
        subjects_of(build_folder)


OWN = """description: an edge PC that only the maker of the build has
arch: [x86_64, aarch64]
backend: onnxruntime
precisions: [fp32]
ship: fp32
channel_step: {fp32: 8}
scheme: ort-u8s8
options: {fp32: OPTIONS}
"""


def build_elsewhere(folder: Path, convnet: Path, options: str = "{}") -> Path:
    """Write a build for a profile given as a path, which is gone afterwards."""
    file = folder / "edge-pc.yaml"
    file.write_text(OWN.replace("OPTIONS", options))
    build = write_build(folder / "build", {str(file): {"fp32": convnet}})
    file.unlink()
    return build


def test_a_profile_travels_with_its_build(tmp_path: Path, convnet: Path) -> None:
    build = build_elsewhere(tmp_path, convnet, '{"session.intra_op.allow_spinning": "0"}')
    for target in (None, "edge-pc"):
        (subject,) = subjects_of(build, target)
        assert subject.profile.description.startswith("an edge PC")
        assert subject.profile.options == {"fp32": {"session.intra_op.allow_spinning": "0"}}


def test_an_option_that_names_a_file_is_not_taken_from_a_build(
    tmp_path: Path, convnet: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    build = build_elsewhere(tmp_path, convnet, '{"ep.context_file_path": "/tmp/written"}')
    with pytest.raises(ConfigError, match=r"option 'ep\.context_file_path' names a file.*edgeprune/targets"):
        subjects_of(build)
    own = tmp_path / "config" / "edgeprune" / "targets" / "edge-pc.yaml"
    own.parent.mkdir(parents=True)
    own.write_text(OWN.replace("OPTIONS", '{"ep.context_file_path": "/tmp/written"}'))
    assert subjects_of(build)[0].profile.names_path == "ep.context_file_path"


def test_a_profile_that_stands_under_another_name_is_refused(tmp_path: Path, convnet: Path) -> None:
    build = build_elsewhere(tmp_path, convnet)
    summary = build / "summary.json"
    told = json.loads(summary.read_text())
    told["targets"]["edge-pc"]["profile"]["name"] = "other"
    summary.write_text(json.dumps(told))
    with pytest.raises(NotComparableError, match="the profile of another target stands here: 'other'"):
        subjects_of(build)
