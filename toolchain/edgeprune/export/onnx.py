"""torch -> ONNX: exported, simplified, checked against torch on real images, described in its metadata."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
import torch
from torch import nn

from edgeprune.backends import REFERENCE, get_backend
from edgeprune.config.recipe import ExportRecipe
from edgeprune.core.artifact import Artifact
from edgeprune.core.errors import CompileError, shorten
from edgeprune.core.onnx_files import read_onnx
from edgeprune.images.answers import answers
from edgeprune.images.batches import in_batches
from edgeprune.images.heads import HEADS
from edgeprune.images.preprocess import Preprocess
from edgeprune.images.size import sides
from edgeprune.images.spec import Spec
from edgeprune.models import ModelInfo, Predict
from edgeprune.models.predictor import predictor
from edgeprune.records.summary import ExportCheck, Variant

if TYPE_CHECKING:
    from collections.abc import Iterator

INPUT = "images"


def export(
    module: nn.Module,
    info: ModelInfo,
    spec: Preprocess,
    images: Sequence[Path],
    recipe: ExportRecipe,
    variant: Variant,
    out: Path,
) -> tuple[Artifact, ExportCheck]:
    """Write `out` as a float32 ONNX file with static shapes and prove that it computes what torch does.

    Args:
        module: maps float32 (n, 3, H, W) to the outputs that `info` names, in eval mode.
        images: real images for the check.

    Raises:
        CompileError: the exporter failed, or a difference is above the recipe's tolerance.
    """
    example = torch.zeros(spec.batch_shape)
    try:
        with _quiet(), torch.no_grad():
            torch.onnx.export(
                module,
                (example,),
                str(out),
                opset_version=recipe.opset,
                input_names=[INPUT],
                output_names=list(info.outputs),
                do_constant_folding=True,
                dynamo=False,  # node names follow the module tree; quantization finds the head by them
            )
    except (RuntimeError, torch.onnx.errors.OnnxExporterError) as exc:
        raise CompileError(f"{variant}: export to ONNX failed: {shorten(exc)}") from exc
    model = _simplify(read_onnx(out, CompileError, weights=True), variant)
    told = Spec(preprocess=spec, postprocess=info.postprocess)
    describe(model, info, told)
    onnx.save(model, out)
    check = compare(predictor(module), out, told, images, variant)
    if (check.box_px or 0) > recipe.box_tolerance or check.score > recipe.score_tolerance:
        found, allowed = "", ""
        if check.box_px is not None:
            found, allowed = f"{check.box_px:.3g} px and ", f"{recipe.box_tolerance:g} px and "
        raise CompileError(
            f"{variant}: the ONNX file differs from torch by {found}{check.score:.3g} in score on "
            f"{check.images} images; allowed are {allowed}{recipe.score_tolerance:g}"
        )
    return Artifact.of(out, "onnx", "fp32"), check


def compare(
    reference: Predict, onnx_file: Path, spec: Spec, images: Sequence[Path], variant: Variant
) -> ExportCheck:
    """Return the largest differences of boxes (pixels) and scores between two predictors on real images.

    The reference sees them one by one, the file in batches of the size that it takes.

    Raises:
        CompileError: their outputs differ in shape.
    """
    run = in_batches(get_backend(REFERENCE).load(onnx_file, "fp32", 1, {}), spec.preprocess.batch)
    found = []
    for tensor, _, got in answers(run, images, spec.preprocess):
        expected = [np.asarray(each) for each in reference(tensor)]
        shapes = [" and ".join(str(each.shape) for each in side) for side in (got, expected)]
        if shapes[0] != shapes[1]:
            raise CompileError(f"{variant}: ONNX gives shape {shapes[0]}, torch {shapes[1]}")
        found.append(HEADS[spec.postprocess.head].difference(expected, got, spec.postprocess))
    boxes = [each.box_px for each in found if each.box_px is not None]
    return ExportCheck(
        variant=variant,
        images=len(images),
        box_px=max(boxes, default=None),
        score=max((each.score for each in found), default=0.0),
    )


def describe(model: onnx.ModelProto, info: ModelInfo, spec: Spec) -> None:
    """Write task, classes, stride, input size, preprocessing and decoding into the file's metadata.

    The plain keys are those that ultralytics reads, so that `YOLO("model.onnx")` works too.
    """
    names = dict(enumerate(info.names))
    metadata = {
        "task": info.task,
        "names": str(names),
        "stride": str(info.stride),
        "imgsz": str(list(sides(spec.preprocess.imgsz))),
        "batch": str(spec.preprocess.batch),
        "channels": "3",
        "end2end": str(info.end2end),
    } | spec.metadata()
    if spec.postprocess.keypoints is not None:
        metadata["kpt_shape"] = str(list(spec.postprocess.keypoints))
    onnx.helper.set_model_props(model, metadata)


def _simplify(model: onnx.ModelProto, variant: Variant) -> onnx.ModelProto:
    import onnxsim

    try:
        simplified, ok = onnxsim.simplify(model)
    except Exception as exc:  # onnxsim raises whatever its C++ side does
        raise CompileError(f"{variant}: onnxsim failed: {shorten(exc)}") from exc
    if not ok:
        raise CompileError(f"{variant}: onnxsim's simplified graph does not compute what the export did")
    result: onnx.ModelProto = simplified
    return result


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's deprecation and tracer warnings off the user's terminal."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            logger.setLevel(level)


def export_program(module: nn.Module, spec: Preprocess, out: Path) -> Artifact:
    """Write the folder `out/program`: `model.pt2` of torch.export, and `nodes.json` with its nodes' names.

    Converters that take PyTorch's graphs read it in an environment of their own, with another torch.

    Args:
        module: maps float32 (n, 3, H, W) to one output tensor, in eval mode.

    Raises:
        CompileError: torch.export cannot trace the module.
    """
    example = torch.zeros(spec.batch_shape)
    folder = out / "program"
    folder.mkdir(parents=True)
    try:
        with _quiet(), torch.no_grad():
            module(example)  # a detector makes its anchors on the first call, and keeps them
            program = torch.export.export(module, (example,))
    except Exception as exc:  # torch.export raises classes of many modules
        raise CompileError(f"torch.export failed: {shorten(exc)}") from exc
    with _quiet():
        torch.export.save(program, folder / "model.pt2")
    names = json.dumps(node_names(program.graph), indent=1)
    (folder / "nodes.json").write_text(names + "\n", encoding="utf-8")
    return Artifact.of(folder, "program", "fp32")


def node_names(graph: torch.fx.Graph) -> dict[str, str]:
    """Return the names of a program's nodes by those that an ONNX export gives them.

    ``/model.22/cv2.0/0/conv/Conv2D`` says in which modules the operator stands; adapters tell by such names
    what stays in float.
    """
    names: dict[str, str] = {}
    for node in graph.nodes:
        if node.op != "call_function":
            continue
        parts, above = [""], ""
        for path, _ in node.meta.get("nn_module_stack", {}).values():
            if path:
                parts.append(path.removeprefix(f"{above}."))
                above = path
        operator = str(getattr(node.target, "__name__", node.target)).partition(".")[0]
        base = "/".join([*parts, operator.title().replace("_", "")])
        count = sum(1 for name in names if name == base or name.startswith(f"{base}_"))
        names[f"{base}_{count}" if count else base] = node.name
    return names
