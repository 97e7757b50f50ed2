"""Both CPU runtimes on tiny real networks: they compute the same, and tell what they run in."""

from __future__ import annotations

import platform
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from edgeprune.backends import BACKENDS, Session, get_backend, options_for
from edgeprune.config.targets import DeviceProfile, resolve_targets
from edgeprune.core.artifact import Artifact
from edgeprune.core.errors import CompileError, ConfigError

TARGETS = resolve_targets(("cpu",), platform.machine())


@pytest.fixture(params=TARGETS, ids=lambda profile: profile.name)
def profile(request: pytest.FixtureRequest) -> DeviceProfile:
    found: DeviceProfile = request.param
    return found


def _compiled(profile: DeviceProfile, model: Path, precision: str, out: Path) -> Artifact:
    source = Artifact.of(model, "onnx", precision)
    return get_backend(profile.backend).compile(source, precision, options_for(profile, precision), out)


def test_an_engine_knows_its_parent_and_lies_in_the_folder(
    profile: DeviceProfile, convnet: Path, tmp_path: Path
) -> None:
    engine = _compiled(profile, convnet, "fp32", tmp_path)
    assert engine.kind == "engine"
    assert engine.precision == "fp32"
    assert engine.path.parent == tmp_path
    assert engine.parent == Artifact.of(convnet, "onnx", "fp32").sha256


def test_fp32_runs_in_fp32_and_agrees_between_the_runtimes(
    convnet: Path, random_images: np.ndarray, tmp_path: Path
) -> None:
    outputs = []
    for profile in TARGETS:
        engine = _compiled(profile, convnet, "fp32", tmp_path / profile.name)
        backend = get_backend(profile.backend)
        session = backend.load(engine.path, "fp32", 1, options_for(profile, "fp32"))
        assert session.actual["precision"] == "fp32"
        assert session.actual["provider"] == backend.PROVIDER
        assert session.actual["threads"] == 1
        assert session.actual["version"] == backend.version()
        (output,) = session(random_images[:1])
        assert output.dtype == np.float32
        outputs.append(output)
    np.testing.assert_allclose(outputs[0], outputs[1], rtol=1e-4, atol=1e-5)


def test_an_output_is_not_overwritten_by_the_next_query(
    profile: DeviceProfile, convnet: Path, random_images: np.ndarray, tmp_path: Path
) -> None:
    engine = _compiled(profile, convnet, "fp32", tmp_path)
    session = get_backend(profile.backend).load(engine.path, "fp32", 1, options_for(profile, "fp32"))
    (first,) = session(random_images[:1])
    kept = first.copy()
    session(random_images[1:2])
    np.testing.assert_array_equal(first, kept)


def test_integer_convolutions_are_counted(
    profile: DeviceProfile, convnet: Path, convnet_int8: Path, tmp_path: Path
) -> None:
    backend = get_backend(profile.backend)
    assert backend.quantized_ops(_compiled(profile, convnet, "fp32", tmp_path / "fp32").path) == 0
    assert backend.quantized_ops(_compiled(profile, convnet_int8, "int8", tmp_path / "int8").path) == 2


def test_a_file_that_is_no_model_is_refused_in_one_line(profile: DeviceProfile, tmp_path: Path) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"not a graph")
    with pytest.raises(CompileError, match=r"cannot") as caught:
        _compiled(profile, broken, "fp32", tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert ".onnx" in str(caught.value)


def test_an_option_openvino_does_not_know_is_refused(convnet: Path, tmp_path: Path) -> None:
    profile = next(profile for profile in TARGETS if profile.backend == "openvino")
    engine = _compiled(profile, convnet, "fp32", tmp_path)
    with pytest.raises(CompileError, match="NOT_A_PROPERTY"):
        get_backend("openvino").load(engine.path, "fp32", 1, {"NOT_A_PROPERTY": "1"})


def test_openvino_keeps_full_weights_and_takes_over_an_ir_folder(convnet: Path, tmp_path: Path) -> None:
    profile = next(profile for profile in TARGETS if profile.backend == "openvino")
    first = _compiled(profile, convnet, "fp32", tmp_path / "first")
    weights = 16 * 3 * 9 + 16 * 16 * 9
    assert (first.path / "model.bin").stat().st_size >= 4 * weights
    again = get_backend("openvino").compile(first, "fp32", options_for(profile, "fp32"), tmp_path / "again")
    assert again.sha256 == first.sha256
    assert again.parent == first.sha256


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the bf16 row is an x86 row")
def test_openvino_tells_the_precision_it_really_runs_in(convnet: Path, tmp_path: Path) -> None:
    profile = next(profile for profile in TARGETS if profile.backend == "openvino")
    engine = _compiled(profile, convnet, "fp32", tmp_path)
    asked = {"fp32": "f32", "bf16": "bf16"}
    for precision, hint in asked.items():
        session = get_backend("openvino").load(engine.path, precision, 1, {"INFERENCE_PRECISION_HINT": hint})
        # A CPU without bf16 falls back to f32, and says so.
        assert session.actual["precision"] in {precision, "fp32"}


def test_many_queries_at_once_do_not_disturb_each_other(
    profile: DeviceProfile, convnet: Path, random_images: np.ndarray, tmp_path: Path
) -> None:
    engine = _compiled(profile, convnet, "fp32", tmp_path)
    backend, options = get_backend(profile.backend), options_for(profile, "fp32")
    inputs = [image[None] for image in random_images]
    alone = [backend.load(engine.path, "fp32", 1, options)(images)[0] for images in inputs]
    sessions = backend.load_many(engine.path, "fp32", 1, options, 4)
    assert len(sessions) == 4

    def answers(session: Session) -> list[np.ndarray]:
        return [session(images)[0] for images in inputs * 8]

    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(answers, sessions):
            np.testing.assert_allclose(found, alone * 8, rtol=1e-4, atol=1e-5)


def test_openvino_has_a_stream_for_each_query_in_flight(convnet: Path, tmp_path: Path) -> None:
    profile = next(profile for profile in TARGETS if profile.backend == "openvino")
    engine = _compiled(profile, convnet, "fp32", tmp_path)
    session = get_backend("openvino").load_many(engine.path, "fp32", 1, {}, 2)[0]
    assert (session.actual["streams"], session.actual["threads"]) == (2, 2)
    assert session.compile_ms is not None and session.compile_ms > 0


def test_an_unknown_runtime_gets_a_suggestion() -> None:
    with pytest.raises(ConfigError, match=r"did you mean 'openvino'"):
        get_backend("openvno")
    assert "openvino" in BACKENDS
