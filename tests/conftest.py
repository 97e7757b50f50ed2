"""Shared fixtures: tiny real models and data, so that the tools are run and not imitated."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

# Before anything computes: two workers of pytest-xdist and what they start share the cores.
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

import cv2
import numpy as np
import onnx
import pytest
import yaml
from onnx import TensorProto, helper, numpy_helper

import adbd
import edgeprune.models  # noqa: F401  quiets ultralytics, before a test imports it
from edgeprune.config.recipe import ExportRecipe
from edgeprune.core.artifact import Artifact
from edgeprune.images.dataset import Dataset, load_dataset, load_folders
from edgeprune.images.preprocess import Preprocess
from edgeprune.records.summary import ExportCheck
from edgeprune.runners import remote
from edgeprune.runners.ssh import CONFIG_VARIABLE
from made_once import made_once
from postgres_server import running as running_postgres
from sshd import SSHD, Device, running

os.environ.pop("COLUMNS", None)  # pytest-xdist gives its workers one, and tests expect the output of a pipe

if TYPE_CHECKING:
    from torch import nn


# Files with the longest single tests: they come first, so that no worker is left with one at the end.
LONG_FIRST = (
    "test_steps.py",
    "test_packaging.py",
    "pipeline/test_mixed_precision.py",
    "pipeline/test_alternatives.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest first, file by file; all others keep their order."""
    tests = Path(__file__).parent
    items.sort(key=lambda item: item.path.relative_to(tests).as_posix() not in LONG_FIRST)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show what tests have measured, such as the size of an install."""
    for report in terminalreporter.getreports("passed"):
        for name, value in report.user_properties:
            terminalreporter.write_line(f"{name}: {value}")


IMAGE = (3, 32, 32)
FAMILIES = ("yolov5n", "yolov8n", "yolo11n", "yolo26n")
NAMES = ("ant", "bee", "cat")


def write_convnet(path: Path, width: int = 16, depth: int = 2) -> Path:
    """Write `depth` times Conv 3x3 + Relu on one 3x32x32 image, opset 17, with fixed random weights."""
    rng = np.random.default_rng(0)
    nodes, weights, tensor, channels = [], [], "images", IMAGE[0]
    for i in range(depth):
        kernel = rng.standard_normal((width, channels, 3, 3)).astype(np.float32) * 0.2
        weights += [numpy_helper.from_array(kernel, f"w{i}")]
        weights += [numpy_helper.from_array(np.full(width, 0.1, np.float32), f"b{i}")]
        nodes += [
            helper.make_node("Conv", [tensor, f"w{i}", f"b{i}"], [f"c{i}"], f"conv{i}", pads=[1, 1, 1, 1])
        ]
        nodes += [helper.make_node("Relu", [f"c{i}"], [f"r{i}"])]
        tensor, channels = f"r{i}", width
    graph = helper.make_graph(
        nodes,
        "convnet",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, *IMAGE])],
        [helper.make_tensor_value_info(tensor, TensorProto.FLOAT, [1, width, *IMAGE[1:]])],
        weights,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


@pytest.fixture(scope="session")
def random_images() -> np.ndarray:
    """Return 16 distinct float32 images of shape (16, 3, 32, 32)."""
    return np.random.default_rng(1).random((16, *IMAGE), dtype=np.float32)


@pytest.fixture(scope="session")
def convnet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a tiny fp32 ONNX file."""
    return write_convnet(tmp_path_factory.mktemp("convnet") / "fp32.onnx")


