"""`build`: the stages in order, each a plain function from artifact to artifact, cached by what goes into it.

original -> (pruned -> finetuned) -> onnx -> int8 or fp16 -> engine -> accuracy -> bench -> verdict
"""

from __future__ import annotations

import json
import shutil
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from edgeprune.artifact import Artifact, Store, digest, write_text_atomically
from edgeprune.backends import get_backend, options_for
from edgeprune.bench.environment import read_environment
from edgeprune.bench.protocol import (
    LEAST_INPUTS,
    build_job,
    measure,
    reference_outputs,
    write_inputs,
    write_reference,
)
from edgeprune.bench.result import BenchResult, Job, load_result, result_file, save_result
from edgeprune.bench.tune import fastest_environment
from edgeprune.build import SELECTION_SPLIT, Build, BuildRequest, Candidate, Notify
from edgeprune.dataset import load_dataset
from edgeprune.device import DeviceProfile
from edgeprune.errors import ConfigError, DataError, EdgepruneError, InterruptedBuildError
from edgeprune.models import get_adapter
from edgeprune.preprocess import Preprocess, load_input
from edgeprune.quantize import CalibrationSet, quantize
from edgeprune.recipe import DEFAULT_RATIO
from edgeprune.runners.local import LocalRunner
from edgeprune.summarise import summarise, write_outputs
from edgeprune.summary import Accuracy, ExportCheck, Pruning, Summary, Variant, save_summary

PACKAGES = (
    "edgeprune", "torch", "ultralytics", "torch-pruning",
    "onnx", "onnxsim", "onnxruntime", "openvino", "nncf",
)  # fmt: skip
BENCH_INPUTS = 32


def build(request: BuildRequest, notify: Notify) -> Summary:
    """Run every stage that is not there yet, choose a row, and write `summary.json` and `best/`.

    Raises:
        EdgepruneError: bad input, or a stage that failed; whole stages stay for the next build.
    """
    store = Store(request.out / "stages")
    with store.locked():
        original, context = _start(request, store, notify)
        candidates: list[Candidate] = []
        checks: dict[str, ExportCheck] = {}
        prunings: dict[str, Pruning] = {}
        for profile in request.targets:
            models: dict[Variant, Artifact] = {"original": original}
            if request.recipe.prune.enabled:
                models["pruned"], prunings[profile.name] = _pruned(context, original, profile)
            for variant, model in models.items():
                onnx, checks[model.sha256] = _exported(context, model, variant)
                candidates += [
                    _candidate(context, profile, variant, precision, onnx) for precision in profile.precisions
                ]
        results = _measured(context, [entry for entry in candidates if entry.profile.built_on == "host"])
        baseline = _baseline(context, original)
        summary = summarise(context, candidates, results, baseline, prunings, tuple(checks.values()))
        write_outputs(context, candidates, summary)
        save_summary(summary, request.out)
    return summary


