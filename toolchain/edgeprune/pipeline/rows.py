"""The stages from a model to its rows: export, quantize, compile, evaluate. Cached by what goes into each."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from edgeprune.backends import REFERENCE, get_backend, options_for
from edgeprune.bench.compiling import compile_for
from edgeprune.config.targets import DeviceProfile
from edgeprune.converters.environments import pins_of
from edgeprune.core.artifact import Artifact, keep_path, kept_path
from edgeprune.core.documents import read_json, read_record
from edgeprune.core.errors import CompileError, KnownFaultWarning, OutputError, tell
from edgeprune.core.files import write_text_atomically
from edgeprune.core.onnx_files import read_onnx
from edgeprune.images.spec import Spec
from edgeprune.pipeline.context import SELECTION_SPLIT, Build, Candidate, building, built_in, reader_of
from edgeprune.pipeline.convert import convert, in_format
from edgeprune.pipeline.evaluate import evaluate_engine, evaluate_there
from edgeprune.pipeline.measure import tune
from edgeprune.records.scores import Accuracy
from edgeprune.records.summary import AheadOfTime, ExportCheck, Placement, Variant

EMBEDDED = "model-embedded.onnx"
SAME_SCORE = 1e-3


def export_model(context: Build, model: Artifact, variant: Variant) -> tuple[Artifact, ExportCheck]:
    """Return the model as ONNX, simplified, and how far it is from torch on real images."""
    from edgeprune.export.onnx import export

    images = context.dataset.sample("val", context.recipe.export.check_images, context.recipe.seed)
    parts = {
        "model": model.sha256,
        "variant": variant,
        "imgsz": context.spec.imgsz,
        "end2end": context.info.end2end,
        "spec": Spec(preprocess=context.spec, postprocess=context.info.postprocess).metadata(),
        "export": context.recipe.export.model_dump(exclude={"embed"}),
        "images": [context.dataset.index.digest(image) for image in images],
    }

    def make(out: Path) -> None:
        name = context.name_of(variant)
        context.notify("export", 0.0, f"{name} to ONNX")
        module = context.adapter.exportable(context.adapter.load(model.path), context.info.end2end)
        _, check = export(
            module, context.info, context.spec, images, context.recipe.export, variant, out / "model.onnx"
        )
        write_text_atomically(out / "check.json", check.model_dump_json())
        boxes = "" if check.box_px is None else f"{check.box_px:.2g} px, "
        context.notify("export", 1.0, f"{name}: {boxes}{check.score:.2g} in score from torch")

    def read(place: Path) -> tuple[Artifact, ExportCheck]:
        check = read_record(ExportCheck, place / "check.json", OutputError)
        check = check.model_copy(update={"imgsz": context.spec.imgsz, "resized": context.resized})
        return Artifact.of(place / "model.onnx", "onnx", "fp32", model.sha256), check

    return context.stage("onnx", parts, make, read, uses=context.of_export)


def candidate(
    context: Build,
    profile: DeviceProfile,
    variant: Variant,
    precision: str,
    model: Artifact,
    keep: Sequence[str] = (),
) -> Candidate:
    """Return the row of a model on a target: converted, compiled and evaluated, not yet timed.

    Args:
        context, model: those of `Build.on` and `source` for this target.
        keep: names of ONNX nodes that an int8 row leaves in float beside those that its scheme does.
    """
    artifact, where, accuracy = assess(context, profile, variant, precision, model, keep)
    row = Candidate(
        profile,
        variant,
        context.spec.imgsz,
        precision,
        artifact,
        accuracy,
        evaluated=where,
        resized=context.resized,
    )
    if artifact.kind != "engine":
        return replace(row, ahead_of_time=_built_ahead(context, profile, variant, precision, artifact))
    ops = None
    bed = context.testbed
    if bed.evaluates(profile) or (not bed.compiles(profile) and _counts(profile)):
        ops = read_json(where / "quantized_ops.json", OutputError)
    return replace(
        row,
        quantized_ops=ops,
        reference=where / "reference.npz",
        environment=tune(context, profile, artifact),
        convolutions=convolutions(model) if model.kind == "onnx" else None,
        placement=_placement(profile, artifact),
    )


def _counts(profile: DeviceProfile) -> bool:
    """Whether what an engine of this host tells of its graph is true on the target as well."""
    return profile.runs_here or get_backend(profile.backend).GRAPH_IN_FILE


def assess(
    context: Build,
    profile: DeviceProfile,
    variant: Variant,
    precision: str,
    model: Artifact,
    keep: Sequence[str] = (),
) -> tuple[Artifact, Path, dict[str, Accuracy]]:
    """Return the engine of a row, the folder of its evaluation and its accuracies.

    Where only the device compiles it and the device is not there, it is the file for that; its arithmetic is
    measured on this host.
    """
    model = convert(context, profile, precision, model, variant, keep)
    bed = context.testbed
    if profile.compile_on == "device" and not bed.compiles(profile):
        return model, *evaluate_engine(context, REFERENCE, {}, model, precision)
    if profile.format != "onnx":
        engine = in_format(context, profile, model)
    else:
        engine = compile_model(context, profile, variant, precision, model)
    if bed.evaluates(profile):
        return engine, *evaluate_there(context, profile, engine)
    if bed.compiles(profile):  # and nothing there runs it
        return engine, *evaluate_engine(context, REFERENCE, {}, model, precision)
    return engine, *evaluate_engine(
        context, profile.backend, options_for(profile, precision), engine, precision
    )


def compile_model(
    context: Build, profile: DeviceProfile, variant: Variant, precision: str, model: Artifact
) -> Artifact:
    """Return the engine of a converted model."""
    parts = {
        "artifact": model.sha256,
        "precision": precision,
        "backend": profile.backend,
        "options": options_for(profile, precision),
        "converter": pins_of(profile.backend),
    }
    there = context.testbed.compiles(profile)

    def make(out: Path) -> None:
        name = f"{profile.name} {context.name_of(variant)}"
        context.notify("compile", 0.0, f"{name} {precision}")
        known = _known_fault(context, profile, precision) if there else None
        if known:
            tell(KnownFaultWarning(f"{name} {precision}: {known}"))
        with building(profile.backend, out) as built:
            try:
                engine = compile_for(
                    context.testbed,
                    profile,
                    model,
                    precision,
                    out,
                    say=lambda text: context.notify("compile", 0.5, f"{name}: {text}"),
                )
            except CompileError as exc:
                if known is None:
                    raise
                raise CompileError(f"{exc}; {known}") from exc
            built.extend([engine.built] if engine.built else [])
        keep_path(out, engine.path.relative_to(out).as_posix())

    def read(place: Path) -> Artifact:
        return Artifact.of(kept_path(place), "engine", precision, model.sha256, built_in(place))

    uses = () if there else context.of_runtime(profile.backend)
    times = (profile.backend,) if there else ()
    return context.stage("engine", parts, make, read, uses=uses, times=times)


def _known_fault(context: Build, profile: DeviceProfile, precision: str) -> str | None:
    """Return what is known to go wrong with this network in the runtime that the device has."""
    version = context.testbed.version(profile.backend) or ""
    return get_backend(profile.backend).caveat(version, context.info.family, precision)


def _placement(profile: DeviceProfile, engine: Artifact) -> Placement | None:
    """Return which operators of an engine the target's accelerator runs, where its compiler told."""
    told = get_backend(profile.backend).placement(engine.path)
    return Placement.model_validate(asdict(told)) if told else None


