"""A stage's key holds the versions of what makes it: packages here, runtimes on the device where they run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from edgeprune.config.targets import resolve_targets
from edgeprune.core.artifact import Artifact
from edgeprune.pipeline import measure
from edgeprune.pipeline.context import Build, Candidate
from edgeprune.records.bench_result import BenchResult, Job
from made_contexts import board, told


def counted(context: Build, **declared: Sequence[str]) -> Callable[[Build], int]:
    """Return a function that asks a build for one stage and tells how often it has been made."""
    made: list[Path] = []

    def ask(build: Build) -> int:
        build.stage("some", {"part": 1}, made.append, Path, **declared)
        return len(made)

    assert ask(context) == ask(context) == 1
    return ask


def test_a_stage_is_made_again_for_another_version_of_what_it_uses_here(context: Build) -> None:
    ask = counted(context, uses=("torch", "onnx"))
    assert ask(replace(context, version=lambda name: "9" if name == "onnx" else context.version(name))) == 2
    assert ask(replace(context, version=lambda name: "9" if name == "nncf" else context.version(name))) == 2
    assert context.store.versions["torch"] == context.version("torch")


def test_a_stage_is_made_again_for_another_version_on_the_device_not_for_one_here(context: Build) -> None:
    ask = counted(context, times=("onnxruntime",))
    assert ask(replace(context, version=lambda _: "9")) == 2, (
        "only edgeprune's own version is of this machine"
    )
    assert ask(replace(context, testbed=board(onnxruntime="1.0", ncnn="5"))) == 2
    assert ask(replace(context, testbed=board(onnxruntime="1.1"))) == 3


def test_a_stage_that_measures_is_of_one_machine(context: Build) -> None:
    ask = counted(context, times=("onnxruntime",))
    other = replace(context.testbed, environment=context.testbed.environment | {"cpu": "another one"})
    assert ask(replace(context, testbed=other)) == 2


@pytest.mark.parametrize("target", ["x86-ort", "x86-openvino", "x86-ncnn", "x86-litert", "x86-executorch"])
def test_a_latency_is_measured_again_for_another_version_of_any_runtime_on_the_device(
    context: Build, target: str, convnet: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    profile = resolve_targets((target,))[0]
    row = Candidate(profile, "original", 32, "fp32", Artifact.of(convnet, "engine", "fp32"), accuracy={})
    there = ""

    def measured(jobs: Sequence[Job], *_: object) -> list[BenchResult]:
        return [told(job.name, there) for job in jobs]

    monkeypatch.setattr(measure, "measure", measured)
    for there in ("1.0", "1.1"):
        build = replace(context, testbed=board(**{profile.backend: there}))
        found, _ = measure.measure_rows(build, [row], "quick")[row.name]
        assert found.backend.version == there
