"""The stages from a model to its rows: export, quantise, compile, evaluate. Cached by what goes into each."""

from __future__ import annotations

import json
from pathlib import Path

from edgeprune.artifact import Artifact, write_text_atomically
from edgeprune.backends import get_backend, options_for
from edgeprune.bench.protocol import reference_outputs, write_reference
from edgeprune.build import Build, Candidate
from edgeprune.device import DeviceProfile
from edgeprune.isolated import pins_of
from edgeprune.quantize import CalibrationSet, quantize
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


def source(
    context: Build, profile: DeviceProfile, model: Artifact, onnx: Artifact, variant: Variant
) -> Artifact:
    """Return what the target's compiler takes: the ONNX file, or the exported program of the same model."""
    if get_backend(profile.backend).SOURCE == "onnx":
        return onnx
    inputs = {
        "model": model.sha256,
        "imgsz": context.spec.imgsz,
        "versions": context.using("torch", "ultralytics"),
    }

    def make(out: Path) -> None:
        from edgeprune.export import export_program

        context.notify("export", 0.0, f"{variant_name(variant, context.spec.imgsz)} to a torch program")
        module = context.adapter.exportable(context.adapter.load(model.path))
        export_program(module, context.spec, out)

    place = context.store.stage("program", inputs, make)
    return Artifact.of(place / "program", "program", "fp32", model.sha256)


def candidate(
    context: Build, profile: DeviceProfile, variant: Variant, precision: str, model: Artifact
) -> Candidate:
    """Return the row of a model on a target: converted, compiled and evaluated, not yet timed.

    Args:
        model: what `source` gives for the target.
    """
    converted = _converted(context, profile, precision, model, variant)
    if profile.built_on == "device":
        # The file's arithmetic is measured on this host; its latency can only be measured on the device.
        accuracy = evaluated(context, "onnxruntime", {}, converted, precision)[1]
        return Candidate(profile, variant, context.spec.imgsz, precision, converted, accuracy)
    inputs = {
        "artifact": converted.sha256,
        "precision": precision,
        "backend": profile.backend,
        "options": options_for(profile, precision),
        "versions": context.using(profile.backend),
        "converter": pins_of(profile.backend),
    }
    backend = get_backend(profile.backend)

    def make(out: Path) -> None:
        name = variant_name(variant, context.spec.imgsz)
        context.notify("compile", 0.0, f"{profile.name} {name} {precision}")
        engine = backend.compile(converted, profile, precision, out)
        write_text_atomically(out / "engine.json", json.dumps({"path": engine.path.name}))

    place = context.store.stage("engine", inputs, make)
    name = json.loads((place / "engine.json").read_text(encoding="utf-8"))["path"]
    engine = Artifact.of(place / name, "engine", precision, converted.sha256)
    where, accuracy = evaluated(context, profile.backend, options_for(profile, precision), engine, precision)
    ops = json.loads((where / "quantized_ops.json").read_text(encoding="utf-8"))
    environment = tuned(context, profile, engine)
    return Candidate(
        profile,
        variant,
        context.spec.imgsz,
        precision,
        engine,
        accuracy,
        ops,
        where / "reference.npz",
        environment,
    )


def _converted(
    context: Build, profile: DeviceProfile, precision: str, model: Artifact, variant: Variant
) -> Artifact:
    if precision == "fp16":
        from edgeprune.quantize.half import to_fp16

        inputs = {"model": model.sha256, "versions": context.using("onnxruntime")}

        def halve(out: Path) -> None:
            to_fp16(model, out)

        place = context.store.stage("fp16", inputs, halve)
        return Artifact.of(place / "model.onnx", "onnx", "fp16", model.sha256)
    if precision != "int8":
        return model
    images = context.calibration_images()
    inputs = {
        "model": model.sha256,
        "scheme": profile.scheme,
        "images": [str(image) for image in images],
        "data": context.dataset.fingerprint(context.recipe.quantize.split),
        "versions": context.using("onnx", "onnxruntime", "openvino", "nncf"),
        "converter": pins_of(profile.backend),
    }

    def make(out: Path) -> None:
        name = variant_name(variant, context.spec.imgsz)
        context.notify("quantize", 0.0, f"{name} in scheme {profile.scheme}, {len(images)} images")
        calibration = CalibrationSet(images, context.spec)
        artifact = quantize(model, profile.scheme, calibration, context.adapter, out)
        write_text_atomically(
            out / "artifact.json", json.dumps({"path": artifact.path.name, "kind": artifact.kind})
        )
        context.notify("quantize", 1.0, f"{name} in scheme {profile.scheme}")

    place = context.store.stage(f"int8-{profile.scheme}", inputs, make)
    artifact = json.loads((place / "artifact.json").read_text(encoding="utf-8"))
    return Artifact.of(place / artifact["path"], artifact["kind"], "int8", model.sha256)


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
