"""A runtime works when a model compiled and ran in it and came out right, not when it can be imported."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgeprune.verify.probe
from edgeprune.backends import BACKENDS, get_backend
from edgeprune.core.artifact import Artifact
from edgeprune.core.backend import backend_of
from edgeprune.core.errors import EdgepruneError, RuntimeMissingError
from edgeprune.verify.probe import probe, probe_apart


class Scaling:
    """A runtime that scales its exact result by `factor`."""

    def __init__(self, factor: float, installed: str | None = "9.9") -> None:
        self.factor = factor
        self.installed = installed

    def version(self) -> str | None:
        return self.installed

    def compile(self, model: Artifact, precision: str, options: Mapping[str, str], out: Path) -> Artifact:
        return model

    def load(
        self, engine: Path, precision: str, threads: int, options: Mapping[str, str]
    ) -> Callable[[Any], list[Any]]:
        import onnx

        (kernel,) = onnx.load(engine).graph.initializer
        weight = onnx.numpy_helper.to_array(kernel)[:, :, 0, 0]
        return lambda images: [self.factor * np.maximum(np.einsum("oi,nihw->nohw", weight, images), 0)]


@pytest.mark.parametrize("name", [name for name in BACKENDS if not get_backend(name).PROBE])
def test_a_runtime_that_computes_right_is_well(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(edgeprune.verify.probe, "get_backend", lambda name: backend_of(name, Scaling(1.0)))
    assert probe(name, tmp_path).startswith("9.9; compiled and ran a")


@pytest.mark.parametrize("factor", [1.1, 0.0, float("nan")])
def test_a_runtime_that_computes_wrong_is_ill(
    factor: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(edgeprune.verify.probe, "get_backend", lambda name: backend_of(name, Scaling(factor)))
    with pytest.raises(EdgepruneError, match=r"9\.9 runs, but computes wrong results"):
        probe("onnxruntime", tmp_path)


def test_a_runtime_that_is_not_installed_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        edgeprune.verify.probe, "get_backend", lambda name: backend_of(name, Scaling(1.0, installed=None))
    )
    with pytest.raises(RuntimeMissingError, match="not installed"):
        probe("tensorrt", tmp_path)


@pytest.mark.parametrize(
    ("script", "answer"),
    [
        ("echo 'a warning'; echo 'ok 9.9; ran'", (True, "9.9; ran")),
        ("echo 'not installed'", (False, "not installed")),
        (
            "echo 'Traceback' >&2; echo 'RuntimeError: bad driver' >&2; exit 1",
            (False, "RuntimeError: bad driver"),
        ),
        ("echo 'ok 9.9; ran'; echo 'double free' >&2; exit 1", (False, "double free")),
        ("exit 3", (False, "crashed without a message")),
        ("kill -ILL $$", (False, "killed by SIGILL: it was built for another CPU")),
        ("kill -SEGV $$", (False, "killed by SIGSEGV")),
    ],
)
def test_a_runtime_that_dies_takes_only_its_own_process(
    script: str, answer: tuple[bool, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\n{script}\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    assert probe_apart("onnxruntime") == answer


def test_a_runtime_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(args: list[str], **options: Any) -> None:
        raise subprocess.TimeoutExpired(args, options["timeout"])

    monkeypatch.setattr(subprocess, "run", hang)
    assert probe_apart("openvino") == (False, "gave no answer in 120 s")
