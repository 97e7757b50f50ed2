"""The stages of a build: what a killed one leaves, what a cache key depends on, goals by measurement."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from conftest import FAMILIES, write_dataset
from edgeprune.config.recipe import load_recipe
from edgeprune.config.targets import resolve_targets
from edgeprune.core.artifact import Artifact
from edgeprune.core.errors import ConfigError, RuntimeMissingError
from edgeprune.images.dataset import Dataset
from edgeprune.images.preprocess import Preprocess
from edgeprune.models import get_adapter
from edgeprune.models.source import ModelSource
from edgeprune.pipeline.context import Build, BuildRequest
from edgeprune.pipeline.load import require_intervals
from edgeprune.records.resampling.evidence import Means
from edgeprune.records.scores import Accuracy
from edgeprune.records.summary import Summary
from made_effort import quickly

HOST = {profile.backend: profile for profile in resolve_targets(("cpu",))}
ORT = HOST["onnxruntime"]

# Builds until int8 is being written, leaves half a file there, and is killed as `kill -9` does it.
KILLED = """
import os, signal, sys
from pathlib import Path
from edgeprune.pipeline.context import BuildRequest
from edgeprune.config.targets import resolve_targets
from edgeprune.models.source import ModelSource
from edgeprune.pipeline.build import build
from edgeprune.config.recipe import load_recipe

model, data, out, target = sys.argv[1:]

def notify(stage, share, text):
    if stage == "quantize":
        for partial in (Path(out) / "stages").glob(".partial-int8-*"):
            (partial / "model.onnx").write_bytes(b"half a file")
            os.kill(os.getpid(), signal.SIGKILL)

