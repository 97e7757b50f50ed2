"""From a float model to what a target's compiler takes: a program, fp16, int8 in a scheme, other formats."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from edgeprune.backends import REFERENCE, get_backend
from edgeprune.config.recipe import Recipe
from edgeprune.config.targets import DeviceProfile
from edgeprune.converters.environments import pins_of
from edgeprune.core.artifact import Artifact, Kind, keep_path, kept_path
from edgeprune.core.documents import read_record
from edgeprune.core.errors import ConfigError, OutputError
from edgeprune.core.files import inside, write_text_atomically
from edgeprune.pipeline.context import Build, building, built_in
from edgeprune.quantize import CalibrationSet, packages_of, quantize
from edgeprune.quantize.qdq import TABLE, calibrate
from edgeprune.quantize.schemes import QDQ_SCHEMES, describe
from edgeprune.quantize.selection import images_sha256
from edgeprune.records.summary import Variant

NOT_OF_RANGES = frozenset(("guard", "scheme", "decode", "aware_epochs"))
"""Keys of `quantize` that no activation range depends on."""
CALIBRATION: Final = "calibration.json"
"""The account of an int8 artifact's calibration, beside it in its stage: images, hash, method, scheme."""


@dataclass(frozen=True)
class _Quantized:
    path: str
    kind: Kind


def source(
    context: Build, profile: DeviceProfile, model: Artifact, onnx: Artifact, variant: Variant
) -> Artifact:
    """Return what the target's compiler takes: the ONNX file, or the exported program of the same model."""
    if get_backend(profile.backend).SOURCE == "onnx":
        return onnx
    parts = {"model": model.sha256, "shape": context.spec.batch_shape, "end2end": context.info.end2end}

    def make(out: Path) -> None:
        from edgeprune.export.onnx import export_program

        context.notify("export", 0.0, f"{context.name_of(variant)} to a torch program")
        module = context.adapter.exportable(context.adapter.load(model.path), context.info.end2end)
        export_program(module, context.spec, out)

    def read(place: Path) -> Artifact:
        return Artifact.of(place / "program", "program", "fp32", model.sha256)

    return context.stage("program", parts, make, read, uses=context.of_model)


def scheme_of(recipe: Recipe, profile: DeviceProfile) -> str:
    """Return the int8 scheme of a target: the recipe's, or the one of the target's profile.

    Raises:
        ConfigError: the target's runtime does not read what that scheme writes.
    """
    scheme = recipe.quantize.scheme or profile.scheme
    if scheme not in get_backend(profile.backend).SCHEMES:
        raise ConfigError(
            f"quantize.scheme: {profile.name} runs on {profile.backend}, which does not read what {scheme!r} "
            f"writes; leave it out to take {profile.scheme!r}"
        )
    return scheme


def convert(
    context: Build,
    profile: DeviceProfile,
    precision: str,
    model: Artifact,
    variant: Variant,
    keep: Sequence[str] = (),
) -> Artifact:
    """Return a model in the form that a target's compiler takes at a precision."""
    from edgeprune.quantize.half import wants_fp16

    scheme = scheme_of(context.recipe, profile)
    if precision == "int8":
        model = quantize_model(context, profile, model, variant, scheme, keep)
    half = wants_fp16(precision, scheme, get_backend(profile.backend).HALF_GRAPH)
    return _half(context, model) if half else model


def quantize_model(
    context: Build,
    profile: DeviceProfile,
    model: Artifact,
    variant: Variant,
    scheme: str,
    keep: Sequence[str] = (),
) -> Artifact:
    """Return the int8 form of a model in a scheme, what is not int8 in it in float32.

    Args:
        keep: names of ONNX nodes that stay in float beside those that the scheme leaves there.
    """
    calibration, described = calibrate_model(context, scheme, model)
    decode = context.recipe.quantize.decode
    parts: dict[str, Any] = {
        "model": model.sha256,
        "calibration": described,
        "converter": pins_of(profile.backend),
        **({"keep": sorted(keep)} if keep else {}),
        **({"decode": True} if decode else {}),
    }

    def make(out: Path) -> None:
        name = context.name_of(variant)
        floats = f", {len(keep)} more nodes in float" if keep else ""
        context.notify("quantize", 0.0, f"{name} in scheme {scheme}, {described['count']} images{floats}")
        artifact = quantize(model, scheme, calibration, None if decode else context.adapter, out, keep)
        write_text_atomically(out / CALIBRATION, json.dumps(described, indent=1) + "\n")
        write_text_atomically(
            out / "artifact.json", json.dumps({"path": artifact.path.name, "kind": artifact.kind})
        )
        context.notify("quantize", 1.0, f"{name} in scheme {scheme}")

    def read(place: Path) -> Artifact:
        noted = read_record(_Quantized, place / "artifact.json", OutputError)
        return Artifact.of(inside(place, noted.path, OutputError), noted.kind, "int8", model.sha256)

    return context.stage(f"int8-{scheme}", parts, make, read)


def _half(context: Build, onnx: Artifact) -> Artifact:
    """Return an ONNX file with fp16 in place of float32."""
    from edgeprune.quantize.half import half_precision, to_fp16

    def make(out: Path) -> None:
        to_fp16(onnx, out)

    def read(place: Path) -> Artifact:
        return Artifact.of(place / "model.onnx", "onnx", half_precision(onnx), onnx.sha256)

    return context.stage("fp16", {"onnx": onnx.sha256}, make, read, uses=context.of_runtime(REFERENCE))


def in_format(context: Build, profile: DeviceProfile, onnx: Artifact) -> Artifact:
    """Return the engine of an ONNX file in the format of a target, such as `.ort` for phones."""
    write = get_backend(profile.backend).write_format

    def make(out: Path) -> None:
        if write is None:
            raise ConfigError(f"{profile.name}: format: {profile.backend} does not write {profile.format!r}")
        with building(profile.backend, out):
            keep_path(out, write(onnx, profile.format, out).path.name)

    def read(place: Path) -> Artifact:
        return Artifact.of(kept_path(place), "engine", onnx.precision, onnx.sha256, built_in(place))

    parts = {"onnx": onnx.sha256, "backend": profile.backend, "format": profile.format}
    return context.stage(profile.format, parts, make, read, uses=context.of_runtime(profile.backend))


def calibrate_model(context: Build, scheme: str, onnx: Artifact) -> tuple[CalibrationSet, dict[str, Any]]:
    """Return the calibration of a model in a scheme, its activation ranges read, and an account of it.

    The account is JSON-like and holds all that an int8 file of the model depends on, beside the model.
    """
    recipe = context.recipe
    images = context.calibration_images()
    settings = recipe.quantize
    calibration = CalibrationSet(
        images, context.spec, settings.method, settings.equalise, settings.correct_bias
    )
    described = {
        "scheme": describe(scheme),
        **settings.model_dump(exclude={"images", *NOT_OF_RANGES}),
        "seed": recipe.seed,
        "count": len(images),
        "images_sha256": images_sha256(images),
        "images": [str(image) for image in images],
        "preprocess": context.spec.told(),
        "versions": context.versions(packages_of(scheme)),
    }
    if scheme not in QDQ_SCHEMES:  # the quantizer reads the images itself
        return calibration, described

    def make(out: Path) -> None:
        context.notify(
            "quantize", 0.0, f"activation ranges by {calibration.method or 'minmax'}, {len(images)} images"
        )
        calibrate(onnx, scheme, calibration, out)

    parts = {"onnx": onnx.sha256, "calibration": described}
    table = context.stage("calibration", parts, make, lambda place: place / TABLE)
    return replace(calibration, table=table), described
