"""A build of the tiny classifier that has just begun, on a board of this machine's kind."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeprune.bench import testbed
from edgeprune.config.recipe import load_recipe
from edgeprune.config.targets import resolve_targets
from edgeprune.core.artifact import Store
from edgeprune.images.dataset import Dataset
from edgeprune.models.source import ModelSource
from edgeprune.pipeline.build import start
from edgeprune.pipeline.context import Build, BuildRequest
from edgeprune.records.bench_result import BenchResult, Block
from edgeprune.runners.local import LocalRunner


class Board(LocalRunner):
    """This machine under another name: what it says of its runtimes is asked of it, not of this Python."""

    name = "ssh://board"


def board(**versions: str) -> testbed.Testbed:
    """Return a device of this machine's kind with runtimes of these versions."""
    return testbed.Testbed(Board(), testbed.local().environment, versions)


@pytest.fixture
def context(classifiers: dict[str, Path], digits: Dataset, tmp_path: Path) -> Build:
    (tmp_path / "stages").mkdir()
    targets = resolve_targets(("x86-ort",))
    recipe = load_recipe(None, ("quantize.images=4",), imgsz=32)
    request = BuildRequest(
        ModelSource(classifiers["yolov8n-cls"]), digits.source, targets, recipe, tmp_path, command="test"
    )
    return start(request, Store(tmp_path / "stages"), lambda *_: None, board(onnxruntime="1.0"))[1]


def told(name: str, version: str) -> BenchResult:
    """Return a measurement of three queries that tells which version of a runtime measured."""
    block = Block(
        pid=1, order=0, t_start=0, warmup_n=1, samples_ns=(1_000_000,) * 3, elapsed_ns=3_000_000,
        canary_before_ns=1, canary_after_ns=1, ctxt_invol=0, majflt=0,
    )  # fmt: skip
    return BenchResult(
        run_id="one", started_utc="", name=name, tool={}, artifact={}, backend={"version": version},
        scenario={}, blocks=(block,), cold_ms=None, memory=None, env_before={}, env_after={}, flags=(),
    )  # fmt: skip
