"""The accuracy guard on a real detector that was quantized as badly as it can be."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeprune.config.recipe import load_recipe
from edgeprune.config.targets import resolve_targets
from edgeprune.core.artifact import Artifact, Store
from edgeprune.core.errors import ConfigError
from edgeprune.images.demo import digits_model, render
from edgeprune.models.source import ModelSource
from edgeprune.pipeline import mixed_precision as guarding
from edgeprune.pipeline.build import start
from edgeprune.pipeline.context import Build, BuildRequest, Candidate
from edgeprune.pipeline.evaluate import evaluate_engine
from edgeprune.pipeline.mixed_precision import guard_row
from edgeprune.pipeline.rows import candidate, export_model
from edgeprune.records.scores import Accuracy
from edgeprune.records.sensitivity import Guard

HOST = {profile.backend: profile for profile in resolve_targets(("cpu",))}
BAD = ("quantize.scheme=ort-s8s8", "quantize.decode=true", "quantize.images=16", "prune.enabled=false")


class _Stopped(Exception):
    """Stands for a build that is killed."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return render(tmp_path_factory.mktemp("digits") / "data", {"train": 16, "val": 20})


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a build folder of all tests here: the export, int8 and their accuracies are made in it once."""
    return tmp_path_factory.mktemp("guarded") / "build"


class Opened:
    """A build folder, opened again and again as by one process after the other."""

    def __init__(self, data: Path, out: Path, backend: str, *assignments: str) -> None:
        self.store = Store(out / "stages")
        self.store.root.mkdir(parents=True, exist_ok=True)
        self.told: list[str] = []
        self.stop_at = ""
        request = BuildRequest(
            model=ModelSource(digits_model()),
            data=data,
            targets=(HOST[backend].model_copy(update={"environments": {}}),),  # nothing is tuned
            recipe=load_recipe(None, assignments),
            out=out,
            command="edgeprune",
        )
        self.original, self.context = start(request, self.store, self.notify)

    def notify(self, stage: str, share: float, text: str) -> None:
        self.told.append(f"{stage}: {text}")
        if self.stop_at and self.stop_at in self.told[-1]:
            raise _Stopped

    def rows(self) -> tuple[Build, Candidate, Artifact, dict[str, Accuracy]]:
        onnx, _ = export_model(self.context, self.original, "original")
        baseline = evaluate_engine(self.context, "onnxruntime", {}, onnx, "fp32")[1]
        row = candidate(self.context, self.context.request.targets[0], "original", "int8", onnx)
        return self.context, row, onnx, baseline


def _guarded(context: Build, onnx: Artifact, baseline: dict[str, Accuracy]) -> Candidate:
    return guard_row(context, context.request.targets[0], "original", "int8", onnx, onnx, baseline)


def test_a_network_that_int8_ruined_is_recovered_and_its_float_layers_are_named(
    data: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All layers S8S8 and the decode in int8 too: mAP 0. The guard is stopped on its way and goes on."""
    monkeypatch.setattr(guarding, "IMAGES", 4)
    opened = Opened(data, out, "openvino", *BAD)
    context, row, onnx, baseline = opened.rows()
    assert baseline["val"].score > 0.5 and row.accuracy["val"].score < 0.01
    opened.stop_at = "errors: layer 30 of"
    with pytest.raises(_Stopped):
        _guarded(context, onnx, baseline)

    opened = Opened(data, out, "openvino", *BAD)
    context, row, onnx, baseline = opened.rows()
    found = _guarded(context, onnx, baseline)
    assert opened.store.reused.count("layer-error") == 29
    assert baseline["val"].score - found.accuracy["val"].score <= context.recipe.budget.max_drop
    assert found.guard and found.guard.drop_before > 0.5
    floats = {layer.layer for layer in found.guard.layers if layer.layer in found.guard.floats}
    joined = max(found.guard.layers, key=lambda layer: layer.drop or 0)
    assert joined.layer in floats and joined.layer.startswith("/model.22/Concat")
    assert 0 < len(floats) < len(found.guard.layers)
    assert found.quantized_ops and found.quantized_ops > 30, "most convolutions are still int8"
    assert sum(layer.gained_ms or 0 for layer in found.guard.layers) > 0
    assert Guard.model_validate_json(found.guard.model_dump_json()) == found.guard
    assert any("in float: drops by" in text for text in opened.told)


def test_a_row_that_holds_or_a_guard_that_is_off_is_left_alone(data: Path, out: Path) -> None:
    opened = Opened(data, out, "openvino", *BAD, "quantize.guard=false")
    context, row, onnx, baseline = opened.rows()
    assert _guarded(context, onnx, baseline) == row
    opened = Opened(data, out, "openvino", *BAD, "budget.max_drop=1")
    context, row, onnx, baseline = opened.rows()
    assert _guarded(context, onnx, baseline) == row


def test_a_model_that_misses_the_budget_in_float_is_left_alone(data: Path, out: Path) -> None:
    opened = Opened(data, out, "openvino", *BAD)
    context, row, onnx, baseline = opened.rows()
    better = {split: one.model_copy(update={"score": one.score + 0.02}) for split, one in baseline.items()}
    assert _guarded(context, onnx, better) == row
    assert opened.told[-1].endswith("so it does in float, by 0.0200")


def test_a_scheme_that_the_runtime_does_not_read_is_refused(data: Path, out: Path) -> None:
    with pytest.raises(ConfigError, match=r"quantize.scheme: .* does not read what 'nncf' writes"):
        Opened(data, out, "onnxruntime", "quantize.scheme=nncf")
