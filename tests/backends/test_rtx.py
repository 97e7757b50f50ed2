"""Files for TensorRT are built for real, by TensorRT-RTX and without a GPU; what it refuses is told."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from conftest import FAMILIES
from edgeprune.adapters.ultralytics import detect as adapter
from edgeprune.backends import rtx
from edgeprune.config.recipe import ExportRecipe, PruneRecipe
from edgeprune.core.artifact import Artifact
from edgeprune.core.errors import CompileError, RuntimeMissingError
from edgeprune.export.onnx import export
from edgeprune.images.dataset import Dataset
from edgeprune.images.preprocess import Preprocess
from edgeprune.prune.evidence import Evidence
from edgeprune.prune.surgery import prune
from edgeprune.quantize import CalibrationSet, quantize
from edgeprune.quantize.half import to_fp16
from edgeprune.records.summary import ExportCheck

SPEC = Preprocess(64)
STEP = 16  # of int8 in targets/jetson.yaml
needs_rtx = pytest.mark.skipif(
    importlib.util.find_spec("tensorrt_rtx") is None, reason=f"TensorRT-RTX is not here: {rtx.HOW_TO_GET}"
)


def _pruned(checkpoint: Path, images: tuple[Path, ...], out: Path) -> Artifact:
    model = adapter.prunable(adapter.load(checkpoint))
    recipe = PruneRecipe(criterion="l1", ratio=0.5)
    cut = prune(model, adapter.unprunable, torch.zeros(1, 3, 64, 64), recipe, STEP, Evidence(0))
    module, info = adapter.exportable(cut.model), adapter.info(cut.model)
    return export(module, info, SPEC, images, ExportRecipe(), "pruned", out / "model.onnx")[0]


@needs_rtx
@pytest.mark.parametrize("variant", ["original", "pruned"])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_file_for_tensorrt_builds_for_ampere_and_ada(
    float_models: dict[str, tuple[Artifact, ExportCheck]],
    checkpoints: dict[str, Path],
    tiny: Dataset,
    tmp_path: Path,
    family: str,
    variant: str,
) -> None:
    images = tiny.images["val"][:1]
    original = float_models[family][0]
    model = original if variant == "original" else _pruned(checkpoints[family], images, tmp_path)
    if variant == "pruned":
        assert model.size_bytes < 0.8 * original.size_bytes
    for folder in ("fp16", "int8", "mixed"):
        (tmp_path / folder).mkdir()
    half = to_fp16(model, tmp_path / "fp16")
    int8 = quantize(model, "trt-s8s8", CalibrationSet(images, SPEC), adapter, tmp_path / "int8")
    mixed = to_fp16(int8, tmp_path / "mixed")
    assert mixed.precision == "int8"
    for artifact in (half, mixed):
        proof = rtx.prove(artifact.path, tmp_path / f"{artifact.precision}.log")
        assert {"SM86", "SM89"} <= set(proof.capabilities)
        assert proof.version == rtx.version()
        # An error that the builder got around by itself is none; a parser's would have been raised.
        assert "Parser" not in (tmp_path / f"{artifact.precision}.log").read_text()


def _write(path: Path, *nodes: onnx.NodeProto, **weights: np.ndarray) -> Path:
    """Write a graph from `images`, (1, 3, 8, 8), to `out`, with 1x1 weights `w` of eight channels."""
    weights["w"] = np.ones((8, 3, 1, 1), np.float32)
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, (1, 3, 8, 8))],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items()],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.example", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    return path


@needs_rtx
@pytest.mark.parametrize(
    ("operator", "domain"), [("Det", ""), ("Frobnicate", "com.example")], ids=["standard", "custom"]
)
def test_an_operator_that_tensorrt_lacks_is_named_with_its_node_and_the_runtime(
    tmp_path: Path, operator: str, domain: str
) -> None:
    node = helper.make_node(operator, ["images"], ["out"], name="/model.3/odd", domain=domain)
    model = _write(tmp_path / "model.onnx", node)
    with pytest.raises(CompileError) as caught:
        rtx.prove(model, tmp_path / "logs" / "rtx.log")
    said = str(caught.value)
    assert caught.value.exit_code == 5
    assert f"TensorRT-RTX {rtx.version()} cannot parse operator {operator} of node '/model.3/odd'" in said
    assert "no such operator" in said
    assert "\n" not in said
    assert operator in (tmp_path / "logs" / "rtx.log").read_text()


@needs_rtx
def test_an_int32_bias_is_what_the_parser_says_it_is(tmp_path: Path) -> None:
    model = _write(
        tmp_path / "model.onnx",
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["b"], name="bias"),
        helper.make_node("Conv", ["images", "w", "b"], ["out"]),
        q=np.ones(8, np.int32),
        s=np.float32(0.1),
        z=np.int32(0),
    )
    with pytest.raises(CompileError, match=r"operator DequantizeLinear of node 'bias': .*Int32"):
        rtx.prove(model, tmp_path / "rtx.log")


@needs_rtx
def test_a_zero_point_that_is_not_zero_is_refused(tmp_path: Path) -> None:
    model = _write(
        tmp_path / "model.onnx",
        helper.make_node("QuantizeLinear", ["images", "s", "z"], ["q"], name="activation"),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"]),
        helper.make_node("Conv", ["d", "w"], ["out"]),
        s=np.float32(0.1),
        z=np.int8(3),
    )
    with pytest.raises(CompileError, match=r"node 'activation': .*[Zz]ero point"):
        rtx.prove(model, tmp_path / "rtx.log")


@needs_rtx
def test_a_file_that_is_no_model_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "junk.onnx").write_bytes(b"no graph")
    with pytest.raises(CompileError, match=r"junk\.onnx: TensorRT-RTX .* cannot parse this file") as caught:
        rtx.prove(tmp_path / "junk.onnx", tmp_path / "rtx.log")
    assert "\n" not in str(caught.value)


CRASH = "import os, signal, sys\nprint('last words', file=sys.stderr, flush=True)\n"


@pytest.mark.parametrize(
    ("end", "told"),
    [("os.kill(os.getpid(), signal.SIGSEGV)", "killed by SIGSEGV"), ("os._exit(3)", "ended with 3")],
)
def test_a_builder_that_crashes_ends_in_one_line_and_its_log_is_kept(
    tmp_path: Path, convnet: Path, monkeypatch: pytest.MonkeyPatch, end: str, told: str
) -> None:
    """A module that dies when it is imported stands in for a builder that does: the process is real."""
    (tmp_path / "tensorrt_rtx.py").write_text(f"{CRASH}{end}\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(rtx, "version", lambda: "1.0")
    log = tmp_path / "logs" / "rtx.log"
    with pytest.raises(CompileError, match=rf"crashed \(.*{told}\); its log: .*rtx\.log") as caught:
        rtx.prove(convnet, log)
    assert caught.value.exit_code == 5
    assert "last words" in log.read_text()


def test_a_builder_that_gives_no_answer_is_ended(
    tmp_path: Path, convnet: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tensorrt_rtx.py").write_text("import signal\nsignal.pause()\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(rtx, "version", lambda: "1.0")
    monkeypatch.setattr(rtx, "TIMEOUT_S", 0.5)
    with pytest.raises(CompileError, match="no answer"):
        rtx.prove(convnet, tmp_path / "rtx.log")


def test_without_it_the_error_says_how_to_get_it(
    tmp_path: Path, convnet: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rtx, "version", lambda: None)
    with pytest.raises(RuntimeMissingError, match=r"pip install 'edgeprune\[rtx\]'"):
        rtx.prove(convnet, tmp_path / "rtx.log")
