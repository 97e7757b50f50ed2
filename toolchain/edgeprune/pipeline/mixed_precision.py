"""The accuracy guard as stages: the sensitivity of every layer, then the choice of what stays in float."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from edgeprune.backends import REFERENCE, get_backend, options_for
from edgeprune.bench.compiling import compile_for
from edgeprune.bench.node_times import node_times
from edgeprune.config.targets import DeviceProfile
from edgeprune.core.artifact import Artifact
from edgeprune.core.files import write_text_atomically
from edgeprune.images.heads import HEADS
from edgeprune.images.preprocess import load_input
from edgeprune.pipeline.context import SELECTION_SPLIT, Build, Candidate, reader_of
from edgeprune.pipeline.convert import quantize_model, scheme_of
from edgeprune.pipeline.evaluate import evaluate_engine
from edgeprune.pipeline.guard import Mix, rank_mixes, search
from edgeprune.pipeline.measure import bench_images
from edgeprune.pipeline.rows import assess, candidate
from edgeprune.pipeline.sensitivity import unit_ms
from edgeprune.quantize import FALLBACK_OF
from edgeprune.quantize.schemes import QDQ_SCHEMES
from edgeprune.quantize.units import Unit, constants_of, int8_units, only_int8, units_of
from edgeprune.records.scores import Accuracy
from edgeprune.records.sensitivity import Guard, LayerSensitivity
from edgeprune.records.summary import Variant

IMAGES = 16
PATIENCE = 5
LITTLE = 0.1
"""A layer matters if it costs more than this share of the budget; the others end the evaluations."""
PROXY = "ort-u8s8"
"""Where a scheme writes no Q/DQ graph to take apart, the layers are ranked in this one."""


def guard_row(
    context: Build,
    profile: DeviceProfile,
    variant: Variant,
    precision: str,
    model: Artifact,
    onnx: Artifact,
    baseline: Mapping[str, Accuracy],
) -> Candidate:
    """Return the row of a model on a target as `candidate` does, an int8 row within `budget.max_drop` on val.

    It has layers in float if it needs them. A row of another precision, one that keeps to the budget, one of
    a model that misses it in float already, and any row with `pipeline.guard` off is as it is without the
    guard.

    Args:
        context, model: as `candidate` has them.
        onnx: the same network as an ONNX file, whose nodes every quantizer knows layers by.
        baseline: accuracy of the original in float, which drops are counted from.
    """
    settings = context.recipe
    row = partial(candidate, context, profile, variant, precision, model)
    if precision != "int8" or not settings.quantize.guard:
        return row()
    name = f"{profile.name} {context.name_of(variant)} {precision}"
    score, budget = baseline[SELECTION_SPLIT].score, settings.budget.max_drop
    engine, _, accuracy = assess(context, profile, variant, precision, model)
    before = accuracy[SELECTION_SPLIT].dropped_from(baseline[SELECTION_SPLIT])
    budget -= before.counted_drop(settings.budget.sure) - (score - before.score)  # so much larger it may be
    if score - before.score <= budget:
        return row()
    context.notify("guard", 0.0, f"{name}: {before.metric} drops by {score - before.score:.4f} on val")
    plain = evaluate_engine(context, REFERENCE, {}, onnx, "fp32")[1][SELECTION_SPLIT].score
    if score - plain > budget:
        context.notify("guard", 1.0, f"{name}: so it does in float, by {score - plain:.4f}")
        return row()
    layers = sensitivities(context, profile, variant, onnx, engine, plain)
    nodes = {layer.layer: layer.nodes for layer in layers}
    fallback = FALLBACK_OF.get(scheme_of(settings, profile), "float")
    choosing = replace(context, choosing=True)

    def keep(mix: Mix) -> list[str]:
        return [node for name in mix.floats for node in nodes[name]]

    def measured(mix: Mix) -> float:
        found = assess(choosing, profile, variant, precision, model, keep(mix))[2]
        drop = score - found[SELECTION_SPLIT].score
        count = len(mix.floats)
        told = f"{count} layer{'s' * (count != 1)} in {fallback}: drops by {drop:.4f}"
        context.notify("guard", 0.5, told)
        return drop

    mix, tries = search(rank_mixes(layers), budget, measured)
    context.notify("guard", 1.0, f"{name}: {len(mix.floats)} of {len(layers)} layers stay in {fallback}")
    found = row(keep(mix))
    report = Guard(
        fallback=fallback,
        metric=before.metric,
        score_before=before.score,
        drop_before=score - before.score,
        drop_after=score - found.accuracy[SELECTION_SPLIT].score,
        floats=mix.floats,
        tries=tries,
        layers=layers,
    )
    return replace(found, guard=report)


def sensitivities(
    context: Build, profile: DeviceProfile, variant: Variant, onnx: Artifact, engine: Artifact, score: float
) -> tuple[LayerSensitivity, ...]:
    """Return what int8 costs and brings in each layer of an int8 row, the greatest error first.

    The cost is that of int8 in this layer alone, all others in float: where several layers ruin the network
    each by itself, giving one of them back to float shows nothing. All are ranked by the error of the outputs
    on a few images; in this order they are evaluated on val, until several in a row cost next to nothing.
    Each is a stage of its own, so that a killed run goes on where it was.

    Args:
        onnx: the row's model in float; `score` is its own on val.
        engine: of the row, all in int8.
    """
    import onnx as onnx_package

    scheme = scheme_of(context.recipe, profile)
    source = quantize_model(context, profile, onnx, variant, scheme if scheme in QDQ_SCHEMES else PROXY)
    model, original = onnx_package.load(source.path), onnx_package.load(onnx.path)
    layers = int8_units(units_of(original), model.graph)
    floats = constants_of(original)
    parts = _Parts(context, onnx, source, lambda unit: only_int8(model, floats, unit))
    errors = parts.errors(layers)
    drops = parts.drops(sorted(layers, key=lambda unit: -errors[unit.name]), score)
    times = _times(context, profile, onnx, engine, layers)
    found = [
        LayerSensitivity(
            layer=unit.name,
            nodes=unit.nodes,
            error=errors[unit.name],
            drop=drops.get(unit.name),
            float_ms=times.get(unit.name, (None, None))[0],
            int8_ms=times.get(unit.name, (None, None))[1],
        )
        for unit in layers
    ]
    ranked = tuple(sorted(found, key=lambda layer: -layer.error))
    text = json.dumps([layer.model_dump() for layer in ranked], indent=1)

    def make(out: Path) -> None:
        write_text_atomically(out / "sensitivity.json", text + "\n")

    return context.stage("sensitivity", {"engine": engine.sha256, "layers": text}, make, lambda _: ranked)


class _Parts:
    """The Q/DQ graph with one layer at a time in int8, run by ONNX Runtime."""

    def __init__(self, context: Build, onnx: Artifact, source: Artifact, part: Callable[[Unit], Any]) -> None:
        self.context, self.onnx, self.source, self.part = context, onnx, source, part
        self.backend = get_backend(REFERENCE)

    def errors(self, layers: Sequence[Unit]) -> dict[str, float]:
        """Return the error of the outputs for each layer, on a few images of val."""
        context = self.context
        images = context.dataset.sample(SELECTION_SPLIT, IMAGES, context.recipe.seed)
        inputs = [load_input(image, context.spec)[0] for image in images]
        plain = self._load(self.onnx.path)
        reference = [plain(image) for image in inputs]
        known = {"images": [str(image) for image in images]}

        def error(session: Any) -> float:
            pairs = zip(inputs, reference, strict=True)
            post = context.info.postprocess
            head = HEADS[post.head]
            return float(np.mean([head.error(session(image), wanted, post) for image, wanted in pairs]))

        return {
            unit.name: self._stage("layer-error", unit, known, error)
            for unit in self._shown("errors", layers)
        }

    def drops(self, ranked: Sequence[Unit], reference: float) -> dict[str, float]:
        """Return the drops on val of the layers that matter, the first of a ranking."""
        context = self.context
        little = LITTLE * context.recipe.budget.max_drop

        def score(session: Any) -> float:
            return context.adapter.evaluate(
                session, context.dataset, SELECTION_SPLIT, context.spec, context.info.postprocess
            ).score

        drops: dict[str, float] = {}
        for unit in self._shown("drops", ranked):
            drops[unit.name] = reference - self._stage("layer-score", unit, {}, score)
            last = list(drops.values())[-PATIENCE:]
            if len(last) == PATIENCE and max(last) < little:
                break
        return drops

    def _shown(self, what: str, layers: Sequence[Unit]) -> Any:
        """Yield the layers and tell how many of them are done."""
        for index, unit in enumerate(layers):
            self.context.notify(what, index / len(layers), f"layer {index + 1} of {len(layers)}: {unit.name}")
            yield unit

    def _stage(
        self, name: str, unit: Unit, more: Mapping[str, Any], measure: Callable[[Any], float]
    ) -> float:
        context = self.context
        parts = {
            "onnx": self.onnx.sha256,
            "source": self.source.sha256,
            "nodes": unit.nodes,
            "imgsz": context.spec.imgsz,
            "data": context.dataset.fingerprint(SELECTION_SPLIT),
            **more,
        }

        def make(out: Path) -> None:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "model.onnx"
                path.write_bytes(self.part(unit).SerializeToString())
                write_text_atomically(out / "value.json", json.dumps(measure(self._load(path))))

        uses = (*context.of_runtime(REFERENCE), *context.of_model)
        return context.stage(name, parts, make, reader_of(float, "value.json"), uses=uses)

    def _load(self, path: Path) -> Any:
        return self.context.load(self.backend, path, "int8", {})


def _times(
    context: Build, profile: DeviceProfile, onnx: Artifact, int8: Artifact, layers: Sequence[Unit]
) -> dict[str, tuple[float, float]]:
    """Return each layer's milliseconds in the float and the int8 engine; nothing where no runtime tells.

    The float engine runs with the options of the int8 one: so do the layers that stay in float in it.
    """
    if not context.testbed.measures(profile) or get_backend(profile.backend).count_nodes is None:
        return {}
    options, threads = options_for(profile, "int8"), context.recipe.bench.threads
    parts = {
        "onnx": onnx.sha256,
        "int8": int8.sha256,
        "layers": [unit.nodes for unit in layers],
        "options": options,
        "threads": threads,
    }

    def make(out: Path) -> None:
        context.notify("times", 0.0, "of the layers")
        images = bench_images(context)
        with tempfile.TemporaryDirectory() as folder:
            engine = compile_for(context.testbed, profile, onnx, "int8", Path(folder))
            both = [
                unit_ms(
                    node_times(one, profile, threads, context.spec, context.testbed, images=images).nodes,
                    layers,
                )
                for one in (engine, int8)
            ]
        pairs = {unit.name: [ms[unit.name] for ms in both] for unit in layers}
        write_text_atomically(out / "times.json", json.dumps(pairs))

    read = reader_of(dict[str, tuple[float, float]], "times.json")
    compiled = context.of_runtime(profile.backend)
    return context.stage("layer-times", parts, make, read, uses=compiled, times=(profile.backend,))
