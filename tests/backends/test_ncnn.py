"""ncnn: what pnnx makes is proven, and what cannot be made is refused with a name."""

from __future__ import annotations

import builtins
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conftest import build_detector
from edgeprune.adapters.ultralytics import detect as adapter
from edgeprune.backends import ncnn, ncnn_files, onnxruntime, pnnx
from edgeprune.config.recipe import ExportRecipe
from edgeprune.core.artifact import Artifact
from edgeprune.core.errors import CompileError, RuntimeMissingError
from edgeprune.export.onnx import export
from edgeprune.images.dataset import Dataset
from edgeprune.images.preprocess import Preprocess, load_input
from edgeprune.records.summary import ExportCheck
from edgeprune.verify.probe import probe

pytest.importorskip("ncnn")
Exported = dict[str, tuple[Artifact, ExportCheck]]
SPEC = Preprocess(64)


@pytest.fixture(scope="module")
def engine(convnet: Path, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    out = tmp_path_factory.mktemp("ncnn")
    return ncnn.compile(Artifact.of(convnet, "onnx", "fp32"), "fp32", {}, out)


def test_the_engine_computes_what_the_onnx_file_does(
    engine: Artifact, convnet: Path, random_images: np.ndarray
) -> None:
    session = ncnn.load(engine.path, "fp32", 1, {})
    expected = onnxruntime.load(convnet, "fp32", 1, {})
    for image in random_images[:3]:
        (output,), (wanted,) = session(image[None]), expected(image[None])
        assert (output.shape, output.dtype) == (wanted.shape, np.float32)
        np.testing.assert_allclose(output, wanted, rtol=1e-4, atol=1e-5)


def test_many_queries_at_once_do_not_disturb_each_other(engine: Artifact, random_images: np.ndarray) -> None:
    inputs = [image[None] for image in random_images]
    alone = [ncnn.load(engine.path, "fp32", 1, {})(images)[0] for images in inputs]
    sessions = ncnn.load_many(engine.path, "fp32", 1, {}, 4)
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(lambda session: [session(images)[0] for images in inputs * 8], sessions):
            np.testing.assert_allclose(found, alone * 8, rtol=1e-4, atol=1e-5)


def test_the_session_tells_what_it_uses(engine: Artifact) -> None:
    actual = ncnn.load(engine.path, "fp32", 1, {}).actual
    assert (actual["provider"], actual["precision"], actual["vulkan"]) == (ncnn.PROVIDER, "fp32", False)
    assert (actual["threads"], actual["version"]) == (1, ncnn.version())
    assert not {"use_fp16_storage", "use_fp16_arithmetic"} & set(actual["options"])
    half = ncnn.load(engine.path, "fp16", 1, {}).actual
    assert "use_fp16_storage" in half["options"]
    assert half["precision"] in {"fp16", "fp32"}  # fp32 on a CPU whose kernels have no fp16


def test_fp16_halves_the_file(engine: Artifact, convnet: Path, tmp_path: Path) -> None:
    half = ncnn.compile(Artifact.of(convnet, "onnx", "fp32"), "fp16", {}, tmp_path)
    whole, small = ((path.path / ncnn_files.BIN).stat().st_size for path in (engine, half))
    assert small < 0.6 * whole


def test_an_image_is_not_written_to_and_an_output_not_overwritten(
    engine: Artifact, random_images: np.ndarray
) -> None:
    session = ncnn.load(engine.path, "fp32", 1, {})
    image = random_images[:1].copy()
    (first,) = session(image)
    kept = first.copy()
    session(random_images[1:2])
    np.testing.assert_array_equal(image, random_images[:1])
    np.testing.assert_array_equal(first, kept)


@pytest.mark.parametrize("family", ["yolov5n", "yolov8n", "yolo11n", "yolo26n"])
def test_detectors_keep_boxes_and_scores(
    float_models: Exported, tiny: Dataset, tmp_path: Path, family: str
) -> None:
    source = float_models[family][0]
    session = ncnn.load(ncnn.compile(source, "fp32", {}, tmp_path).path, "fp32", 1, {})
    expected = onnxruntime.load(source.path, "fp32", 1, {})
    for image in tiny.images["val"][:2]:
        tensor, _ = load_input(image, SPEC)
        difference = np.abs(session(tensor)[0] - expected(tensor)[0])
        assert difference[:, :4].max() < 0.01
        assert difference[:, 4:].max() < 1e-4


def test_reading_and_writing_the_files_keeps_every_byte(engine: Artifact, tmp_path: Path) -> None:
    ncnn_files.write(ncnn_files.read(engine.path), tmp_path)
    assert (tmp_path / ncnn_files.BIN).read_bytes() == (engine.path / ncnn_files.BIN).read_bytes()
    texts = [(folder / ncnn_files.PARAM).read_text().split() for folder in (tmp_path, engine.path)]
    assert texts[0] == texts[1]


def test_an_operator_that_ncnn_lacks_is_named(tiny: Dataset, tmp_path: Path) -> None:
    model = build_detector("yolo26n")
    adapter.head_of(model).end2end = True
    images = tiny.images["val"][:1]
    info, module = adapter.info(model), adapter.exportable(model)
    path = tmp_path / "end2end.onnx"
    source, _ = export(module, info, SPEC, images, ExportRecipe(), "original", path)
    with pytest.raises(CompileError, match=r"ncnn [\d.]+ has no operator .*TopK \(") as caught:
        ncnn.compile(source, "fp32", {}, tmp_path / "stages" / "out")
    assert caught.value.exit_code == 5
    assert "\n" not in str(caught.value)


def test_a_converter_that_dies_leaves_its_log(
    tmp_path: Path, convnet: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dying = tmp_path / "pnnx"
    dying.write_text("#!/bin/sh\necho pass_level2\nkill -SEGV $$\n")
    dying.chmod(0o755)
    monkeypatch.setattr(pnnx, "program_of_pnnx", lambda: dying)
    stage = tmp_path / "stages" / ".partial-engine"
    with pytest.raises(CompileError, match=r"pnnx crashed \(SIGSEGV\); what it printed is in ") as caught:
        ncnn.compile(Artifact.of(convnet, "onnx", "fp32"), "fp32", {}, stage)
    log = Path(str(caught.value).rpartition(" ")[2])
    assert caught.value.exit_code == 5
    assert stage not in log.parents  # the store removes a stage that failed
    assert "pass_level2" in log.read_text()


def test_a_converter_that_hangs_is_stopped(
    tmp_path: Path, convnet: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pnnx, "TIMEOUT_S", 0.0)
    with pytest.raises(CompileError, match="pnnx gave no answer in 0 s"):
        ncnn.compile(Artifact.of(convnet, "onnx", "fp32"), "fp32", {}, tmp_path / "stages" / "out")


def test_a_network_that_pnnx_makes_wrong_is_refused(
    tmp_path: Path, convnet: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    convert = pnnx.convert

    def wrong(onnx_file: Path, out: Path, logs: Path, half: bool = False) -> None:
        convert(onnx_file, out, logs, half)
        weights = bytearray((out / ncnn_files.BIN).read_bytes())
        weights[4:2000] = bytes(1996)
        (out / ncnn_files.BIN).write_bytes(weights)

    monkeypatch.setattr(pnnx, "convert", wrong)
    with pytest.raises(CompileError, match=r"pnnx's network differs from ONNX Runtime by"):
        ncnn.compile(Artifact.of(convnet, "onnx", "fp32"), "fp32", {}, tmp_path / "out")


@pytest.mark.parametrize("module", ["ncnn", "pnnx"])
def test_what_is_not_installed_is_named_with_the_command(
    module: str, tmp_path: Path, convnet: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = builtins.__import__

    def absent(name: str, *rest: Any) -> Any:
        if name == "ncnn":
            raise ImportError(name)
        return plain(name, *rest)

    if module == "ncnn":
        monkeypatch.setattr(builtins, "__import__", absent)
    else:
        monkeypatch.setattr(pnnx, "find_spec", lambda name: None)
    with pytest.raises(RuntimeMissingError, match=rf"{module}.* not installed here: pip install .*pnnx"):
        ncnn.compile(Artifact.of(convnet, "onnx", "fp32"), "fp32", {}, tmp_path / "out")


@pytest.mark.parametrize(
    ("name", "value"), [("use_warp_drive", "1"), ("num_threads", "1"), ("use_fp16_storage", "on")]
)
def test_an_option_that_ncnn_does_not_have_is_refused(engine: Artifact, name: str, value: str) -> None:
    with pytest.raises(CompileError, match=rf"{name}={value}: ncnn has no such option"):
        ncnn.load(engine.path, "fp32", 1, {name: value})


def test_vulkan_is_never_pretended(engine: Artifact) -> None:
    if ncnn.VULKAN in ncnn.devices():
        assert ncnn.load(engine.path, "fp32", 1, {"provider": ncnn.VULKAN}).actual["vulkan"]
    else:
        with pytest.raises(RuntimeMissingError, match="no GPU"):
            ncnn.load(engine.path, "fp32", 1, {"provider": ncnn.VULKAN})


def test_a_broken_engine_is_refused_in_one_line(engine: Artifact, tmp_path: Path) -> None:
    for file in engine.path.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / ncnn_files.PARAM).write_text("7767517\n1 1\n")
    with pytest.raises(CompileError, match="cannot load this network"):
        ncnn.load(tmp_path, "fp32", 1, {})
    with pytest.raises(CompileError, match="not a model of ncnn"):
        ncnn_files.read(tmp_path)


def test_the_doctor_can_prove_it(tmp_path: Path) -> None:
    assert "compiled and ran a fp32 model" in probe("ncnn", tmp_path)


def test_converting_loads_no_torch(convnet: Path, tmp_path: Path) -> None:
    import sys

    code = (
        "import sys; from pathlib import Path; from edgeprune.backends import ncnn\n"
        f"ncnn.convert(Path({str(convnet)!r}), Path({str(tmp_path / 'engine')!r}))\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False"]
