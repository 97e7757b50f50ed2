"""The .ort format: what ONNX Runtime's builds for phones load, with the list of the operators that it needs.

Written by ONNX Runtime's own converter (https://onnxruntime.ai/docs/performance/model-optimizations/ort-format-models.html)
in its style "Fixed" for ARM: all optimisations are baked in, but for the NCHWc layout of x86, since a minimal
build has no optimiser. "Runtime" leaves some of them to a larger build, for NNAPI and CoreML.
"""

from __future__ import annotations

import io
import logging
import shutil
import tempfile
from contextlib import redirect_stdout
from pathlib import Path

from edgeprune.core.artifact import Artifact
from edgeprune.core.errors import CompileError, RuntimeMissingError, shorten
from edgeprune.core.files import ENGINE_BYTES, read_bytes, read_text

CONFIG = ".required_operators_and_types.config"
"""Ending of the file that ONNX Runtime's build takes as ``--include_ops_by_config``."""


def to_ort(model: Artifact, out: Path) -> Artifact:
    """Write `out/model.ort` from an ONNX artifact, and beside it the list of its operators and their types.

    Raises:
        CompileError: ONNX Runtime's converter failed.
        RuntimeMissingError: onnxruntime or its converter's package flatbuffers is not installed.
    """
    try:
        from onnxruntime.tools.convert_onnx_models_to_ort import (
            OptimizationStyle,
            convert_onnx_models_to_ort,
        )
    except ImportError as exc:
        raise RuntimeMissingError(f"the .ort converter needs {exc.name}: pip install {exc.name}") from exc
    logging.getLogger("ort_format_model.utils").setLevel(logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        source, log = Path(folder) / "model.onnx", io.StringIO()
        shutil.copyfile(model.path, source)
        try:
            with redirect_stdout(log):  # it prints its progress
                convert_onnx_models_to_ort(
                    source,
                    output_dir=out,
                    optimization_styles=[OptimizationStyle.Fixed],
                    target_platform="arm",
                    enable_type_reduction=True,
                )
        except Exception as exc:  # ONNX Runtime's exceptions share no base class of their own
            raise CompileError(f"{model.path}: conversion to .ort failed: {shorten(exc)}") from exc
    made = out / "model.ort"
    listed = config_of(made)
    # Its first lines name the folder it was written in, which is gone when the stage is whole.
    lines = (line for line in read_text(listed, CompileError).splitlines() if not line.startswith("#"))
    listed.write_text("\n".join(lines), encoding="utf-8")
    return Artifact.of(made, "engine", model.precision, model.sha256)


def operators(model: Path) -> list[str]:
    """Return the type of each node of a .ort file, whose graph is optimised already."""
    from onnxruntime.tools.ort_format_model.ort_flatbuffers_py.fbs.InferenceSession import InferenceSession

    graph = InferenceSession.GetRootAs(read_bytes(model, CompileError, ENGINE_BYTES), 0).Model().Graph()
    return [graph.Nodes(index).OpType().decode() for index in range(graph.NodesLength())]


def config_of(model: Path) -> Path:
    """Return the list of operators that lies beside a .ort file."""
    return model.with_name(model.stem + CONFIG)