recipe = load_recipe(None, ("quantize.images=4", "budget.max_drop=1"), imgsz=64, prune__enabled=False)
profiles = resolve_targets((target,))
build(BuildRequest(ModelSource(Path(model)), Path(data), profiles, recipe, Path(out), "edgeprune"), notify)
"""


def built(
    model: Path, data: Path, out: Path, assignments: Sequence[str] = (), target: str = ORT.name
) -> tuple[Summary, list[tuple[str, str]]]:
    """Build without pruning, and return the summary and what was told of each stage."""
    from edgeprune.pipeline.build import build

    told: list[tuple[str, str]] = []
    recipe = load_recipe(None, ("quantize.images=4", "budget.max_drop=1", *assignments), imgsz=64)
    recipe = recipe.model_copy(update={"prune": recipe.prune.model_copy(update={"enabled": False})})
    request = BuildRequest(
        ModelSource(model), data, resolve_targets((target,)), recipe, out, "edgeprune build"
    )
    return build(request, lambda stage, share, text: told.append((stage, text)), quickly()), told


def stages(out: Path) -> dict[str, Path]:
    """The whole stages of a build folder by name, each of which is there once."""
    found = [path for path in (out / "stages").iterdir() if not path.name.startswith(".")]
    names = [path.name.rpartition("-")[0] for path in found]
    return dict(zip(names, found, strict=True))


def test_a_converter_that_is_missing_ends_a_build_before_anything_is_made(
    checkpoints: dict[str, Path], tiny: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEPRUNE_CACHE", str(tmp_path / "cache"))
    with pytest.raises(RuntimeMissingError, match="edgeprune runtimes install litert"):
        built(checkpoints["yolov8n"], tiny.source, tmp_path / "out", target="x86-litert")
    assert not list((tmp_path / "out" / "stages").glob("*-*"))


def test_a_killed_build_leaves_nothing_that_is_trusted_and_the_next_one_goes_on(
    checkpoints: dict[str, Path], tiny: Dataset, tmp_path: Path
) -> None:
    """With a detector that needs no NMS: its output has another shape, which accuracy has to follow."""
    model, out = checkpoints["yolo26n"], tmp_path / "out"
    ended = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(KILLED), model, tiny.source, out, ORT.name],
        capture_output=True,
        check=False,
    )
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    left = {path.name.rpartition("-")[0]: path for path in (out / "stages").iterdir()}
    assert any(name.startswith(".partial-int8") for name in left)
    assert not any(name.startswith("int8") for name in left) and not (out / "summary.json").exists()
    whole = {name: path.stat().st_mtime_ns for name, path in left.items() if name in ("original", "onnx")}
    assert len(whole) == 2

    summary, told = built(model, tiny.source, out)
    assert not any(path.name.startswith(".partial") for path in (out / "stages").iterdir())
    after = stages(out)
    assert {name: after[name].stat().st_mtime_ns for name in whole} == whole, (
        "whole stages are not made again"
    )
    assert {"export"}.isdisjoint(stage for stage, _ in told)
    rows = summary.targets[ORT.name].rows
    assert [(row.variant, row.precision) for row in rows] == [("original", "fp32"), ("original", "int8")]
    assert all(row.p50_ms and row.score is not None for row in rows)
    assert summary.targets[ORT.name].verdict.startswith("No verdict on pruning")


def test_a_stage_is_made_again_when_and_only_when_its_inputs_change(
    checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    """On data without a test split, where accuracy is reported on the split that the choice is made on."""
    model, data, out = checkpoints["yolov8n"], write_dataset(tmp_path / "data"), tmp_path / "out"
    data.write_text("".join(line for line in data.read_text().splitlines(True) if "test" not in line))
    summary, _ = built(model, data, out)
    assert summary.split == summary.selection_split == "val" and summary.optimism is None
    assert all(row.val and row.score == row.val.score for row in summary.rows())

    def made(*assignments: str) -> set[str]:
        before = set((out / "stages").iterdir())
        built(model, data, out, assignments)
        return {path.name.rpartition("-")[0] for path in set((out / "stages").iterdir()) - before}

    assert made() == set()
    assert made("budget.max_latency_ms=1000") == set(), "a budget judges; it builds nothing"
    assert made("bench.profile=quick") == {"bench"}
    # Fewer calibration images make another int8 file, and only what depends on it.
    assert made("quantize.images=2") == {
        "calibration-images", "calibration", f"int8-{ORT.scheme}", "engine", "accuracy", "bench"
    }  # fmt: skip
    # The engine file is damaged behind the build's back: it is not trusted.
    engine = out / summary.rows()[0].artifact  # not one of the fewer images, which this build does not use
    assert engine.is_file() and engine.parent.name.startswith("engine-")
    whole = engine.read_bytes()
    engine.write_bytes(whole[:100])
    made()
    assert engine.read_bytes() == whole


@pytest.mark.parametrize("family", FAMILIES)
def test_surgery_is_judged_on_the_output_that_the_family_has(
    family: str, checkpoints: dict[str, Path], tiny: Dataset, tmp_path: Path
) -> None:
    from edgeprune.prune.stages import PruneContext, cut
    from edgeprune.records.pruning import Pruning

    adapter = get_adapter("ultralytics")
    original = Artifact.of(checkpoints[family], "torch", "fp32")
    recipe = load_recipe(None, ("prune.ratio=0.5", "prune.criterion=l1"))
    report = cut(PruneContext(adapter, tiny, Preprocess(64), recipe), original, 16, tmp_path)
    assert report.score_after_surgery is not None
    assert Pruning.model_validate_json((tmp_path / "pruning.json").read_text()) == report
    kept = sum(weight.numel() for weight in adapter.load(tmp_path / "model.pt").parameters())
    assert kept < 0.8 * sum(weight.numel() for weight in adapter.load(original.path).parameters())


def test_a_sure_budget_is_refused_at_once_where_a_drop_has_no_interval(context: Build) -> None:
    recipe = load_recipe(None, ("budget.sure=true",))
    asked = replace(context, request=replace(context.request, recipe=recipe))
    known = Accuracy(metric="mine", split="val", images=12, score=0.5)
    digests = [f"{index:02}" for index in range(12)]
    each = known.with_resampled(known.made_of(Means(np.arange(12) % 2)).resample(digests))
    require_intervals(asked, {"val": each})
    require_intervals(context, {"val": known})
    with pytest.raises(ConfigError, match=r"a drop of mine on val has no interval, since it is not"):
        require_intervals(asked, {"val": known})
