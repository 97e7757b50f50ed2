"""`build`: the stages in order, each a plain function from artifact to artifact, cached by what goes into it.

original -> (pruned -> finetuned) -> onnx -> int8 or fp16 -> engine -> accuracy -> bench -> verdict
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from typing import Any

from edgeprune.backends import get_backend, require_batch, require_runtimes
from edgeprune.bench.testbed import Testbed, local
from edgeprune.config.targets import DeviceProfile
from edgeprune.converters.environments import python_of
from edgeprune.core.artifact import STAGES, SUMMARY, Artifact, Store, digest, require_own_folder
from edgeprune.core.errors import ConfigError
from edgeprune.core.packages import version_named
from edgeprune.images.size import ImageSize, misfit, size_words
from edgeprune.models.source import choose_adapter
from edgeprune.models.trust import trusting
from edgeprune.pipeline.alternatives import alternatives, smaller_model
from edgeprune.pipeline.context import Build, BuildRequest, Candidate, Notify
from edgeprune.pipeline.convert import scheme_of, source
from edgeprune.pipeline.load import load_data, try_original
from edgeprune.pipeline.measure import measure_rows
from edgeprune.pipeline.mixed_precision import guard_row
from edgeprune.pipeline.outputs import write_outputs
from edgeprune.pipeline.prune import Pruned, prune_targets
from edgeprune.pipeline.rows import export_model
from edgeprune.pipeline.summarize import summarize
from edgeprune.quantize import require_method
from edgeprune.records.summary import ExportCheck, Summary, Variant, save_summary


def build(request: BuildRequest, notify: Notify, testbed: Testbed | None = None) -> Summary:
    """Run every stage that is not there yet, choose a row, and write `summary.json` and `best/`.

    Args:
        testbed: the device that the targets are measured on; this machine by default.

    Raises:
        EdgepruneError: bad input, or a stage that failed; whole stages stay for the next build.
    """
    elsewhere = (profile.name for profile in request.targets)
    require_own_folder(request.out, (SUMMARY, "best", "report.html", "report.md", *elsewhere))
    store = Store(request.out / STAGES)
    with store.locked(), trusting(request.trust):
        original, context = start(request, store, notify, testbed)
        smaller = smaller_model(context) if request.smaller else None
        baseline, context = try_original(context, original)
        candidates: list[Candidate] = []
        checks: dict[str, ExportCheck] = {}
        pruned: Mapping[str, Pruned] = {}
        if request.recipe.prune.enabled:
            pruned = prune_targets(context, original, request.targets, baseline)
        for profile in request.targets:
            models: dict[Variant, Artifact] = {"original": original}
            sizes: dict[Variant, ImageSize] = {"original": context.spec.imgsz}
            if (cut := pruned.get(profile.name)) and cut.model:
                models["pruned"], sizes["pruned"] = cut.model, cut.imgsz
            for variant, model in models.items():
                own = context.at(sizes[variant]).on(profile)
                onnx, check = export_model(own, model, variant)
                checks[onnx.sha256] = check
                taken = source(own, profile, model, onnx, variant)
                candidates += [
                    guard_row(own, profile, variant, precision, taken, onnx, baseline)
                    for precision in profile.precisions
                ]
        if request.recipe.bench.compare:
            rivals, more = alternatives(context, original, smaller, candidates)
            candidates += rivals
            checks |= more
        results = measure_rows(
            context, [entry for entry in candidates if context.testbed.measures(entry.profile)]
        )
        prunings = {name: one.report for name, one in pruned.items()}
        summary = summarize(context, candidates, results, baseline, prunings, tuple(checks.values()))
        write_outputs(context, candidates, summary)
        save_summary(summary, request.out)
    return summary


def _evaluated_nowhere(profile: DeviceProfile, bed: Testbed) -> bool:
    """Whether only the device evaluates a target's engine, and it is not there."""
    return (profile.compile_on, profile.evaluate_on) == ("host", "device") and not bed.measures(profile)


def start(
    request: BuildRequest, store: Store, notify: Notify, testbed: Testbed | None = None
) -> tuple[Artifact, Build]:
    """Check the request, and return the original as an artifact with what every stage sees.

    Args:
        testbed: the device that the targets are measured on; this machine by default.

    Raises:
        EdgepruneError: what is asked for cannot be made here, or an input is bad.
    """
    if request.recipe.bench.compare and not request.recipe.prune.enabled:
        raise ConfigError(
            "bench.compare: pruning is off, so there is nothing to compare; drop --compare or --no-prune"
        )
    bed = testbed or local()
    if absent := [profile.name for profile in request.targets if _evaluated_nowhere(profile, bed)]:
        raise ConfigError(
            f"{', '.join(absent)}: evaluate_on: its accuracy is measured on the device, which is not here: "
            "name it, such as --device ssh://user@host, or write evaluate_on: host"
        )
    require_runtimes(request.targets)
    for profile in request.targets:
        if "int8" in profile.precisions:
            require_method(scheme_of(request.recipe, profile), request.recipe.quantize.method)
        require_batch(profile, request.recipe.batch)
        if get_backend(profile.backend).CONVERTER:
            python_of(profile.backend)  # a converter that is missing ends here, not after hours of training
    notify("load", 0.0, str(request.model))
    for words in request.model.notices:
        notify("load", 0.0, words)
    adapter = choose_adapter(request.model, request.recipe)
    model = adapter.load(request.model.file, request.trust)
    info = adapter.info(model)
    imgsz = request.recipe.imgsz or info.imgsz
    if imgsz is None:
        raise ConfigError(f"{request.model}: the checkpoint does not tell its input size; give --imgsz")
    if wrong := misfit(imgsz, info.stride):
        raise ConfigError(f"imgsz: {wrong}")
    if request.recipe.export.embed:
        from edgeprune.export.embed import check

        check(request.recipe.export.embed, info.postprocess, request.targets, request.recipe.batch)
    dataset = load_data(request, adapter, info, store, notify)
    parts: dict[str, Any] = {"model": digest(request.model.file), "architecture": request.model.architecture}
    if not info.is_named:
        vars(model)["names"] = parts["names"] = list(dataset.names)
        info = adapter.info(model)
    spec = replace(adapter.preprocess(imgsz), batch=request.recipe.batch)
    context = Build(request, store, adapter, notify, dataset, info, spec, cache(version_named), bed)
    # Later stages, ultralytics' trainer among them, only ever read this copy, written by edgeprune itself.
    original = context.stage(
        "original",
        parts,
        lambda out: adapter.save(model, out / "model.pt"),
        lambda place: context.network(place / "model.pt"),
        uses=context.of_model,
    )
    notify("load", 1.0, f"{info.family}, {len(info.names)} classes, {size_words(imgsz)}")
    return original, context
