"""`build --compare` and `--smaller FILE` at the command line, going on from the stages of another build."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conftest import build_detector
from edgeprune.adapters.ultralytics import detect as adapter
from edgeprune.config.targets import resolve_targets

HOST = resolve_targets(("cpu",))[0]
Command = Callable[..., Any]


@pytest.fixture(scope="module")
def command(built: Any, run: Any, tmp_path_factory: pytest.TempPathFactory) -> Command:
    """Return a function that builds as `built` was, for one target, with more options, in another folder."""
    out = tmp_path_factory.mktemp("compare") / "out"
    shutil.copytree(built.out / "stages", out / "stages", copy_function=os.link)
    pairs = zip(built.options[::2], built.options[1::2], strict=True)
    sound = [text for pair in pairs if pair[0] != "--target" for text in pair]
    return lambda *options: run("build", *sound, "--target", HOST.name, "--out", out, *options)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Return a function that writes a tiny detector of another family, with changes."""
    folder = tmp_path_factory.mktemp("smaller")

    def write(name: str, **changes: Any) -> Path:
        model = build_detector("yolov5n")
        model.args["imgsz"] = 96
        for key, value in changes.items():
            setattr(model, key, value)
        adapter.save(model, folder / name)
        return folder / name

    return write


def alternatives(summary: dict[str, Any]) -> dict[str, int]:
    rows = summary["targets"][HOST.name]["rows"]
    return {row["variant"]: row["imgsz"] for row in rows if row["variant"] not in ("original", "pruned")}


def test_compare_adds_the_original_at_a_smaller_input_and_the_answer(command: Command) -> None:
    ended = command("--compare")
    assert ended.code == 0, (ended.errors, ended.exception)
    assert "Is pruning worth it? " in ended.stdout and "original 32 px" in ended.stdout


def test_smaller_implies_compare_and_adds_its_row_at_its_own_size(
    command: Command, checkpoint: Callable[..., Path]
) -> None:
    ended = command("--smaller", checkpoint("smaller.pt"), "--json")
    assert ended.code == 0, (ended.errors, ended.exception)
    summary = json.loads(ended.stdout)
    assert alternatives(summary) == {"resized": 32, "smaller": 96}
    target = summary["targets"][HOST.name]
    assert target["comparison"].startswith("Is pruning worth it? ")
    assert summary["chosen"]["variant"] in ("original", "pruned")
    assert all(row["p50_ms"] > 0 and row["score"] is not None for row in target["rows"])


def _classifier(folder: Path) -> Path:
    import torch
    from ultralytics.nn.tasks import ClassificationModel

    path = folder / "classifier.pt"
    torch.save({"model": ClassificationModel("yolov8n-cls.yaml", nc=3, verbose=False)}, path)
    return path


def test_a_smaller_model_that_does_not_detect_is_one_line(
    command: Command, convnet: Path, tmp_path: Path
) -> None:
    refused = {
        _classifier(tmp_path): "an Ultralytics detection model is needed",
        convnet: "this is an ONNX file",
        tmp_path / "nowhere.pt": "cannot be read: No such file or directory",
    }
    for path, said in refused.items():
        ended = command("--smaller", path)
        assert ended.code == 3
        assert str(path) in ended.error and said in ended.error


def test_a_smaller_model_of_other_classes_is_one_line(
    command: Command, checkpoint: Callable[..., Path]
) -> None:
    path = checkpoint("other.pt", names={0: "dog", 1: "bee", 2: "cat"})
    ended = command("--smaller", path)
    assert ended.code == 3
    assert f"--smaller {path}: it was trained for detect of dog, bee, cat" in ended.error
    assert "train it on the same data" in ended.error


def test_compare_without_pruning_is_one_line(command: Command) -> None:
    ended = command("--compare", "--no-prune")
    assert ended.code == 3
    assert "drop --compare or --no-prune" in ended.error
