"""What a build without the device proves of files for TensorRT is said, and where none was made."""

from __future__ import annotations

from edgeprune.records.summary import AheadOfTime, Row, TargetSummary
from edgeprune.report.tables import ahead_of_time


def _target(*proofs: AheadOfTime | None, on_device: tuple[str, ...] = ("trtexec",)) -> TargetSummary:
    rows = tuple(
        Row(
            target="jetson",
            variant="original",
            precision=precision,
            runtime="tensorrt",
            size_mb=1.0,
            ahead_of_time=proof,
            artifact="model.onnx",
            sha256="ab",
        )
        for precision, proof in zip(("fp16", "int8"), proofs, strict=True)
    )
    return TargetSummary(rows=rows, chosen=None, verdict="-", split="test", on_device=on_device)


PROOF = AheadOfTime(version="1.7.1", capabilities=("SM86", "SM89"))


def test_a_proof_is_told_with_its_rows_its_version_and_what_it_was_built_for() -> None:
    told = (
        "Files parsed and built ahead of time for SM86, SM89 by TensorRT-RTX 1.7.1: "
        "original fp16, original int8."
    )
    assert ahead_of_time(_target(PROOF, PROOF)) == told


def test_what_was_not_checked_is_told_with_the_command() -> None:
    told = "Files not checked (pip install 'edgeprune[rtx]'): original fp16, original int8."
    assert ahead_of_time(_target(None, None)) == told
    mixed = ahead_of_time(_target(PROOF, None))
    assert "TensorRT-RTX 1.7.1: original fp16; not checked" in mixed
    assert mixed.endswith(": original int8.")


def test_a_target_that_is_measured_here_needs_no_such_proof() -> None:
    assert ahead_of_time(_target(None, None, on_device=())) == ""
