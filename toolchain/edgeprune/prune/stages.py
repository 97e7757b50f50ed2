"""The pruning stage of a build: load, cut to the recipe's goal, judge right after surgery, save."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn

from edgeprune.artifact import Artifact, write_text_atomically
from edgeprune.backends import get_backend
from edgeprune.bench.protocol import BenchProfile, build_job, measure, write_inputs
from edgeprune.bench.statistics import latency_ms
from edgeprune.dataset import Dataset
from edgeprune.device import DeviceProfile
from edgeprune.export import export, predictor
from edgeprune.models import ModelAdapter
from edgeprune.preprocess import Preprocess, load_input
from edgeprune.prune.surgery import prune
from edgeprune.quantize import CalibrationSet, quantize
from edgeprune.recipe import Recipe
from edgeprune.runners.local import LocalRunner
from edgeprune.summary import Pruning

LatencyShare = Callable[[nn.Module], float]

# A probe only has to tell 10 % apart: weights do not matter for latency, so nothing is trained in between.
_PROBE = BenchProfile(blocks=2, min_queries=64, min_seconds=2.0, warmup_s=0.5, warmup_cap_s=5.0)
_PROBE_IMAGES = 16


def cut(
    adapter: ModelAdapter,
    original: Artifact,
    dataset: Dataset,
    spec: Preprocess,
    recipe: Recipe,
    step: int,
    share: LatencyShare | None,
    out: Path,
) -> Pruning:
    """Write `out/model.pt` and `out/pruning.json`: the pruned network before any training, and its account.

    Args:
        step: channel step; every pruned width is a multiple of it.
        share: measures a network's latency over the original's on the target, for the `speedup` goal.
    """
    model = adapter.prunable(adapter.load(original.path))
    example = torch.zeros(1, 3, spec.imgsz, spec.imgsz)
    pruned = prune(model, adapter.unprunable, example, recipe.prune, step, recipe.seed, share)
    adapter.save(pruned.model, out / "model.pt")
    accuracy = adapter.evaluate(
        predictor(adapter.exportable(pruned.model)), dataset, "val", spec, adapter.info(model).end2end
    )
    report = pruned.report.model_copy(update={"map50_95_after_surgery": accuracy.map50_95})
    write_text_atomically(out / "pruning.json", report.model_dump_json(indent=1) + "\n")
    return report


def latency_share(
    adapter: ModelAdapter,
    original: Artifact,
    spec: Preprocess,
    dataset: Dataset,
    recipe: Recipe,
    profile: DeviceProfile,
) -> LatencyShare | None:
    """Return a function that measures a network beside the original, in the precision that ships.

    Each call exports, quantises and compiles both networks, then measures them side by side. None when the
    target is not this machine: a latency is measured on its target or not at all.
    """
    if not profile.runs_here:
        return None
    unpruned = adapter.load(original.path)
    info = adapter.info(unpruned)
    images = dataset.sample("val", _PROBE_IMAGES, recipe.seed) + dataset.sample(
        "train", _PROBE_IMAGES, recipe.seed
    )

    def engine(model: nn.Module, out: Path) -> Artifact:
        out.mkdir()
        onnx, _ = export(
            adapter.exportable(model), info, spec, images[:1], recipe.export, "pruned", out / "model.onnx"
        )
        if profile.ship == "int8":
            onnx = quantize(
                onnx, profile.scheme, CalibrationSet(images[:4], spec), adapter, _made(out / "int8")
            )
        return get_backend(profile.backend).compile(onnx, profile, profile.ship, _made(out / "compiled"))

    def share(model: nn.Module) -> float:
        with tempfile.TemporaryDirectory() as folder, LocalRunner() as runner:
            place = Path(folder)
            inputs = write_inputs(
                np.concatenate([load_input(path, spec)[0] for path in images]), place / "inputs.npy"
            )
            # The original is measured again beside each probe: the machine may have changed its pace since.
            models = {"original": unpruned, "pruned": model}
            jobs = [
                build_job(
                    name, engine(net, place / name), profile, threads=recipe.bench.threads, inputs=inputs
                )
                for name, net in models.items()
            ]
            before, after = (latency_ms(result).p50 for result in measure(jobs, _PROBE, runner))
        return after / before

    return share


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder
