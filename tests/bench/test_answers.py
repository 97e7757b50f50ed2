"""An engine from anywhere is run apart: what it does there ends as one line, and within bounds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from edgeprune.bench import answers
from edgeprune.bench.subject import make_job, subjects_of
from edgeprune.core.errors import CompileError, DeviceError, EdgepruneError, ModelError
from hostile_networks import constant, write_endless, write_expanded, write_network


def _refusal(path: Path, folder: Path) -> EdgepruneError:
    with pytest.raises(EdgepruneError) as caught:
        make_job(subjects_of(path)[0], 1, folder)
    assert "\n" not in str(caught.value)
    return caught.value


def test_a_network_that_never_ends_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "FIRST_S", 4.0)
    monkeypatch.setattr(answers, "REFERENCE_S", 1.0)
    error = _refusal(write_endless(tmp_path / "loop.onnx"), tmp_path)
    assert isinstance(error, DeviceError) and "no answer within 5 s, it was stopped" in str(error)
    assert "loop.onnx" in str(error)


def test_an_output_beyond_the_memory_ends_the_worker_alone(tmp_path: Path) -> None:
    error = _refusal(write_expanded(tmp_path / "large.onnx", [1, 40_000, 1000, 1000]), tmp_path)
    assert error.exit_code in (3, 4) and "large.onnx" in str(error)


def test_an_output_that_would_fill_the_disk_is_refused(tmp_path: Path) -> None:
    error = _refusal(write_expanded(tmp_path / "wide.onnx", [1, 280, 1000, 1000]), tmp_path)
    assert isinstance(error, ModelError)
    assert "wide.onnx: one answer takes 1068 MB: at most 1024 MB" in str(error)


@pytest.mark.parametrize("sides", [[7, 2], [5]])
def test_outputs_without_a_batch_are_measured_without_a_reference(tmp_path: Path, sides: list[int]) -> None:
    job = make_job(subjects_of(write_expanded(tmp_path / "odd.onnx", sides))[0], 1, tmp_path)
    assert job.reference is None


def test_outputs_whose_shape_follows_the_input_are_measured_without_a_reference(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("ReduceMean", ["images"], ["mean"], keepdims=1),
        helper.make_node("Greater", ["images", "mean"], ["bright"]),
        helper.make_node("NonZero", ["bright"], ["found"]),
        helper.make_node("Unsqueeze", ["found", "axes"], ["out"]),
    ]
    path = write_network(
        tmp_path / "found.onnx", [constant("axes", [0]), *nodes], [1, 4, None], TensorProto.INT64
    )
    assert make_job(subjects_of(path)[0], 1, tmp_path).reference is None


def test_a_network_that_runs_out_of_time_is_compared_on_fewer_inputs(
    convnet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    subject = subjects_of(convnet)[0]
    monkeypatch.setattr(answers, "REFERENCE_S", 0.0)
    with np.load(str(make_job(subject, 1, tmp_path).reference)) as kept:
        assert kept["out0"].shape == (1, 16, 32, 32)


def test_a_damaged_file_keeps_the_error_of_its_runtime(tmp_path: Path) -> None:
    nodes = [helper.make_node("NoSuchOperator", ["images"], ["out"])]
    error = _refusal(write_network(tmp_path / "unknown.onnx", nodes, [1, 3, 32, 32]), tmp_path)
    assert isinstance(error, CompileError) and "NoSuchOperator" in str(error)
