"""torch -> ONNX: exported, simplified, checked against torch on real images, described in its metadata."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import torch
from torch import nn

from edgeprune.backends import REFERENCE, get_backend
from edgeprune.config.recipe import ExportRecipe
from edgeprune.core.artifact import Artifact
from edgeprune.core.errors import CompileError, shortened
from edgeprune.core.onnx_files import read_onnx
from edgeprune.images.preprocess import Preprocess, load_input
from edgeprune.images.spec import Spec
from edgeprune.models import ModelInfo, Predict
from edgeprune.models.predictor import predictor
from edgeprune.records.summary import ExportCheck, Variant

if TYPE_CHECKING:
    from collections.abc import Iterator

INPUT, OUTPUT = "images", "output0"
TIE = 1e-4  # scores this near may change places between two runtimes
BOX_AND_CLASS = [0, 1, 2, 3, 5]

Output = np.ndarray[Any, Any]


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
        module: maps float32 (1, 3, H, W) to one output tensor, in eval mode.
        images: real images for the check.

    Raises:
        CompileError: the exporter failed, or a difference is above the recipe's tolerance.
    """
    example = torch.zeros(1, 3, spec.imgsz, spec.imgsz)
    try:
        with _quiet(), torch.no_grad():
            torch.onnx.export(
                module,
                (example,),
                str(out),
                opset_version=recipe.opset,
                input_names=[INPUT],
                output_names=[OUTPUT],
                do_constant_folding=True,
                dynamo=False,  # node names follow the module tree; quantisation finds the head by them
            )
    except (RuntimeError, torch.onnx.errors.OnnxExporterError) as exc:
        raise CompileError(f"{variant}: export to ONNX failed: {shortened(exc)}") from exc
    model = _simplify(read_onnx(out, CompileError, weights=True), variant)
    describe(model, info, Spec(preprocess=spec, postprocess=info.postprocess))
    onnx.save(model, out)
    check = compare(predictor(module), out, spec, images, variant)
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
    reference: Predict, onnx_file: Path, spec: Preprocess, images: Sequence[Path], variant: Variant
) -> ExportCheck:
    """Return the largest differences of boxes (pixels) and scores between two predictors on real images."""
    session = get_backend(REFERENCE).load(onnx_file, "fp32", 1, {})
    box: float | None = None
    score = 0.0
    for image in images:
        tensor, _ = load_input(image, spec)
        expected, got = np.asarray(reference(tensor)[0]), np.asarray(session(tensor)[0])
        if expected.shape != got.shape:
            raise CompileError(f"{variant}: ONNX gives shape {got.shape}, torch {expected.shape}")
        if got.ndim == 2:  # a classifier's scores, (1, classes)
            scores = np.abs(expected - got)
        else:
            boxes, scores = (
                _unordered_difference(expected[0], got[0])
                if got.shape[-1] == 6
                else np.split(np.abs(expected - got), [4], axis=1)
            )
            box = max(box or 0.0, float(boxes.max(initial=0)))
        score = max(score, float(scores.max()))
    return ExportCheck(variant=variant, images=len(images), box_px=box, score=score)


def _unordered_difference(expected: Output, got: Output) -> tuple[Output, Output]:
    """Compare end-to-end detections (n, 6), whose order is arbitrary where scores are as good as equal.

    Each detection is held against the nearest of the other side, a wrong class counting as a pixel or more.
    Those that tie with the last one are left out: which of them make the top n is chance as well.
    """
    scores = np.abs(expected[:, 4] - got[:, 4])
    sure = expected[expected[:, 4] > expected[-1, 4] + TIE][:, BOX_AND_CLASS]
    distance = np.abs(sure[:, None] - got[None, :, BOX_AND_CLASS]).max(axis=2)
    return distance.min(axis=1), scores


def describe(model: onnx.ModelProto, info: ModelInfo, spec: Spec) -> None:
    """Write task, classes, stride, input size, preprocessing and decoding into the file's metadata.

    The plain keys are those that ultralytics reads, so that `YOLO("model.onnx")` works too.
    """
    names = dict(enumerate(info.names))
    metadata = {
        "task": info.task,
        "names": str(names),
        "stride": str(info.stride),
        "imgsz": str([spec.preprocess.imgsz] * 2),
        "batch": "1",
        "channels": "3",
        "end2end": str(info.end2end),
    } | spec.metadata()
    onnx.helper.set_model_props(model, metadata)


def _simplify(model: onnx.ModelProto, variant: Variant) -> onnx.ModelProto:
    import onnxsim

    try:
        simplified, ok = onnxsim.simplify(model)
    except Exception as exc:  # onnxsim raises whatever its C++ side does
        raise CompileError(f"{variant}: onnxsim failed: {shortened(exc)}") from exc
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
        module: maps float32 (1, 3, H, W) to one output tensor, in eval mode.

    Raises:
        CompileError: torch.export cannot trace the module.
    """
    example = torch.zeros(1, 3, spec.imgsz, spec.imgsz)
    folder = out / "program"
    folder.mkdir(parents=True)
    try:
        with _quiet(), torch.no_grad():
            module(example)  # a detector makes its anchors on the first call, and keeps them
            program = torch.export.export(module, (example,))
    except Exception as exc:  # torch.export raises classes of many modules
        raise CompileError(f"torch.export failed: {shortened(exc)}") from exc
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
