"""What could be run instead of pruning: the original at a smaller input, a smaller model of the family.

They are built and measured like any row, near the latency of the pruned one, and are never chosen.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import isqrt

from edgeprune.bench.side_by_side import speedup
from edgeprune.config.targets import DeviceProfile
from edgeprune.core.artifact import Artifact, digest
from edgeprune.core.errors import ConfigError
from edgeprune.images.size import ImageSize, sides, size_at
from edgeprune.pipeline.context import Build, Candidate
from edgeprune.pipeline.convert import source
from edgeprune.pipeline.measure import measure_rows
from edgeprune.pipeline.rows import candidate, export_model
from edgeprune.records.summary import ExportCheck, Variant

MOST_SIZES = 3


@dataclass(frozen=True)
class Alternative:
    """A model to compare with, and the build as it is for that model: its input size, its classes."""

    variant: Variant
    model: Artifact
    context: Build


def smaller_model(context: Build) -> Alternative:
    """Load the smaller model that the request names, at the input size that it was trained for.

    Raises:
        ConfigError: it finds other classes, or does another task.
        ModelError: it cannot be read.
    """
    path, adapter = context.request.smaller, context.adapter
    assert path is not None
    model = adapter.load(path, context.request.trust)
    info = adapter.info(model)
    if (info.task, info.names) != (context.info.task, context.info.names):
        raise ConfigError(
            f"--smaller {path}: it was trained for {info.task} of {', '.join(info.names)}, "
            f"not for {context.info.task} of {', '.join(context.info.names)}: train it on the same data"
        )
    smaller = context.stage(
        "smaller",
        {"model": digest(path)},
        lambda out: adapter.save(model, out / "model.pt"),
        lambda place: context.network(place / "model.pt"),
        uses=context.of_model,
    )
    own = replace(context, info=info).at(info.imgsz or context.spec.imgsz)
    return Alternative("smaller", smaller, own)


def alternatives(
    context: Build, original: Artifact, smaller: Alternative | None, candidates: list[Candidate]
) -> tuple[list[Candidate], dict[str, ExportCheck]]:
    """Return the alternatives to pruning in the precision that ships, and their export checks by ONNX digest.

    Args:
        candidates: rows of the original and the pruned models; those that tell the input sizes near the
            pruned model's latency are timed briefly.
    """
    profiles = [profile for profile in context.request.targets if context.testbed.measures(profile)]
    ships = [entry for entry in candidates if entry.profile in profiles and _ships(entry)]
    results = {name: result for name, (result, _) in measure_rows(context, ships, "quick").items()}
    rows: list[Candidate] = []
    checks: dict[str, ExportCheck] = {}
    for profile in profiles:
        own = {entry.variant: results[entry.name] for entry in ships if entry.profile == profile}
        gain = speedup(own["original"], own["pruned"]) if "pruned" in own else None
        sizes = sizes_near(context.spec.imgsz, context.info.stride, 1 / gain.times if gain else 1.0)
        rivals = [Alternative("resized", original, context.at(size)) for size in sizes]
        for rival in [*rivals, *([smaller] if smaller else [])]:
            row, onnx, check = _row(rival, profile)
            rows.append(row)
            checks[onnx] = check
    return rows, checks


def sizes_near(imgsz: ImageSize, stride: int, share: float) -> tuple[ImageSize, ...]:
    """Return up to three smaller input sizes, the largest first, near the one that takes `share` of the time.

    The time of a convolutional network goes about with the area of its input; what does not shrink with it
    makes the small ones slower than that, so that one size below the estimate is among them.

    Args:
        imgsz: size of the input that the time is a share of, in pixels; of its sides the shorter one is
            stepped down, and the other one follows.
        stride: every size is a multiple of it.
    """
    steps = min(sides(imgsz)) // stride
    reached = min(isqrt(int(steps * steps * share)), steps)
    last = max(1, reached - 1)
    first = min(steps - 1, last + MOST_SIZES - 1)
    return tuple(size_at(imgsz, stride, step) for step in range(first, last - 1, -1))


def _ships(entry: Candidate) -> bool:
    return entry.precision == entry.profile.ship


def _row(rival: Alternative, profile: DeviceProfile) -> tuple[Candidate, str, ExportCheck]:
    context = rival.context.on(profile)
    onnx, check = export_model(context, rival.model, rival.variant)
    taken = source(context, profile, rival.model, onnx, rival.variant)
    return candidate(context, profile, rival.variant, profile.ship, taken), onnx.sha256, check
