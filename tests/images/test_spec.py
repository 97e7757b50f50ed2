"""One spec for the image and the output: it travels with every artifact, and is enough to run it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import onnx
import pytest

from conftest import NAMES
from edgeprune.adapters.ultralytics import detect as adapter
from edgeprune.backends import get_backend, options_for
from edgeprune.backends.ort_format import to_ort
from edgeprune.config.recipe import ExportRecipe
from edgeprune.config.targets import resolve_targets
from edgeprune.core.artifact import Artifact
from edgeprune.core.errors import ConfigError, ModelError
from edgeprune.export.onnx import export
from edgeprune.images.dataset import Dataset
from edgeprune.images.heads import HEADS
from edgeprune.images.postprocess import Selection, classifier, detector
from edgeprune.images.preprocess import CENTRE_CROP, Preprocess
from edgeprune.images.spec import FILE, Spec, spec_of
from edgeprune.quantize import CalibrationSet
from edgeprune.quantize.half import to_fp16
from edgeprune.quantize.qdq import quantize
from edgeprune.records.summary import ExportCheck

RAW = Spec(preprocess=Preprocess(64), postprocess=detector(NAMES, end2end=False))

Exported = dict[str, tuple[Artifact, ExportCheck]]


@pytest.mark.parametrize(
    "spec",
    [
        RAW,
        Spec(preprocess=Preprocess(96), postprocess=detector(("a", "ü"), end2end=True)),
        Spec(preprocess=Preprocess(64, pad=None, resize=CENTRE_CROP), postprocess=classifier(NAMES)),
    ],
    ids=["raw", "end2end", "classifier"],
)
def test_a_spec_is_read_back_as_it_was_written(spec: Spec, tmp_path: Path) -> None:
    (tmp_path / FILE).write_text(spec.to_json(), encoding="utf-8")
    assert spec_of(tmp_path) == spec_of(tmp_path / FILE) == spec_of(tmp_path / "model.engine") == spec


@pytest.fixture(scope="module")
def models(
    checkpoints: dict[str, Path],
    float_models: Exported,
    tiny: Dataset,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Path]:
    """Return an exported detector of each head."""
    model: Any = adapter.load(checkpoints["yolo26n"])
    model.model[-1].end2end = True
    out = tmp_path_factory.mktemp("end2end") / "model.onnx"
    images = tiny.images["val"][:1]
    module, info = adapter.exportable(model), adapter.info(model)
    export(module, info, Preprocess(64), images, ExportRecipe(), "original", out)
    return {"raw": float_models["yolov8n"][0].path, "end2end": out}


@pytest.mark.parametrize("head", ["raw", "end2end"])
def test_an_exported_file_tells_it(models: dict[str, Path], head: str) -> None:
    spec = spec_of(models[head])
    assert spec.preprocess == Preprocess(64)
    assert spec.postprocess == detector(NAMES, end2end=head == "end2end")
    assert spec.postprocess.head == head


def test_no_conversion_loses_it(float_models: Exported, tiny: Dataset, tmp_path: Path) -> None:
    model = float_models["yolov8n"][0]
    folders = [tmp_path / name for name in ("half", "int8", "openvino", "ort", "mixed")]
    for folder in folders:
        folder.mkdir()
    half, int8, openvino, phone, mixed = folders
    calibration = CalibrationSet(tiny.images["train"][:2], Preprocess(64))
    assert spec_of(to_fp16(model, half).path) == RAW
    whole = quantize(model, "trt-s8s8", calibration, [], int8)
    assert spec_of(whole.path) == spec_of(to_fp16(whole, mixed).path) == RAW
    profile = resolve_targets(("x86-openvino",))[0]
    assert (
        spec_of(get_backend("openvino").compile(model, "fp32", options_for(profile, "fp32"), openvino).path)
        == RAW
    )
    session: Any = get_backend("onnxruntime").load(to_ort(model, phone).path, "fp32", 1, {})
    assert session._session.get_modelmeta().custom_metadata_map.items() >= RAW.metadata().items()


def test_the_int8_openvino_model_has_it_too(convnet: Path, tiny: Dataset, tmp_path: Path) -> None:
    from edgeprune.quantize import nncf_openvino

    model, spec = onnx.load(convnet), RAW.model_copy(update={"preprocess": Preprocess(32)})
    onnx.helper.set_model_props(model, spec.metadata())
    onnx.save(model, tmp_path / "model.onnx")
    source = Artifact.of(tmp_path / "model.onnx", "onnx", "fp32")
    calibration = CalibrationSet(tiny.images["train"][:2], Preprocess(32))
    made = nncf_openvino.quantize(source, "nncf", calibration, [], tmp_path)
    assert spec_of(made.path) == spec


@pytest.mark.parametrize(
    ("part", "change", "complaint"),
    [
        ("preprocess", {"colour": "CMYK"}, "preprocess.colour: 'CMYK' is not one of RGB, BGR"),
        ("preprocess", {"imgsz": "wide"}, "preprocess.imgsz"),
        (
            "postprocess",
            {"head": "anchors"},
            f"postprocess.head: 'anchors' is not one of {', '.join(HEADS)}",
        ),
        ("postprocess", {"nms": 0.7}, "unknown key 'postprocess.nms'"),
        ("postprocess", {"deployment": {"confidence": 0.25, "iou": -1}}, "postprocess.deployment.iou"),
    ],
)
def test_a_spec_that_cannot_be_followed_is_refused(
    part: str, change: dict[str, Any], complaint: str, tmp_path: Path
) -> None:
    data = json.loads(RAW.to_json())
    data[part] |= change
    (tmp_path / FILE).write_text(json.dumps(data))
    with pytest.raises(ConfigError, match=re.escape(complaint)) as caught:
        spec_of(tmp_path)
    assert str(tmp_path / FILE) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_without_a_spec_says_so(convnet: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"neither its metadata nor a preprocess\.json"):
        spec_of(convnet)
    (tmp_path / FILE).write_text("{")
    with pytest.raises(ModelError, match="not valid JSON"):
        spec_of(tmp_path)
    (tmp_path / "broken.onnx").write_bytes(b"not a graph")
    with pytest.raises(ModelError, match="not an ONNX file"):
        spec_of(tmp_path / "broken.onnx")


def test_broken_metadata_is_refused(convnet: Path, tmp_path: Path) -> None:
    model = onnx.load(convnet)
    onnx.helper.set_model_props(model, {"edgeprune.preprocess": "{"})
    onnx.save(model, tmp_path / "model.onnx")
    with pytest.raises(ModelError, match="metadata: not valid JSON"):
        spec_of(tmp_path / "model.onnx")


OLD = """{
 "preprocess": {"imgsz": 64},
 "postprocess": {"task": "detect", "head": "raw", "names": ["a"], "boxes": "xywh", "activated": true,
  "confidence": 0.002, "iou": 0.6, "max_detections": 50, "multi_label": true}
}"""


def test_a_spec_of_the_first_form_was_the_evaluations(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text(OLD)
    post = spec_of(tmp_path).postprocess
    assert post.evaluation == Selection(0.002, 0.6, 50, multi_label=True)
    assert post.deployment == Selection(0.25, 0.6, 50, multi_label=False)


def test_a_classifiers_spec_of_the_first_form_is_read(tmp_path: Path) -> None:
    none = dict.fromkeys(("confidence", "iou", "max_detections"))
    data = json.loads(Spec(preprocess=Preprocess(64), postprocess=classifier(NAMES)).to_json())
    for name in ("evaluation", "deployment"):
        del data["postprocess"][name]
    data["postprocess"] |= none | {"multi_label": False}
    (tmp_path / FILE).write_text(json.dumps(data))
    assert spec_of(tmp_path).postprocess == classifier(NAMES)