def convolutions(model: Artifact) -> int:
    """Count the convolutions of an ONNX file."""

    return sum(node.op_type == "Conv" for node in read_onnx(model.path).graph.node)


def _built_ahead(
    context: Build, profile: DeviceProfile, variant: Variant, precision: str, model: Artifact
) -> AheadOfTime | None:
    """Prove a file by an ahead-of-time build where the runtime's prover is installed; else None.

    What the builder said is kept in the build folder's `logs/`, of a failure too.
    """
    prover = get_backend(profile.backend).prover
    version = prover.version() if prover else None
    if prover is None or version is None:
        return None
    parts = {"artifact": model.sha256, "prover": version, "for": prover.CAPABILITIES}
    name = f"{profile.name}-{variant}-{precision}"

    def make(out: Path) -> None:
        context.notify("prove", 0.0, f"{name} in {prover.NAME} {version}")
        proof = prover.prove(model.path, context.request.out / "logs" / f"{name}.{prover.NAME.lower()}.log")
        write_text_atomically(out / "proof.json", json.dumps(asdict(proof)))
        context.notify("prove", 1.0, f"{name}: built for {', '.join(proof.capabilities)}")

    return context.stage(prover.NAME.lower(), parts, make, reader_of(AheadOfTime, "proof.json"))


def embed_spec(context: Build, engine: Artifact, plain: Accuracy) -> Path:
    """Return the ONNX file of a row with the recipe's parts of the spec inside, as accurate as without.

    With NMS in the graph that is the accuracy as deployed: both are judged by what an application sees.

    Args:
        plain: accuracy of the row on the selection split.

    Raises:
        CompileError: its accuracy on the selection split is another than that of the plain file.
    """
    from edgeprune.export.embed import as_deployed, embed, predictor

    inside = context.recipe.export.embed
    spec = Spec(preprocess=context.spec, postprocess=context.info.postprocess)
    parts = {
        "engine": engine.sha256,
        "parts": inside,
        "spec": spec.metadata(),
        "data": context.dataset.fingerprint(SELECTION_SPLIT),
    }

    def make(out: Path) -> None:
        context.notify("embed", 0.0, " and ".join(inside))
        predict, post = predictor(embed(engine.path, spec, inside, out / EMBEDDED), spec, inside)
        found = context.adapter.evaluate(predict, context.dataset, SELECTION_SPLIT, context.spec, post)
        without = plain
        if "nms" in inside:
            session = context.load(get_backend(REFERENCE), engine.path, engine.precision, {})
            deployed = as_deployed(spec.postprocess)
            without = context.adapter.evaluate(
                session, context.dataset, SELECTION_SPLIT, context.spec, deployed
            )
        # Equal scores may be suppressed in another order.
        if abs(found.score - without.score) > SAME_SCORE:
            raise CompileError(
                f"export.embed: {found.metric} on {found.split} is {found.score:.4f} with "
                f"{' and '.join(inside)} inside the graph, {without.score:.4f} without; "
                "leave export.embed out"
            )
        context.notify("embed", 1.0, f"{found.metric} {found.score:.4f}, {without.score:.4f} without")

    uses = (*context.of_export, *context.of_runtime(REFERENCE))
    return context.stage("embedded", parts, make, lambda place: place / EMBEDDED, uses=uses)
