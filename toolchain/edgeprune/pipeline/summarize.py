"""From candidates and measurements to the summary: rows, speed-ups, verdict."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from edgeprune.backends import REFERENCE, get_backend, options_for
from edgeprune.bench.side_by_side import speedup
from edgeprune.bench.statistics import achieved_fps, latency_ms
from edgeprune.config.recipe import Recipe
from edgeprune.config.targets import DeviceProfile
from edgeprune.core.artifact import digest
from edgeprune.pipeline.context import SELECTION_SPLIT, Build, Candidate
from edgeprune.pipeline.outputs import device_file
from edgeprune.pipeline.sanity import warnings
from edgeprune.pipeline.verdict import (
    Compare,
    by_medians,
    choose,
    comparison,
    left_open,
    nearest_miss,
    overall_verdict,
    refuse,
    target_verdict,
    ties,
)
from edgeprune.quantize.selection import images_sha256
from edgeprune.records.bench_result import BenchResult
from edgeprune.records.pruning import Pruning
from edgeprune.records.scores import Accuracy
from edgeprune.records.speedup import Speedup
from edgeprune.records.summary import Calibration, ExportCheck, Row, Summary, TargetSummary, data_warnings


def summarize(
    context: Build,
    candidates: list[Candidate],
    results: dict[str, tuple[BenchResult, Path]],
    baseline: dict[str, Accuracy],
    prunings: dict[str, Pruning],
    checks: tuple[ExportCheck, ...],
) -> Summary:
    """Join what was built and measured into the summary, with the verdict and the chosen row.

    Args:
        results: measurement and its file, by the name of the candidate.
        baseline: accuracy of the original in fp32 by split: what every drop is counted from.
        prunings: by target.
    """
    request, recipe = context.request, context.recipe
    rows = [_row(context, entry, results.get(entry.name), baseline) for entry in candidates]
    compare = comparing({name: result for name, (result, _) in results.items()})
    reference = _reference(rows)
    rows = [_compared(row, reference, compare) for row in rows]
    judged = refuse(rows, recipe.budget, compare)
    chosen = choose(judged)
    miss = None if chosen else nearest_miss(judged, recipe.budget)
    silent = left_open(judged, recipe.budget)
    split = context.dataset.report_split
    targets = {
        profile.name: _target(
            profile,
            [row for row in judged if row.target == profile.name],
            split,
            prunings.get(profile.name),
            compare,
            recipe,
        )
        for profile in request.targets
    }
    summary = Summary(
        created_utc=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        command=request.command,
        model=_model(context),
        data=_data(context),
        imgsz=context.spec.imgsz,
        batch=context.spec.batch,
        split=split,
        selection_split=SELECTION_SPLIT,
        budget=recipe.budget.model_dump(),
        bench_profile=recipe.bench.profile,
        threads=recipe.bench.threads,
        targets=targets,
        chosen=chosen,
        verdict=overall_verdict(chosen, judged, miss, compare, silent),
        reference=reference.label if reference else None,
        optimism=chosen.optimism if chosen and split != SELECTION_SPLIT else None,
        tied=ties(chosen, judged, compare),
        nearest_miss=miss,
        unjudged=silent,
        calibration=_calibration(context),
        exports=checks,
        environment=context.testbed.environment,
        versions=dict(sorted(context.store.versions.items())),
        seconds=dict(context.store.seconds),
    )
    found = warnings(summary, {name: result for name, (result, _) in results.items()})
    return summary.model_copy(update={"warnings": (*data_warnings(context.dataset.notes), *found)})


def _model(context: Build) -> dict[str, Any]:
    given = context.request.model
    return {"path": str(given), "sha256": digest(given.file), "family": context.info.family}


def _data(context: Build) -> dict[str, Any]:
    dataset = context.dataset
    return {
        "path": str(context.request.data),
        "names": list(dataset.names),
        "images": {name: len(found) for name, found in dataset.images.items()},
        "skipped": list(dataset.skipped),
    }


def _calibration(context: Build) -> Calibration:
    recipe, images = context.recipe, context.calibration_images()
    return Calibration(
        images=len(images),
        seed=recipe.seed,
        split=recipe.quantize.split,
        list_sha256=hashlib.sha256("\n".join(str(image) for image in images).encode()).hexdigest(),
        images_sha256=images_sha256(images),
        select=recipe.quantize.select,
        method=recipe.quantize.method,
    )


def _row(
    context: Build,
    entry: Candidate,
    measured: tuple[BenchResult, Path] | None,
    baseline: dict[str, Accuracy],
) -> Row:
    out = context.request.out
    drops = {split: accuracy.dropped_from(baseline[split]) for split, accuracy in entry.accuracy.items()}
    reported = drops[context.dataset.report_split]
    row = Row(
        target=entry.profile.name,
        variant=entry.variant,
        imgsz=entry.imgsz,
        resized=entry.resized,
        precision=entry.precision,
        runtime=entry.profile.backend,
        size_mb=entry.artifact.size_bytes / 1e6,
        metric=reported.metric,
        score=reported.score,
        others=reported.others,
        drop=reported.drop,
        drop_interval=reported.drop_interval,
        val=drops[SELECTION_SPLIT],
        per_class=reported.per_class,
        quantized_ops=entry.quantized_ops,
        convolutions=entry.convolutions,
        environment=entry.environment,
        ahead_of_time=entry.ahead_of_time,
        guard=entry.guard,
        placement=entry.placement,
        evaluated=entry.evaluated.relative_to(out).as_posix() if entry.evaluated else None,
        artifact=entry.artifact.path.relative_to(out).as_posix(),
        sha256=entry.artifact.sha256,
        built=entry.artifact.built,
    )
    if measured is None:
        emulated = get_backend(entry.profile.backend).EMULATOR
        return row.model_copy(update={"flags": ("accuracy_emulated" if emulated else "accuracy_on_host",)})
    result, path = measured
    latency = latency_ms(result)
    return row.model_copy(
        update={
            "p50_ms": latency.p50,
            "p90_ms": latency.p90,
            "fps": achieved_fps(result.blocks, result.scenario.batch),
            "peak_mb": result.memory.peak_hwm if result.memory else None,
            "flags": tuple(dict.fromkeys(flag.code for flag in result.flags)),
            "bench": path.relative_to(out).as_posix(),
            "runtime_version": result.backend.version,
            "quantized_ops": _counted(result, entry),
        }
    )


def _counted(result: BenchResult, entry: Candidate) -> int | None:
    """Return the convolutions of an int8 row in integers: those that the device counted, where it could."""
    there: int | None = result.backend.quantized_ops if entry.precision == "int8" else None
    return entry.quantized_ops if there is None else there


def _reference(rows: list[Row]) -> Row | None:
    """Return the row that speed-ups are counted from: the original fp32, on ONNX Runtime if measured."""
    floats = [row for row in rows if row.variant == "original" and row.precision == "fp32" and row.p50_ms]
    return next((row for row in floats if row.runtime == REFERENCE), floats[0] if floats else None)


def comparing(results: Mapping[str, BenchResult]) -> Compare:
    """Return what compares two measured rows by the turns that they took in these results."""

    def compare(before: Row, after: Row) -> Speedup | None:
        found = None
        if before.label in results and after.label in results:
            found = speedup(results[before.label], results[after.label])
        return found or by_medians(before, after)

    return compare


def _compared(row: Row, reference: Row | None, compare: Compare) -> Row:
    """Return a row with its speed-up over the reference, as far as both were measured."""
    gain = compare(reference, row) if reference else None
    return row.model_copy(update={"speedup": gain.times if gain else None, "gain": gain})


def _target(
    profile: DeviceProfile,
    rows: list[Row],
    split: str,
    pruning: Pruning | None,
    compare: Compare,
    recipe: Recipe,
) -> TargetSummary:
    commands: tuple[str, ...] = ()
    by_hand = get_backend(profile.backend).device_commands
    if by_hand and not any(row.built for row in rows):  # an engine that is there needs no commands
        commands = tuple(
            line
            for row in rows
            for line in by_hand(
                device_file(row.variant, row.precision, ".onnx"), options_for(profile, row.precision)
            )
        )
    if pruning:
        floats = (row.val for row in rows if (row.variant, row.precision) == ("pruned", "fp32"))
        recovered = next(floats, None)
        after = recovered.score if recovered else None
        pruning = pruning.model_copy(update={"score_after_recovery": after})
    return TargetSummary(
        profile=profile,
        rows=tuple(rows),
        chosen=choose(rows),
        verdict=target_verdict(rows, compare, left_open(rows, recipe.budget)),
        comparison=comparison(rows, compare) if recipe.bench.compare else None,
        split=split,
        pruning=pruning,
        on_device=commands,
    )