@pytest.fixture(scope="session")
def convnet_int8(convnet: Path, random_images: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the tiny network quantized to U8S8 Q/DQ.

    Its weights have 7 bits: of 8, sums of two products saturate on x86 without VNNI.
    """
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Images(CalibrationDataReader):
        def __init__(self) -> None:
            self.rest = iter(random_images[:4])

        def get_next(self) -> dict[str, np.ndarray] | None:
            image = next(self.rest, None)
            return None if image is None else {"images": image[None]}

    path = tmp_path_factory.mktemp("convnet") / "int8.onnx"
    quantize_static(
        convnet,
        path,
        Images(),
        quant_format=QuantFormat.QDQ,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        per_channel=True,
        reduce_range=True,
    )
    return path


@pytest.fixture(scope="session")
def one_thread() -> None:
    """Let torch compute on one thread: faster on tiny networks, and kind to a shared machine."""
    import torch

    torch.set_num_threads(1)


def lively(model: nn.Module) -> None:
    """Give batch norms statistics and scales that are not those of a new network."""
    import torch

    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.uniform_(-0.2, 0.2)
            module.running_var.uniform_(0.5, 1.5)
            torch.nn.init.uniform_(module.weight, 0.7, 1.3)
            torch.nn.init.uniform_(module.bias, -0.2, 0.2)


def build_detector(family: str, width: float | None = None) -> nn.Module:
    """Build a seeded detector of three classes with lively batch norms and scores well above zero.

    Args:
        width: share of the widths that the family's YAML names; its own by default.
    """
    import torch
    from ultralytics.nn.tasks import DetectionModel, yaml_model_load

    torch.manual_seed(FAMILIES.index(family))
    config = yaml_model_load(f"{family}.yaml")
    if width is not None:
        config["scales"]["n"][1] = width
    model = DetectionModel(config, nc=len(NAMES), verbose=False).eval()
    lively(model)
    for branch in ("cv3", "one2one_cv3"):
        for level in getattr(model.model[-1], branch, None) or ():
            torch.nn.init.constant_(level[-1].bias, -2.0)
    model.names = dict(enumerate(NAMES))
    model.args = {"imgsz": 64, "task": "detect"}
    return model


@pytest.fixture(scope="session")
def checkpoints(one_thread: None, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return an untrained checkpoint of each family, three classes, 64 px."""
    from edgeprune.adapters.ultralytics import detect as adapter

    def make(folder: Path) -> None:
        for family in FAMILIES:
            adapter.save(build_detector(family), folder / f"{family}.pt")

    folder = made_once(tmp_path_factory, "checkpoints", make)
    return {family: folder / f"{family}.pt" for family in FAMILIES}


@pytest.fixture(scope="session")
def float_models(
    checkpoints: dict[str, Path], tiny: Dataset, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[Artifact, ExportCheck]]:
    """Return each checkpoint as float ONNX for 64 px, with the account of its comparison to torch."""
    from edgeprune.adapters.ultralytics import detect as adapter
    from edgeprune.export.onnx import export

    def make(folder: Path) -> None:
        for family, path in checkpoints.items():
            model = adapter.load(path)
            artifact, check = export(
                adapter.exportable(model),
                adapter.info(model),
                Preprocess(64),
                tiny.images["val"][:2],
                ExportRecipe(),
                "original",
                folder / f"{family}.onnx",
            )
            told = {"artifact": asdict(artifact) | {"path": str(artifact.path)}, "check": check.model_dump()}
            (folder / f"{family}.json").write_text(json.dumps(told))

    folder = made_once(tmp_path_factory, "float", make)
    exported = {}
    for family in checkpoints:
        told = json.loads((folder / f"{family}.json").read_text())
        artifact = Artifact(**told["artifact"] | {"path": Path(told["artifact"]["path"])})
        exported[family] = artifact, ExportCheck(**told["check"])
    return exported


def write_dataset(folder: Path) -> Path:
    """Write 12 + 5 + 3 images of 64 to 96 px with one to three coloured boxes, and return the data.yaml."""
    rng = np.random.default_rng(3)
    for split, count in {"train": 12, "val": 5, "test": 3}.items():
        for kind in ("images", "labels"):
            (folder / kind / split).mkdir(parents=True)
        for number in range(count):
            height, width = (int(side) for side in rng.integers(64, 97, 2))
            image = rng.integers(60, 120, (height, width, 3), dtype=np.uint8)
            lines = []
            for cell in range(1 + number % 3):  # a quadrant each, so that no two boxes overlap
                left, top = (cell % 2) * width // 2 + 4, (cell // 2) * height // 2 + 4
                right, bottom = left + int(rng.integers(12, 26)), top + int(rng.integers(12, 26))
                label = int(rng.integers(len(NAMES)))
                colour = tuple(255 if channel == label else 0 for channel in range(3))
                cv2.rectangle(image, (left, top), (right, bottom), colour, -1)
                box = ((left + right) / 2 / width, (top + bottom) / 2 / height)
                size = ((right - left) / width, (bottom - top) / height)
                lines.append(f"{label} {box[0]:.6f} {box[1]:.6f} {size[0]:.6f} {size[1]:.6f}\n")
            cv2.imwrite(str(folder / "images" / split / f"{number:02d}.png"), image)
            (folder / "labels" / split / f"{number:02d}.txt").write_text("".join(lines))
    splits = {split: f"images/{split}" for split in ("train", "val", "test")}
    path = folder / "data.yaml"
    path.write_text(yaml.safe_dump(splits | {"names": dict(enumerate(NAMES))}))
    return path


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Return a data set of 20 tiny images, three classes. Tests that change it write one of their own."""
    folder = made_once(tmp_path_factory, "tiny", write_dataset)
    return load_dataset(folder / "data.yaml", classes=len(NAMES))


CLASSIFIERS = ("yolov8n-cls", "yolo11n-cls", "yolo26n-cls")
DIGITS = ("3", "0", "1")  # not in the order of the alphabet: a model may have its classes in any


def write_digits(folder: Path) -> Path:
    """Write 8 + 4 + 3 scans of each of three digits as PNG files of 24 x 32 px, one folder a class."""
    from sklearn.datasets import load_digits

    scans = load_digits()
    for name in DIGITS:
        chosen = iter(scans.images[scans.target == int(name)])
        for split, count in {"train": 8, "val": 4, "test": 3}.items():
            (place := folder / split / name).mkdir(parents=True)
            for number in range(count):
                scan = (next(chosen) * 15.9).astype(np.uint8)
                cv2.imwrite(str(place / f"{number}.png"), cv2.resize(scan, (32, 24)))
    return folder


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Return a data set of 45 scans of three digits, one folder a class."""
    folder = made_once(tmp_path_factory, "digits", write_digits)
    return load_folders(folder, DIGITS)


@pytest.fixture(scope="session")
def classifiers(one_thread: None, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return an untrained classifier of each family, three classes, 64 px."""
    import torch
    from ultralytics.nn.tasks import ClassificationModel

    from edgeprune.adapters.ultralytics import classify as adapter

    def make(folder: Path) -> None:
        for seed, family in enumerate(CLASSIFIERS):
            torch.manual_seed(seed)
            model = ClassificationModel(f"{family}.yaml", nc=len(DIGITS), verbose=False).eval()
            lively(model)
            model.names = dict(enumerate(DIGITS))
            # Digits are not mirrored, and nothing of so small an image may be erased.
            args = {"imgsz": 64, "task": "classify", "fliplr": 0.0, "erasing": 0.0, "auto_augment": None}
            model.args = args
            adapter.save(model, folder / f"{family}.pt")

    folder = made_once(tmp_path_factory, "classifiers", make)
    return {family: folder / f"{family}.pt" for family in CLASSIFIERS}


@pytest.fixture(scope="session")
def taught(one_thread: None, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return what gives the folder of a task: `model.pt`, tiny and trained, and `data.yaml`."""
    from made_tasks import make_taught

    return lambda task: made_once(tmp_path_factory, f"taught-{task}", lambda out: make_taught(out, task))


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Device]:
    """Return the device; one server for all tests."""
    if not SSHD:
        pytest.skip("no sshd here: apt-get install openssh-server")
    with running(tmp_path_factory.mktemp("sshd")) as device:
        yield device


@pytest.fixture
def device(server: Device, monkeypatch: pytest.MonkeyPatch) -> Iterator[Device]:
    """Return the device with the client's configuration in force and tries that follow quickly."""
    monkeypatch.setenv(CONFIG_VARIABLE, str(server.config))
    monkeypatch.setattr(remote, "BACKOFF_S", (0.05, 0.1, 0.2, 0.4))
    yield server
    server.own_python()


@pytest.fixture
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return the URL of a PostgreSQL server of this test's own."""
    with running_postgres(tmp_path_factory.mktemp("postgres")) as url:
        yield url


@pytest.fixture(scope="session")
def adb_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return the port of an adb server of the tests' own."""
    if not adbd.ADB:
        pytest.skip("no adb here: apt-get install adb")
    with adbd.server(tmp_path_factory.mktemp("adb")) as port:
        yield port


@pytest.fixture
def adb(adb_server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let adb use the tests' own server, with tries that follow quickly."""
    monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", adb_server)
    monkeypatch.delenv("ANDROID_SERIAL", raising=False)
    monkeypatch.setattr(remote, "BACKOFF_S", (0.05, 0.2, 0.4, 0.8, 1.6))


@pytest.fixture
def phone(adb: None, tmp_path: Path) -> Iterator[adbd.AdbDevice]:
    """Return a device that adb reaches."""
    with adbd.running(tmp_path / "phone") as device:
        yield device
        adbd.forget(device)


@pytest.fixture(params=["device", "phone"], ids=["ssh", "adb"])
def place(request: pytest.FixtureRequest) -> Device | adbd.AdbDevice:
    """Return a device, once behind ssh and once behind adb: what holds for one holds for the other."""
    found: Device | adbd.AdbDevice = request.getfixturevalue(request.param)
    return found
