"""`python -m benchmarks.on_gpu`: all of it but the GPU, whose place a stand-in takes, and the recovery."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import on_gpu
from edgeprune.images.dataset import Dataset
from tensorrt_standin import write_standin

ROOT = Path(on_gpu.__file__).resolve().parents[1]


@pytest.mark.skipif(Path("/dev/nvidiactl").exists(), reason="there is a GPU here")
def test_without_a_gpu_it_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert on_gpu.main(["--out", str(tmp_path / "figures.json")]) == 5
    assert capsys.readouterr().out.startswith("on_gpu: ") and not list(tmp_path.iterdir())


def test_every_figure_is_there(checkpoints: dict[str, Path], tiny: Dataset, tmp_path: Path) -> None:
    folder = write_standin(tmp_path / "standin")
    (folder / "tensorrt.py").rename(folder / "tensorrt_rtx.py")
    # torch brings NVIDIA's own library: the stand-in has to be there before it.
    shorter = (
        "from edgeprune.backends.cudart import load_cuda; load_cuda(); import benchmarks.on_gpu as it; "
        "it.SECONDS, it.WARM, it.CALIBRATION = 0.1, 3, 4; it.main({!r})"
    )
    out = tmp_path / "figures.json"
    options = ["--model", checkpoints["yolov8n"], "--data", tiny.source, "--out", out, "--epochs", 0]
    subprocess.run(
        [sys.executable, "-c", shorter.format([str(option) for option in options])],
        check=True,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(folder), "LD_LIBRARY_PATH": str(folder)},
    )
    told = json.loads(out.read_text())
    assert told["gpu"] == "Stand-in Orin" and told["date"] and set(told["engines"]) == {"fp16", "int8"}
    for engine in told["engines"].values():
        assert 0 < engine["relative_l2_error"] < 0.5 and engine["single_stream_ms"]["p50"] > 0
        assert engine["throughput_fps"] > 0 and engine["wrong_answers"] == 0
        assert set(engine["stages_ms"]) == {"h2d", "compute", "d2h"}
