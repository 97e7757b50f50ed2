"""`edgeprune explain` on a folder with real engines of a tiny network, and on what is left of one."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from edgeprune.backends import get_backend, options_for
from edgeprune.config.targets import resolve_targets
from edgeprune.core.artifact import Artifact
from edgeprune.records.summary import Row, TargetSummary, save_summary
from made_summaries import a_summary
from sshd import Device

HOST = {profile.backend: profile for profile in resolve_targets(("cpu",))}
ORT = HOST["onnxruntime"].name
MACS = 32 * 32 * 16 * 27


@pytest.fixture
def folder(convnet: Path, convnet_int8: Path, tmp_path: Path) -> Path:
    """Return a build of one network: fp32 and int8 on ONNX Runtime, fp32 on OpenVINO if it runs here."""
    out = tmp_path / "build"
    rows = []
    for backend, precision, ms in (
        ("onnxruntime", "fp32", 4.0),
        ("onnxruntime", "int8", 2.0),
        ("openvino", "fp32", 3.0),
    ):
        if backend not in HOST:
            continue
        place = out / "stages" / f"engine-{backend}-{precision}"
        model = Artifact.of(convnet_int8 if precision == "int8" else convnet, "onnx", precision)
        engine = get_backend(backend).compile(model, precision, options_for(HOST[backend], precision), place)
        rows.append(
            Row(
                target=HOST[backend].name, variant="original", precision=precision, runtime=backend,
                p50_ms=ms, speedup=4.0 / ms, size_mb=0.1, sha256=engine.sha256,
                artifact=engine.path.relative_to(out).as_posix(),
                environment={"ONEDNN_MAX_CPU_ISA": "AVX2"} if backend == "openvino" else {},
            )
        )  # fmt: skip
    targets = {
        name: TargetSummary(
            rows=tuple(row for row in rows if row.target == name), chosen=None, verdict="-", split="test"
        )
        for name in dict.fromkeys(row.target for row in rows)
    }
    summary = a_summary().model_copy(
        update={"targets": targets, "chosen": rows[1], "reference": f"{ORT} original fp32"}
    )
    save_summary(summary, out)
    (out / "best").mkdir()
    shutil.copyfile(out / rows[1].artifact, out / "best" / "model.onnx")
    return out


def test_the_chosen_row_is_split_and_its_layers_are_timed_in_their_precision(folder: Path, run: Any) -> None:
    ended = run("explain", folder, "--json")
    assert ended.code == 0, ended.errors
    told = json.loads(ended.stdout)
    assert told["row"] == f"{ORT} original int8"
    assert [(one["change"], one["factor"]) for one in told["split"]["factors"]] == [("int8", 2.0)]
    engine = told["engine"]
    layers = [layer["cost"] for layer in engine["layers"]]
    assert [layer["ms"] for layer in layers] == sorted((layer["ms"] for layer in layers), reverse=True)
    assert sum(layer["share"] for layer in layers) <= 1 + 1e-9 and len(layers) <= 10
    first = next(layer for layer in engine["layers"] if layer["cost"]["macs"] == MACS)
    assert first["cost"]["precision"] == "int8" and first["cost"]["weights"]["quantized"]
    assert any("few inputs: 3 input channels" in reason for reason in first["why"])
    assert all(layer["why"] for layer in engine["layers"])
    assert engine["p50_ms"] == 2.0 and engine["sum_ms"] == pytest.approx(
        sum(layer["ms"] for layer in layers), rel=0.5
    )


def test_the_layers_are_timed_on_the_device(folder: Path, run: Any, device: Device, elsewhere: None) -> None:
    ended = run("explain", folder, "--device", device.address(), "--json")
    assert ended.code == 0, (ended.errors, ended.exception)
    engine = json.loads(ended.stdout)["engine"]
    assert any(layer["cost"]["macs"] == MACS for layer in engine["layers"]) and engine["plain_ms"] > 0


def test_the_terminal_says_what_the_counters_cost(folder: Path, run: Any) -> None:
    ended = run("explain", folder)
    assert ended.code == 0, ended.errors
    said = " ".join(ended.stdout.split())
    assert "2.00x. They differ by int8 only." in said
    assert re.search(r"int8 .* \d+\.\d{3} +\d+\.\d$", ended.stdout, re.M), "milliseconds fit into 80 columns"
    assert "QLinearConv" in said and "with the counters and" in said and "2.00 ms at p50" in said


@pytest.mark.skipif("openvino" not in HOST, reason="no profile of this machine runs OpenVINO")
def test_another_row_runs_in_its_own_runtime_and_environment(folder: Path, run: Any) -> None:
    told = json.loads(
        run("explain", folder, "--row", f"{HOST['openvino'].name} original fp32", "--json").stdout
    )
    assert [one["change"] for one in told["split"]["factors"]] == ["compiler"]
    layers = [layer["cost"] for layer in told["engine"]["layers"]]
    assert any(layer["macs"] == MACS and layer["precision"] == "fp32" for layer in layers)
    assert not any("avx512" in layer["kernel"] for layer in layers)
    assert "ONEDNN_MAX_CPU_ISA=AVX2" in told["notes"][0]


def test_the_page_has_bars_of_factors_and_layers(folder: Path, run: Any, tmp_path: Path) -> None:
    assert run("explain", folder, "--plot", tmp_path / "page.html").code == 0
    page = (tmp_path / "page.html").read_text()
    assert page.count("<svg") == 2 and "QLinearConv" in page and "3 input channels" in page


def test_a_copy_of_the_summary_alone_still_tells_the_split(folder: Path, run: Any) -> None:
    for part in ("stages", "best"):
        shutil.rmtree(folder / part)
    ended = run("explain", folder)
    assert ended.code == 0 and "They differ by int8 only" in " ".join(ended.stdout.split())
    assert "The layers were not timed" in ended.stdout and "copy the folder with stages/" in " ".join(
        ended.stdout.split()
    )


def test_best_is_enough_for_the_layers_of_the_chosen_row(folder: Path, run: Any) -> None:
    shutil.rmtree(folder / "stages")
    assert json.loads(run("explain", folder, "--json").stdout)["engine"]["layers"]
    (folder / "best" / "model.onnx").write_bytes(b"another")
    assert json.loads(run("explain", folder, "--json").stdout)["engine"] is None


def test_a_row_or_a_build_that_is_not_there_is_one_line(folder: Path, run: Any, tmp_path: Path) -> None:
    ended = run("explain", folder, "--row", "x86 int8")
    assert ended.code == 3 and "'x86 int8' is no measured row of this build" in ended.error
    ended = run("explain", tmp_path)
    assert ended.code == 6 and "no finished build is here" in ended.error
