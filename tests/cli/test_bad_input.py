"""Bad input: one clear line on standard error, the right exit code, and nothing that was there is lost."""

from __future__ import annotations

import os
import pickle
import platform
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml

from conftest import build_detector, write_dataset
from edgeprune.core.artifact import digest
from edgeprune.core.resources import find_bundled
from edgeprune.images.dataset import Dataset
from made_tables import made_table

TARGET = "cpu"
Build = Callable[..., Any]


@pytest.fixture
def build(run: Any, checkpoints: dict[str, Path], tiny: Dataset, tmp_path: Path) -> Build:
    """Return a function that runs a sound `build` command but for what is given."""

    def command(*options: object, **changes: object) -> Any:
        given = {
            "model": checkpoints["yolov8n"],
            "data": tiny.source,
            "out": tmp_path / "out",
            "target": TARGET,
            "imgsz": 64,
        } | changes
        # Nothing is measured before the cut, and nobody has trained this model.
        keep = ("--set", "prune.activation=keep", "--max-drop", "1")
        return run("build", *(f"--{key}={value}" for key, value in given.items()), *keep, *options)

    return command


class Touch:
    """Unpickling one runs a command."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.path}",)


def test_a_missing_model_is_named(build: Build, tmp_path: Path) -> None:
    ended = build(model=tmp_path / "nowhere.pt")
    assert ended.code == 3
    assert f"{tmp_path}/nowhere.pt: cannot be read: No such file" in ended.error


@pytest.mark.parametrize("share", [0, 0.3, 0.99])
def test_a_truncated_model_is_refused(
    build: Build, checkpoints: dict[str, Path], tmp_path: Path, share: float
) -> None:
    path = tmp_path / "half.pt"
    whole = checkpoints["yolov8n"].read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    ended = build(model=path)
    assert ended.code == 3
    assert str(path) in ended.error and re.search("empty|damaged|not a PyTorch", ended.error)


@pytest.mark.parametrize("protocol", [2, pickle.HIGHEST_PROTOCOL])
def test_a_pickle_that_would_run_code_does_not_run_it(build: Build, tmp_path: Path, protocol: int) -> None:
    path, proof = tmp_path / "evil.pt", tmp_path / "proof"
    path.write_bytes(pickle.dumps({"model": Touch(proof)}, protocol))
    ended = build(model=path)
    assert ended.code == 3
    assert "posix.system" in ended.error and "--trust-model" in ended.error
    assert not proof.exists()


def test_an_onnx_file_keeps_its_size(build: Build, convnet: Path) -> None:
    ended = build(model=convnet)
    assert ended.code == 3
    assert "fp32.onnx is fixed at 32x32 pixels; leave it out, or export the file with open" in ended.error


def test_nan_weights_are_found_before_anything_is_made(build: Build, tmp_path: Path) -> None:
    import torch

    from edgeprune.adapters.ultralytics import detect as adapter

    model = build_detector("yolov8n")
    with torch.no_grad():
        model.model[0].conv.weight[0, 0, 0, 0] = float("nan")
    adapter.save(model, tmp_path / "nan.pt")
    ended = build(model=tmp_path / "nan.pt")
    assert ended.code == 3
    assert "model.0.conv.weight holds NaN or infinite values" in ended.error


def _edit(folder: Path, change: Callable[[Path, dict[str, Any]], None]) -> Path:
    path = write_dataset(folder)
    config = yaml.safe_load(path.read_text())
    change(folder, config)
    path.write_text(yaml.safe_dump(config))
    return path


def _without_images(folder: Path, config: dict[str, Any]) -> None:
    for image in (folder / "images" / "val").iterdir():
        image.unlink()


def _without_boxes(folder: Path, config: dict[str, Any]) -> None:
    for label in (folder / "labels" / "val").iterdir():
        label.write_text("")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_without_images, "val: no images in 'images/val'"),
        (lambda folder, config: config.update(train="images/gone"), "neither a folder of images nor"),
        (lambda folder, config: shutil.rmtree(folder / "labels"), "images but no label file"),
        (lambda folder, config: config.update(names=["a", "b"]), "2 classes are listed, but the model has 3"),
        (lambda folder, config: config.pop("val"), "val: this split is required"),
        (_without_boxes, "val: none of its 5 images has a box"),
        (lambda folder, config: config.update(names=["ant", "bee", "dog"]), "the model has no 'dog'"),
    ],
    ids=["no images", "no folder", "no labels", "class count", "no split", "no boxes", "class names"],
)
def test_data_that_cannot_be_used_is_named(build: Build, tmp_path: Path, change: Any, said: str) -> None:
    path = _edit(tmp_path / "data", change)
    ended = build(data=path)
    assert ended.code == 3
    assert said in ended.error and str(path) in ended.error


def test_an_original_that_finds_nothing_is_an_error_that_says_what_was_measured(build: Build) -> None:
    ended = build("--max-drop", "0.01", "--no-prune", target="x86-ort")
    assert ended.code == 3
    assert (
        "the original has mAP50-95 0.00" in ended.error and "so that no loss could be seen: " in ended.error
    )
    assert "it finds nothing with a confidence of 0.25 or more in 5 images" in ended.error


def test_a_label_of_a_class_that_the_model_lacks_is_named_with_its_line(build: Build, tmp_path: Path) -> None:
    path = write_dataset(tmp_path / "data")
    label = tmp_path / "data" / "labels" / "val" / "00.txt"
    label.write_text("7 0.5 0.5 0.2 0.2\n")
    ended = build("--no-prune", data=path, target="x86-ort")
    assert ended.code == 3
    assert f"{label}:1: class 7" in ended.error


@pytest.mark.parametrize(("imgsz", "near"), [(100, "96 and 128"), (65, "64 and 96"), (33, "32 and 64")])
def test_an_image_size_off_the_stride_names_the_two_nearest(build: Build, imgsz: int, near: str) -> None:
    ended = build(imgsz=imgsz)
    assert ended.code == 3
    assert f"imgsz: {imgsz} is not a multiple of the model's stride 32; {near} are the nearest" in ended.error


def test_a_batch_is_refused_early_where_the_runtime_takes_one_image(build: Build) -> None:
    ended = build("--batch", "4", target="x86-ncnn")
    assert ended.code == 3
    assert "--batch 4: x86-ncnn: ncnn takes one image at a time: its tensors have no dimension" in ended.error


def test_nms_inside_the_graph_is_for_one_image(build: Build) -> None:
    ended = build("--batch", "4", "--set", "export.embed=[nms]", target="x86-ort")
    assert ended.code == 3
    assert "export.embed: nms is for one image and the batch is 4" in ended.error


def test_so_does_a_rectangle_and_names_the_nearest(build: Build) -> None:
    ended = build(imgsz="360x640")
    assert ended.code == 3
    assert "imgsz: 360x640 is not a multiple of the model's stride 32; 352x640 is the nearest" in ended.error


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--target", "jetsn"), "unknown target 'jetsn' (did you mean 'jetson'?)"),
        (("--set", "prune.ration=0.3"), "unknown key 'prune.ration' (did you mean 'ratio'?)"),
        (("--set", "prun.ratio=0.3"), "unknown key 'prun' (did you mean 'prune'?)"),
        (("--criterion", "group_nrom"), "(did you mean 'group_norm'?)"),
        (("--set", "prune"), "write it as key=value"),
        (("--set", "prune=[1"), "not valid YAML"),
        (("--ratio", "0.3", "--macs", "0.5"), "ratio and macs are two goals"),
        (("--set", "prune.ratio=1"), "prune.ratio: Input should be less than 1"),
        (
            ("--set", "export.opset=100", "--set", "seed=-1"),
            "export.opset: Input should be less than or equal to 23",
        ),
        (
            ("--set", "export.opset=100", "--set", "seed=-1"),
            "seed: Input should be greater than or equal to 0",
        ),
    ],
)
def test_unknown_names_and_impossible_values_are_refused_at_once(
    build: Build, options: tuple[str, ...], said: str, tmp_path: Path
) -> None:
    ended = build(*options)
    assert ended.code == 3
    assert said in ended.error
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("option", "value", "bounds"),
    [
        ("--ratio", "1", "1.0 is not in the range 0<=x<1"),
        ("--ratio", "nan", "'nan' is not a number in the range 0<=x<1"),
        ("--max-drop", "2", "2.0 is not in the range 0<=x<=1"),
        ("--epochs", "-1", "-1 is not in the range 0<=x<=10000"),
        ("--imgsz", "100000", "100000 is not in the range 32<=x<=4096"),
        ("--threads", "10000", "10000 is not in the range 1<=x<=1024"),
        ("--seed", "-1", "-1 is not in the range 0<=x<=4294967295"),
        ("--target-latency", "1e-300ms", "1e-300 is not in the range 0.001<=x<=1000000.0"),
        ("--target-latency", "soon", "'soon' is not a time in milliseconds, such as 8ms"),
        ("--min-fps", "inf", "inf is not in the range 0.001<=x<=1000000.0"),
    ],
)
def test_a_number_outside_its_option_s_range_is_a_matter_of_usage(
    build: Build, option: str, value: str, bounds: str, tmp_path: Path
) -> None:
    ended = build(option, value)
    assert ended.code == 2
    assert f"Invalid value for '{option}': {bounds}; see `" in ended.error
    assert not (tmp_path / "out").exists()


def test_all_faults_of_a_command_line_are_told_at_once(run: Any) -> None:
    ended = run("build", "--model", "best.pt", "--threads", "10000", "--seed", "-1", "--macs", "nan")
    assert ended.code == 2
    for part in ("'--threads'", "'--seed'", "'--macs'", "Missing option '--data'", "Missing option '--out'"):
        assert part in ended.error


def test_an_unknown_option_is_a_matter_of_usage(build: Build) -> None:
    ended = build("--ratoi", "0.3")
    assert ended.code == 2
    assert any("--ratio" in line for line in ended.errors)


def test_a_ratio_above_the_largest_allowed_names_both(build: Build) -> None:
    ended = build("--ratio", "0.9")
    assert ended.code == 3
    assert "prune.ratio: 0.9 is above prune.max_ratio 0.75" in ended.error


def test_a_goal_that_would_prune_everything_says_how_far_it_can_go(build: Build) -> None:
    ended = build("--macs", "0.001", "--criterion", "l1")
    assert ended.code == 3
    assert re.search(r"no pruning reaches 0\.001 of the original; the most .* leaves 0\.\d+", ended.error)


def test_a_ratio_that_rounds_to_nothing_is_said(build: Build) -> None:
    ended = build("--ratio", "0.01", "--criterion", "l1")
    assert ended.code == 3
    assert "prunes nothing" in ended.error


def test_a_speedup_of_a_device_that_is_not_there_cannot_be_a_goal(build: Build) -> None:
    ended = build("--speedup", "2", target="jetson")
    assert ended.code == 3
    assert "this target is not measured here, so nothing can be pruned to a latency" in ended.error


def test_a_frame_rate_that_no_widths_reach_names_the_fastest(
    build: Build, checkpoints: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgeprune.adapters.ultralytics import detect as adapter
    from edgeprune.pipeline import prune as pruning

    table = made_table(adapter, adapter.prunable(adapter.load(checkpoints["yolov8n"])), 64)
    monkeypatch.setattr(pruning, "latency_table", lambda *_: table)
    ended = build("--min-fps", "1e6", target="x86-ort")
    assert ended.code == 7
    assert "x86-ort: 1e+06 FPS (0.00 ms): no widths reach 0.00 ms: the least within" in ended.error
    assert f"(unpruned {table.whole_ms:.2f} ms)" in ended.error


def test_an_output_folder_below_a_file_is_refused_and_the_file_stays(build: Build, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("precious")
    ended = build(out=tmp_path / "file" / "out")
    assert ended.code == 3
    assert "the output folder cannot be written: a part of the path is a file" in ended.error
    assert (tmp_path / "file").read_text() == "precious"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_is_refused(build: Build, tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o500)
    ended = build(out=tmp_path / "closed" / "out")
    assert ended.code == 3
    assert "the output folder cannot be written: Permission denied" in ended.error


def test_a_second_build_in_the_same_folder_is_refused(build: Build, tmp_path: Path) -> None:
    from edgeprune.core.artifact import Store

    with Store(tmp_path / "out" / "stages").locked():
        ended = build()
    assert ended.code == 3
    assert "another edgeprune build is at work in this folder" in ended.error


def test_bad_input_leaves_a_finished_build_as_it_was(built: Any, run: Any, tmp_path: Path) -> None:
    before = digest(built.out)
    assert run("build", *built.options, "--model", tmp_path / "nowhere.pt").code == 3
    assert run("build", *built.options, "--imgsz", "65").code == 3
    assert run("build", *built.options, "--ratio", "0.9").code == 3
    assert digest(built.out) == before


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[Path]:
    """Mount a file system of a few megabytes; skips the test where that is not allowed."""
    folder.mkdir()
    mount = shutil.which("mount")
    command = [str(mount), "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)]
    if (
        mount is None
        or os.geteuid() != 0
        or subprocess.run(command, capture_output=True, check=False).returncode
    ):
        pytest.skip("only root can mount a small disk")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize(("megabytes", "kept"), [(4, set()), (10, {"original"})])
def test_a_full_disk_is_named_and_whole_stages_stay(
    build: Build, tmp_path: Path, megabytes: int, kept: set[str]
) -> None:
    """torch fails on the checkpoint of the first, the export on the 12 MB ONNX file of the second."""
    with small_disk(tmp_path / "disk", megabytes) as disk:
        ended = build("--no-prune", out=disk / "out", target="x86-ort")
        assert ended.code == 3
        assert "the disk is full" in ended.error and str(disk) in ended.error
        stages = {path.name.partition("-")[0] for path in (disk / "out" / "stages").iterdir()}
        assert {stage for stage in stages if not stage.startswith(".")} == kept


def test_ctrl_c_in_fine_tuning_keeps_the_best_checkpoint(
    build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, checkpoints: dict[str, Path]
) -> None:
    from edgeprune.adapters.ultralytics import detect as adapter
    from edgeprune.cli import build as build_command

    @contextmanager
    def interrupting(quiet: bool = False) -> Iterator[Any]:
        def notify(stage: str, share: float, text: str) -> None:
            if stage == "finetuned" and text.startswith("epoch 2/"):
                raise KeyboardInterrupt  # a background shell ignores SIGINT itself

        yield notify

    monkeypatch.setattr(build_command, "stage_progress", interrupting)
    ended = build("--epochs", "3", "--ratio", "0.5", "--set", "finetune.batch=6")
    assert ended.code == 130
    kept = tmp_path / "out" / "interrupted.pt"
    assert f"interrupted in training; the best checkpoint so far is {kept}" in ended.error
    pruned, original = adapter.load(kept), adapter.load(checkpoints["yolov8n"])
    parameters = [sum(weight.numel() for weight in model.parameters()) for model in (pruned, original)]
    assert parameters[0] < 0.7 * parameters[1]
    stages = {path.name.partition("-")[0] for path in (tmp_path / "out" / "stages").iterdir()}
    assert stages == {".lock", ".data", "original", "onnx", "accuracy", "pruned"}


def test_ctrl_c_elsewhere_says_that_the_build_goes_on(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    from edgeprune.pipeline import build as pipeline

    def interrupted(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(pipeline, "build", interrupted)
    ended = build()
    assert ended.code == 130
    assert "whole stages are kept, the same command goes on" in ended.error


def test_debug_shows_the_traceback_and_the_line(run: Any, tmp_path: Path) -> None:
    ended = run("--debug", "report", tmp_path)
    assert ended.code == 6
    assert ended.errors[0].startswith("Traceback") and "NotComparableError" in "".join(ended.errors)
    assert ended.errors[-1].startswith(f"edgeprune: {tmp_path}/summary.json: no finished build is here")
    assert len(run("report", tmp_path).errors) == 1


def test_a_calibration_method_that_a_target_lacks_is_told_before_anything_runs(
    build: Build, tmp_path: Path
) -> None:
    ended = build("--set", "quantize.method=entropy", target="x86-openvino")
    assert ended.code == 3
    assert "the quantizer of scheme nncf has no 'entropy', only minmax, percentile, mse" in ended.error
    assert not [left for left in (tmp_path / "out").rglob("*") if left.is_file() and left.name != ".lock"]


def test_accuracy_is_not_measured_on_a_device_that_is_not_named(build: Build, tmp_path: Path) -> None:
    profile = yaml.safe_load((find_bundled("targets") / "arm64-ort.yaml").read_text()) | {
        "evaluate_on": "device",
        "arch": ["aarch64" if platform.machine() == "x86_64" else "x86_64"],
    }
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(profile))
    ended = build(target=path)
    assert ended.code == 3
    assert "mine: evaluate_on: its accuracy is measured on the device, which is not here" in ended.error


def test_an_image_that_cannot_be_read_is_named_at_load(build: Build, tmp_path: Path) -> None:
    data = write_dataset(tmp_path / "data")
    broken = tmp_path / "data" / "images" / "train" / "03.png"
    broken.write_bytes(b"nothing")
    ended = build("--no-prune", data=data)
    assert ended.code == 3
    assert f"1 image cannot be used: {broken}: not a whole image: no format of images" in ended.error


def test_calibration_images_without_anything_on_them_are_refused(build: Build, tmp_path: Path) -> None:
    data = write_dataset(tmp_path / "data")
    for image in (tmp_path / "data" / "images" / "train").iterdir():
        cv2.imwrite(str(image), np.full((64, 64, 3), 120, np.uint8))
    ended = build("--no-prune", data=data)
    assert ended.code == 3
    assert "each of the 12 images is of one colour" in ended.error
