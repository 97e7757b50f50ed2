"""The stages from a model to its rows: export, quantise, compile, evaluate. Cached by what goes into each."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgeprune.artifact import Artifact, write_text_atomically
from edgeprune.backends import get_backend, options_for
from edgeprune.bench.protocol import reference_outputs, write_reference
from edgeprune.build import Build, Candidate
from edgeprune.device import DeviceProfile
from edgeprune.errors import ConfigError
from edgeprune.quantize import SCHEMES, CalibrationSet, is_qdq, quantize
from edgeprune.summary import Accuracy, ExportCheck, Variant, variant_name
from edgeprune.timing import bench_images, tuned


def exported(context: Build, model: Artifact, variant: Variant) -> tuple[Artifact, ExportCheck]:
    """Return the model as ONNX, simplified, and how far it is from torch on real images."""
    from edgeprune.export import export

    images = context.dataset.sample("val", context.recipe.export.check_images, context.recipe.seed)
    inputs = {
        "model": model.sha256,
        "variant": variant,
        "imgsz": context.spec.imgsz,
        "export": context.recipe.export.model_dump(),
        "images": [str(image) for image in images],
        "versions": context.using("torch", "ultralytics", "onnx", "onnxsim"),
    }

    def make(out: Path) -> None:
        name = variant_name(variant, context.spec.imgsz)
        context.notify("export", 0.0, f"{name} to ONNX")
        module = context.adapter.exportable(context.adapter.load(model.path))
        _, check = export(
            module, context.info, context.spec, images, context.recipe.export, variant, out / "model.onnx"
        )
        write_text_atomically(out / "check.json", check.model_dump_json())
        boxes = "" if check.box_px is None else f"{check.box_px:.2g} px, "
        context.notify("export", 1.0, f"{name}: {boxes}{check.score:.2g} in score from torch")

    place = context.store.stage("onnx", inputs, make)
    check = ExportCheck.model_validate_json((place / "check.json").read_text(encoding="utf-8"))
    check = check.model_copy(update={"imgsz": context.spec.imgsz})
    return Artifact.of(place / "model.onnx", "onnx", "fp32", model.sha256), check


def candidate(
    context: Build,
    profile: DeviceProfile,
    variant: Variant,
    precision: str,
    onnx: Artifact,
    keep: Sequence[str] = (),
) -> Candidate:
    """Return the row of a model on a target: converted, compiled and evaluated, not yet timed.

    Args:
        keep: names of ONNX nodes that an int8 row leaves in float beside those that its scheme does.
    """
    artifact, where, accuracy = assessed(context, profile, variant, precision, onnx, keep)
    if profile.built_on == "device":
        return Candidate(profile, variant, context.spec.imgsz, precision, artifact, accuracy)
    ops = json.loads((where / "quantized_ops.json").read_text(encoding="utf-8"))
    environment = tuned(context, profile, artifact)
    return Candidate(
        profile,
        variant,
        context.spec.imgsz,
        precision,
        artifact,
        accuracy,
        ops,
        where / "reference.npz",
        environment,
    )


def assessed(
    context: Build,
    profile: DeviceProfile,
    variant: Variant,
    precision: str,
    onnx: Artifact,
    keep: Sequence[str] = (),
) -> tuple[Artifact, Path, dict[str, Accuracy]]:
    """Return the engine of a row, the folder of its evaluation and its accuracies.

    For a target that is built on the device it is the file for that build; its arithmetic is measured on this
    host, its latency can only be measured there.
    """
    onnx = converted(context, profile, precision, onnx, variant, keep)
    if profile.built_on == "device":
        return onnx, *evaluated(context, "onnxruntime", {}, onnx, precision)
    engine = compiled(context, profile, variant, precision, onnx)
    return engine, *evaluated(context, profile.backend, options_for(profile, precision), engine, precision)


def compiled(
    context: Build, profile: DeviceProfile, variant: Variant, precision: str, model: Artifact
) -> Artifact:
    """Return the engine of a converted model."""
    inputs = {
        "artifact": model.sha256,
        "precision": precision,
        "backend": profile.backend,
        "options": options_for(profile, precision),
        "versions": context.using(profile.backend),
    }
    backend = get_backend(profile.backend)

    def make(out: Path) -> None:
        name = variant_name(variant, context.spec.imgsz)
        context.notify("compile", 0.0, f"{profile.name} {name} {precision}")
        engine = backend.compile(model, profile, precision, out)
        write_text_atomically(out / "engine.json", json.dumps({"path": engine.path.name}))

    place = context.store.stage("engine", inputs, make)
    name = json.loads((place / "engine.json").read_text(encoding="utf-8"))["path"]
    return Artifact.of(place / name, "engine", precision, model.sha256)


def scheme_of(context: Build, profile: DeviceProfile) -> str:
    """Return the int8 scheme of a target: the recipe's, or the one of the target's profile.

    Raises:
        ConfigError: the target's runtime does not read what that scheme writes.
    """
    scheme = context.recipe.quantize.scheme or profile.scheme
    fits = SCHEMES[scheme] == SCHEMES[profile.scheme] or (is_qdq(scheme) and profile.backend == "openvino")
    if not fits:
        raise ConfigError(
            f"quantize.scheme: {profile.name} runs on {profile.backend}, which does not read what {scheme!r} "
            f"writes; leave it out to take {profile.scheme!r}"
        )
    return scheme


def converted(
    context: Build,
    profile: DeviceProfile,
    precision: str,
    onnx: Artifact,
    variant: Variant,
    keep: Sequence[str] = (),
    scheme: str | None = None,
) -> Artifact:
    """Return a model in the form that a target's compiler takes at a precision.

    Args:
        scheme: of int8, instead of the target's own.
    """
    if precision == "fp16":
        return _half(context, onnx)
    if precision != "int8":
        return onnx
    scheme = scheme or scheme_of(context, profile)
    images = context.calibration_images()
    settings = context.recipe.quantize
    inputs: dict[str, Any] = {
        "onnx": onnx.sha256,
        "scheme": scheme,
        "images": [str(image) for image in images],
        "data": context.dataset.fingerprint(settings.split),
        "versions": context.using("onnx", "onnxruntime", "openvino", "nncf"),
        **({"keep": sorted(keep)} if keep else {}),
        **({"decode": True} if settings.decode else {}),
    }

    def make(out: Path) -> None:
        name = variant_name(variant, context.spec.imgsz)
        floats = f", {len(keep)} nodes in float" if keep else ""
        context.notify("quantize", 0.0, f"{name} in scheme {scheme}, {len(images)} images{floats}")
        calibration = CalibrationSet(images, context.spec)
        adapter = None if settings.decode else context.adapter
        artifact = quantize(onnx, scheme, calibration, adapter, out, keep)
        write_text_atomically(out / "artifact.json", json.dumps({"path": artifact.path.name}))
        context.notify("quantize", 1.0, f"{name} in scheme {scheme}")

    place = context.store.stage(f"int8-{scheme}", inputs, make)
    name = json.loads((place / "artifact.json").read_text(encoding="utf-8"))["path"]
    return Artifact.of(place / name, "onnx", "int8", onnx.sha256)


def _half(context: Build, onnx: Artifact) -> Artifact:
    from edgeprune.quantize.half import to_fp16

    def make(out: Path) -> None:
        to_fp16(onnx, out)

    inputs = {"onnx": onnx.sha256, "versions": context.using("onnxruntime")}
    place = context.store.stage("fp16", inputs, make)
    return Artifact.of(place / "model.onnx", "onnx", "fp16", onnx.sha256)


def evaluated(
    context: Build, backend_name: str, options: dict[str, str], engine: Artifact, precision: str
) -> tuple[Path, dict[str, Accuracy]]:
    """Return the folder of an engine's evaluation, its outputs in it as reference, and its accuracies."""
    backend = get_backend(backend_name)
    inputs = {
        "engine": engine.sha256,
        "precision": precision,
        "options": options,
        "imgsz": context.spec.imgsz,
        "data": {split: context.dataset.fingerprint(split) for split in context.splits},
        "versions": context.using(backend_name, "ultralytics"),
    }

    def make(out: Path) -> None:
        session = backend.load(engine.path, precision, context.recipe.bench.threads, options)
        for index, split in enumerate(context.splits):
            context.notify("evaluate", index / len(context.splits), f"{backend_name} {precision} on {split}")
            accuracy = context.adapter.evaluate(
                session, context.dataset, split, context.spec, context.info.end2end
            )
            write_text_atomically(out / f"{split}.json", accuracy.model_dump_json())
        ops = backend.quantized_ops(engine.path) if precision == "int8" else None
        write_text_atomically(out / "quantized_ops.json", json.dumps(ops))
        write_reference(reference_outputs(session, bench_images(context)), out / "reference.npz")
        context.notify("evaluate", 1.0, f"{backend_name} {precision}")

    place = context.store.stage("accuracy", inputs, make)
    return place, {
        split: Accuracy.model_validate_json((place / f"{split}.json").read_text(encoding="utf-8"))
        for split in context.splits
    }
