"""Builds and results of several devices. Every number in them is synthetic: test data, measured nowhere."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edgeprune.records.bench_result import BenchResult, Energy, save_result
from edgeprune.records.facts import EngineFacts, RuntimeFacts

PI = {"machine": "aarch64", "board": "Raspberry Pi 5", "cpu": "Cortex-A76", "cores": 4}
Make = Callable[..., Path]


@pytest.fixture
def make(tmp_path: Path, parts: SimpleNamespace) -> Make:
    """Return a function that writes a build under a name, with changes to its summary."""

    def write(name: str, slower: float = 1.0, **changes: Any) -> Path:
        base = parts.summary()
        targets = {}
        for target, told in base.targets.items():
            rows = tuple(
                row.model_copy(update={"p50_ms": row.p50_ms and row.p50_ms * slower}) for row in told.rows
            )
            chosen = rows[-1] if told.chosen else None
            targets[target] = told.model_copy(update={"rows": rows, "chosen": chosen})
        fields = {"targets": targets, "chosen": targets["x86-openvino"].chosen} | changes
        folder: Path = parts.write_build(tmp_path / name, **fields)
        return folder

    return write


@pytest.fixture
def bench(tmp_path: Path, parts: SimpleNamespace) -> Make:
    """Return a function that writes the result of a bench on a Raspberry Pi, with changes to it."""

    def write(file: str, name: str, p50: float, sha256: str = "unknown", **changes: Any) -> Path:
        result: BenchResult = parts.bench_result(name, p50)
        fields = {
            "env_before": PI,
            "device": "ssh://pi@board",
            "artifact": EngineFacts(sha256=sha256),
            "backend": RuntimeFacts(name="onnxruntime", version="1.32.0", threads=1, precision_actual="fp32"),
        }
        path = tmp_path / file
        save_result(result.model_copy(update=fields | changes), path)
        return path

    return write


@pytest.fixture
def energy() -> Energy:
    """Return 12 mJ an inference by an INA3221."""
    return Energy(j_per_inf=0.012, idle_w=2.0, mean_w=4.0, source="ina3221", rails=("VDD_IN",), hz=10.0)
