"""TensorRT's program trtexec: its version and its flags; tests/cli/test_jetson.py builds by a stand-in."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeprune.backends import trtexec
from edgeprune.core.errors import CompileError
from tensorrt_standin import TRTEXEC


@pytest.mark.parametrize(
    ("printed", "version"),
    [("8502", "8.5.2"), ("8601", "8.6.1"), ("100300", "10.3.0"), ("101400", "10.14.0")],
)
def test_the_number_that_it_prints_is_a_version(printed: str, version: str) -> None:
    assert trtexec.parse_version(printed) == version


def test_precisions_are_in_the_graph_from_tensorrt_10_on() -> None:
    assert trtexec.precision_flags("int8", "10.3.0") == ("--stronglyTyped",)
    assert trtexec.precision_flags("int8", "8.5.2") == ("--fp16", "--int8")
    assert trtexec.precision_flags("fp16", "8.6.1") == ("--fp16",)
    assert trtexec.precision_flags("fp32", "8.6.1") == ()


def test_it_builds_or_tells_why_not(tmp_path: Path) -> None:
    program = tmp_path / "trtexec"
    program.write_text(TRTEXEC)
    program.chmod(0o755)
    good, bad = tmp_path / "good.onnx", tmp_path / "bad.onnx"
    good.write_text("a graph")
    bad.write_text("refuse me")
    assert trtexec.version_of(program) == "10.3.0"
    trtexec.build(program, good, tmp_path / "engine", [])
    assert (tmp_path / "engine").read_text() == "a graph"
    with pytest.raises(CompileError, match=r"trtexec 10\.3\.0 cannot build this graph: the stand-in refuses"):
        trtexec.build(program, bad, tmp_path / "other", [])
    with pytest.raises(CompileError, match="cannot be run"):
        trtexec.build(tmp_path / "absent", good, tmp_path / "third", [])
