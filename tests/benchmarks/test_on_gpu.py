"""`python -m benchmarks.on_gpu` on a machine without a GPU; the rest of it was never run."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import on_gpu


@pytest.mark.skipif(Path("/dev/nvidiactl").exists(), reason="there is a GPU here")
def test_without_a_gpu_it_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert on_gpu.main(["--out", str(tmp_path / "figures.json")]) == 5
    assert capsys.readouterr().out.startswith("on_gpu: ") and not list(tmp_path.iterdir())
