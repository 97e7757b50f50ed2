"""What a device tells of itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeprune.worker.facts import PROVIDERS, read_facts


def test_a_runtime_is_found_by_its_module_whatever_its_package_is_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = tmp_path / "made_runtime_gpu-2.5.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: made-runtime-gpu\nVersion: 2.5\n")
    (info / "top_level.txt").write_text("made_runtime\n")  # no such module: nothing is imported
    monkeypatch.syspath_prepend(tmp_path)
    facts = read_facts(["made_runtime", "absent"])
    assert facts["versions"] == {"made_runtime": "2.5"}
    assert facts["environment"]["cores"] >= 1


def test_what_a_runtime_may_run_on_is_told_by_the_runtime() -> None:
    told = read_facts([PROVIDERS, "onnxruntime", "ncnn"])
    assert "CPUExecutionProvider" in told["providers"]["onnxruntime"] and told.keys() == {"providers"}
    assert "ncnn" not in told["providers"], "it leaves no choice"
