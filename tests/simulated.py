"""A simulated device, for what has to be decided on noise of a known kind."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from edgeprune.records.bench_result import Cold, Job, Memory, WorkerReport


class Machine:
    """A simulated device: it answers for a worker with the latency, memory and trouble it is told to have."""

    def __init__(self, make_block: Callable[..., Any], noise: float = 0.01, **ms: float) -> None:
        self.make_block, self.noise, self.ms = make_block, noise, ms
        self.random = np.random.default_rng(7)
        self.peak_mb = dict.fromkeys(ms, 100.0)
        self.device_mb: dict[str, float] = {}
        self.samples = 200
        self.report: dict[str, dict[str, Any]] = {name: {} for name in ms}
        self.block: dict[str, Any] = {}
        self.disturb = 0
        self.calls: list[str] = []

    def __call__(self, jobs: Sequence[Job], scenario: str) -> list[WorkerReport]:
        return [self.answer(job, scenario) for job in jobs]

    def answer(self, job: Job, scenario: str) -> WorkerReport:
        timed = scenario == "single_stream"
        block = None
        if timed:
            self.calls.append(job.name)
            level = self.ms[job.name] * math.exp(self.random.normal(0, self.noise))
            changes = dict(self.block)
            if self.disturb:
                self.disturb -= 1
                changes["foreign"] = 0.5
            block = self.make_block([level] * self.samples, **changes)
        report: dict[str, Any] = {
            "pid": 1,
            "version": "1.0",
            "actual": {"provider": "CPUExecutionProvider", "precision": "fp32", "threads": 1, "streams": 1},
            "inputs": {"n": 16, "shape": [1, 3, 32, 32], "sha256": ""},
            "cold": Cold(load=1.0, first_infer=1.0),
            "block": block,
            "memory": None
            if timed
            else Memory(
                baseline_hwm=50,
                load_hwm=90,
                peak_hwm=self.peak_mb[job.name],
                method="VmHWM",
                device_peak=self.device_mb.get(job.name),
            ),
            "quantized_ops": None if timed else 0,
            "env_before": {"cpu": "simulated", "machine": "none"},
            "env_after": {},
        }
        return WorkerReport(**report | self.report[job.name])


def make_job(name: str, precision: str = "fp32") -> Job:
    """Return a job of that name that nothing has to run."""
    return Job(
        name=name,
        backend="onnxruntime",
        engine=f"{name}.onnx",
        engine_sha256=name,
        precision=precision,
        threads=1,
        options={},
        inputs="inputs.npy",
    )