def _start(request: BuildRequest, store: Store, notify: Notify) -> tuple[Artifact, Build]:
    notify("load", 0.0, str(request.model))
    adapter = get_adapter(request.adapter)
    model = adapter.load(request.model, request.trust)
    info = adapter.info(model)
    imgsz = request.recipe.imgsz or info.imgsz
    if imgsz is None:
        raise ConfigError(f"{request.model}: the checkpoint does not tell its input size; give --imgsz")
    if imgsz % info.stride:
        lower = max(info.stride, imgsz // info.stride * info.stride)
        raise ConfigError(
            f"imgsz: {imgsz} is not a multiple of the model's stride {info.stride}; "
            f"{lower} and {lower + info.stride} are the nearest"
        )
    dataset = load_dataset(request.data, len(info.names))
    images = sum(len(found) for found in dataset.images.values())
    if images < LEAST_INPUTS:
        raise DataError(
            f"{request.data}: {images} images; timing rotates over at least {LEAST_INPUTS} of them"
        )
    versions = {name: _version(name) for name in PACKAGES}
    context = Build(request, store, adapter, notify, dataset, info, Preprocess(imgsz), versions)
    # Later stages, ultralytics' trainer among them, only ever read this copy, written by edgeprune itself.
    place = store.stage(
        "original",
        {"model": digest(request.model), "versions": context.using("ultralytics")},
        lambda out: adapter.save(model, out / "model.pt"),
    )
    notify("load", 1.0, f"{info.family}, {len(info.names)} classes, {imgsz} px")
    return Artifact.of(place / "model.pt", "torch", "fp32"), context


def _pruned(context: Build, original: Artifact, profile: DeviceProfile) -> tuple[Artifact, Pruning]:
    from edgeprune.prune.stages import cut, latency_share

    recipe = context.recipe
    measured = {"target": profile.name, "machine": _machine()} if recipe.prune.speedup else {}
    inputs = {
        "model": original.sha256,
        "prune": recipe.prune.model_dump() | {"default_ratio": DEFAULT_RATIO},
        "step": profile.step,
        "imgsz": context.spec.imgsz,
        "seed": recipe.seed,
        "val": context.dataset.fingerprint("val"),
        "measured": measured,
        "versions": context.using("torch", "torch-pruning", "ultralytics"),
    }

    def make(out: Path) -> None:
        share = None
        if recipe.prune.speedup:
            share = latency_share(context.adapter, original, context.spec, context.dataset, recipe, profile)
        context.notify("prune", 0.0, f"{recipe.prune.criterion}, steps of {profile.step} channels")
        report = cut(
            context.adapter, original, context.dataset, context.spec, recipe, profile.step, share, out
        )
        kept = report.params_after / report.params_before
        context.notify("prune", 1.0, f"{kept:.0%} of the parameters kept")

    place = context.store.stage("pruned", inputs, make)
    report = Pruning.model_validate_json((place / "pruning.json").read_text(encoding="utf-8"))
    student = Artifact.of(place / "model.pt", "torch", "fp32", original.sha256)
    if recipe.finetune.epochs == 0:
        return student, report
    return _finetuned(context, student, original), report


def _finetuned(context: Build, student: Artifact, teacher: Artifact) -> Artifact:
    recipe = context.recipe
    inputs = {
        "student": student.sha256,
        "teacher": teacher.sha256,
        "finetune": recipe.finetune.model_dump(),
        "seed": recipe.seed,
        "imgsz": context.spec.imgsz,
        "train": context.dataset.fingerprint("train"),
        "val": context.dataset.fingerprint("val"),
        "versions": context.using("torch", "ultralytics"),
    }

    def make(out: Path) -> None:
        best = out / "model.pt"
        try:
            context.adapter.finetune(
                student.path,
                teacher.path if recipe.finetune.distill else None,
                context.dataset,
                context.spec.imgsz,
                recipe,
                best,
                lambda share, text: context.notify("finetune", share, text),
            )
        except KeyboardInterrupt as exc:
            raise InterruptedBuildError(_rescued(best, context.request.out)) from exc
        except EdgepruneError:
            if (log := out / "finetune.log").is_file():  # the stage's own folder goes away
                shutil.copy(log, context.request.out)
            raise

    place = context.store.stage("finetuned", inputs, make)
    return Artifact.of(place / "model.pt", "torch", "fp32", student.sha256)


def _rescued(best: Path, out: Path) -> str:
    if not best.is_file():
        return "interrupted before the first epoch of fine-tuning ended; the same command starts it again"
    kept = out / "interrupted.pt"
    best.replace(kept)
    return f"interrupted in fine-tuning; the best checkpoint so far is {kept}"


def _exported(context: Build, model: Artifact, variant: Variant) -> tuple[Artifact, ExportCheck]:
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
        context.notify("export", 0.0, f"{variant} to ONNX")
        module = context.adapter.exportable(context.adapter.load(model.path))
        _, check = export(
            module, context.info, context.spec, images, context.recipe.export, variant, out / "model.onnx"
        )
        write_text_atomically(out / "check.json", check.model_dump_json())
        context.notify(
            "export", 1.0, f"{variant}: {check.box_px:.2g} px, {check.score:.2g} in score from torch"
        )

    place = context.store.stage("onnx", inputs, make)
    check = ExportCheck.model_validate_json((place / "check.json").read_text(encoding="utf-8"))
    return Artifact.of(place / "model.onnx", "onnx", "fp32", model.sha256), check


def _candidate(
    context: Build, profile: DeviceProfile, variant: Variant, precision: str, onnx: Artifact
) -> Candidate:
    converted = _converted(context, profile, precision, onnx, variant)
    if profile.built_on == "device":
        # The file's arithmetic is measured on this host; its latency can only be measured on the device.
        accuracy = _evaluated(context, "onnxruntime", {}, converted, precision)[1]
        return Candidate(profile, variant, precision, converted, accuracy)
    inputs = {
        "artifact": converted.sha256,
        "precision": precision,
        "backend": profile.backend,
        "options": options_for(profile, precision),
        "versions": context.using(profile.backend),
    }
    backend = get_backend(profile.backend)

    def make(out: Path) -> None:
        context.notify("compile", 0.0, f"{profile.name} {variant} {precision}")
        engine = backend.compile(converted, profile, precision, out)
        write_text_atomically(out / "engine.json", json.dumps({"path": engine.path.name}))

    place = context.store.stage("engine", inputs, make)
    name = json.loads((place / "engine.json").read_text(encoding="utf-8"))["path"]
    engine = Artifact.of(place / name, "engine", precision, converted.sha256)
    where, accuracy = _evaluated(context, profile.backend, options_for(profile, precision), engine, precision)
    ops = json.loads((where / "quantized_ops.json").read_text(encoding="utf-8"))
    environment = _tuned(context, profile, engine)
    return Candidate(profile, variant, precision, engine, accuracy, ops, where / "reference.npz", environment)


def _tuned(context: Build, profile: DeviceProfile, engine: Artifact) -> dict[str, str]:
    """Return the environment variables under which this engine is fastest here, by measurement."""
    choices = {str(key): sets for key, sets in profile.environments.items()}.get(engine.precision)
    if not choices:
        return {}
    inputs = {
        "engine": engine.sha256,
        "options": options_for(profile, engine.precision),
        "choices": choices,
        "threads": context.recipe.bench.threads,
        "machine": _machine(),
        "versions": context.using(profile.backend),
    }

    def make(out: Path) -> None:
        context.notify("tune", 0.0, f"{profile.name} {engine.precision}")
        tensors = write_inputs(_bench_images(context), out / "inputs.npy")
        with LocalRunner() as runner:
            job = build_job("plain", engine, profile, threads=context.recipe.bench.threads, inputs=tensors)
            best = fastest_environment(job, choices, runner)
        tensors.unlink()
        write_text_atomically(out / "environment.json", json.dumps(best))
        context.notify("tune", 1.0, " ".join(f"{key}={value}" for key, value in best.items()) or "as it is")

    place = context.store.stage("tuned", inputs, make)
    best: dict[str, str] = json.loads((place / "environment.json").read_text(encoding="utf-8"))
    return best


def _converted(
    context: Build, profile: DeviceProfile, precision: str, onnx: Artifact, variant: Variant
) -> Artifact:
    if precision == "fp16":
        from edgeprune.quantize.half import to_fp16

        inputs = {"onnx": onnx.sha256, "versions": context.using("onnxruntime")}

        def halve(out: Path) -> None:
            to_fp16(onnx, out)

        place = context.store.stage("fp16", inputs, halve)
        return Artifact.of(place / "model.onnx", "onnx", "fp16", onnx.sha256)
    if precision != "int8":
        return onnx
    images = context.calibration_images()
    inputs = {
        "onnx": onnx.sha256,
        "scheme": profile.scheme,
        "images": [str(image) for image in images],
        "data": context.dataset.fingerprint(context.recipe.quantize.split),
        "versions": context.using("onnx", "onnxruntime", "openvino", "nncf"),
    }

    def make(out: Path) -> None:
        context.notify("quantize", 0.0, f"{variant} in scheme {profile.scheme}, {len(images)} images")
        calibration = CalibrationSet(images, context.spec)
        artifact = quantize(onnx, profile.scheme, calibration, context.adapter, out)
        write_text_atomically(out / "artifact.json", json.dumps({"path": artifact.path.name}))
        context.notify("quantize", 1.0, f"{variant} in scheme {profile.scheme}")

    place = context.store.stage(f"int8-{profile.scheme}", inputs, make)
    name = json.loads((place / "artifact.json").read_text(encoding="utf-8"))["path"]
    return Artifact.of(place / name, "onnx", "int8", onnx.sha256)


def _evaluated(
    context: Build, backend_name: str, options: dict[str, str], engine: Artifact, precision: str
) -> tuple[Path, dict[str, Accuracy]]:
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
        write_reference(reference_outputs(session, _bench_images(context)), out / "reference.npz")
        context.notify("evaluate", 1.0, f"{backend_name} {precision}")

    place = context.store.stage("accuracy", inputs, make)
    return place, {
        split: Accuracy.model_validate_json((place / f"{split}.json").read_text(encoding="utf-8"))
        for split in context.splits
    }


def _bench_images(context: Build) -> Any:
    """Return up to 32 real inputs, float32 (n, 3, H, W), from as many splits as it takes."""
    paths: list[Path] = []
    for split in (SELECTION_SPLIT, "train", "test"):
        if split in context.dataset.images and len(paths) < BENCH_INPUTS:
            paths += context.dataset.sample(split, BENCH_INPUTS - len(paths), context.recipe.seed)
    return np.concatenate([load_input(path, context.spec)[0] for path in paths])


def _measured(context: Build, candidates: list[Candidate]) -> dict[str, tuple[BenchResult, Path]]:
    if not candidates:
        return {}
    settings = context.recipe.bench
    inputs = {
        "rows": {
            entry.name: [
                entry.artifact.sha256,
                options_for(entry.profile, entry.precision),
                entry.environment,
            ]
            for entry in candidates
        },
        "imgsz": context.spec.imgsz,
        "bench": settings.model_dump(),
        "machine": _machine(),
        "data": context.dataset.fingerprint(SELECTION_SPLIT),
        "versions": context.using("onnxruntime", "openvino"),
    }

    def make(out: Path) -> None:
        tensors = write_inputs(_bench_images(context), out / "inputs.npy")
        jobs: list[Job] = [
            build_job(
                entry.name,
                entry.artifact,
                entry.profile,
                threads=settings.threads,
                inputs=tensors,
                reference=entry.reference,
                environment=entry.environment,
            )
            for entry in candidates
        ]
        with LocalRunner() as runner:
            results = measure(
                jobs,
                settings.profile,
                runner,
                lambda done, total, text: context.notify("bench", done / max(total, 1), text),
            )
        for result in results:
            save_result(result, out / result_file(result.name))
        tensors.unlink()

    place = context.store.stage("bench", inputs, make)
    paths = {entry.name: place / result_file(entry.name) for entry in candidates}
    return {name: (load_result(path), path) for name, path in paths.items()}


def _baseline(context: Build, original: Artifact) -> dict[str, Accuracy]:
    """Accuracy of the original in fp32 on ONNX Runtime: what every drop is counted from."""
    onnx, _ = _exported(context, original, "original")
    return _evaluated(context, "onnxruntime", {}, onnx, "fp32")[1]


def _machine() -> dict[str, Any]:
    """Return what makes a latency this machine's: its processor, cores and kernel."""
    environment = read_environment()
    return {key: environment[key] for key in ("machine", "board", "cpu", "cores", "affinity", "kernel")}


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "absent"
