"""`python -m benchmarks.attribution` on a build of a tiny network: every node's time, in its place."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgeprune.backends import get_backend, options_for
from edgeprune.bench.node_times import NodeTime
from edgeprune.config.targets import resolve_targets
from edgeprune.core.artifact import Artifact
from edgeprune.core.errors import ConfigError
from edgeprune.records.summary import Row, TargetSummary, save_summary
from made_effort import TINY_EFFORT
from made_summaries import a_summary

HOST = {profile.backend: profile for profile in resolve_targets(("cpu",))}


@pytest.fixture(scope="module")
def attribution() -> Iterator[Any]:
    """Give the benchmark, with no warm-up to speak of."""
    with pytest.MonkeyPatch.context() as patch:
        from benchmarks import attribution

        patch.setattr(attribution, "EFFORT", TINY_EFFORT)
        yield attribution


@pytest.fixture(scope="module")
def build(convnet: Path, convnet_int8: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a build of two targets, a measured row each, ONNX Runtime's int8 one chosen."""
    folder = tmp_path_factory.mktemp("build")
    shutil.copyfile(convnet_int8, folder / "int8.onnx")
    ir = get_backend("openvino").compile(
        Artifact.of(convnet, "onnx", "fp32"), "fp32", options_for(HOST["openvino"], "fp32"), folder
    )
    engines = {"onnxruntime": Artifact.of(folder / "int8.onnx", "engine", "int8"), "openvino": ir}
    targets = {}
    for backend, engine in engines.items():
        row = Row(
            target=HOST[backend].name,
            variant="original",
            precision=engine.precision,
            runtime=backend,
            p50_ms=1.25,
            size_mb=0.1,
            environment={"ONEDNN_MAX_CPU_ISA": "AVX2"} if backend == "openvino" else {},
            artifact=engine.path.name,
            sha256=engine.sha256,
        )
        targets[row.target] = TargetSummary(rows=(row,), chosen=row, verdict="-", split="test")
    chosen = targets[HOST["onnxruntime"].name].chosen
    save_summary(a_summary().model_copy(update={"targets": targets, "chosen": chosen}), folder)
    return folder


def tables(text: str) -> list[list[list[str]]]:
    """Return the cells of each Markdown table, without its ruler."""
    blocks = re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)
    return [
        [[cell.strip() for cell in line.split("|")[1:-1]] for line in block.splitlines() if "---" not in line]
        for block in blocks
    ]


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_all_time_is_told_by_operator_by_map_and_by_layer(
    attribution: Any, build: Path, backend: str, capsys: pytest.CaptureFixture[str]
) -> None:
    row = f"{HOST[backend].name} original {'int8' if backend == 'onnxruntime' else 'fp32'}"
    attribution.main(["--build", str(build), "--row", row, "--inferences", "50"])
    printed = capsys.readouterr().out
    kinds, layers = tables(printed)
    head, *lines, last = kinds
    convolutions = next(line for line in lines if line[0] == "convolution")
    assert int(convolutions[1]) == 2 and "32x32" in head
    assert int(last[1]) == sum(int(line[1]) for line in lines)
    everything = float(last[-2])
    assert sum(float(line[-2]) for line in lines) == pytest.approx(everything, abs=0.01 * len(lines))
    assert sum(float(cell or 0) for cell in last[2:-2]) == pytest.approx(everything, abs=0.01 * len(head))
    assert f"together: {everything:.2f} ms" in printed and "1.25 ms at p50" in printed
    shown = [float(line[4]) for line in layers[1:]]
    assert shown == sorted(shown, reverse=True) and len(shown) <= 10
    assert any(line[2] == "3 to 16" and line[3] == "32x32" for line in layers[1:])
    assert ("ONEDNN_MAX_CPU_ISA=AVX2" in printed) == (backend == "openvino")
    if backend == "openvino":  # the worker ran in the environment that the row was measured in
        assert "avx512" not in printed


def test_what_is_no_feature_map_is_the_decode(attribution: Any) -> None:
    flat = ((1, 16, 4, 2100),)
    node = NodeTime("n", "Softmax", "jit", "fp32", ("n",), flat, flat, 1.0)
    assert attribution.read(node, 320).kind == "decode"
    found = attribution.read(replace(node, inputs=((1, 40, 40, 8),), outputs=((1, 16, 20, 20),)), 320)
    assert (found.kind, found.side, found.channels) == ("Softmax", 20, (8, 16))


def test_a_row_that_is_not_there_is_refused(attribution: Any, build: Path) -> None:
    with pytest.raises(ConfigError, match=r"'x86 int8' is no measured row of this build.*original fp32"):
        attribution.main(["--build", str(build), "--row", "x86 int8"])
