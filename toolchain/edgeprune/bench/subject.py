"""What `bench` and `check` are pointed at: an engine file, or a build folder with its rows."""

from __future__ import annotations

import platform
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np

from edgeprune.artifact import Artifact
from edgeprune.backends import executorch, get_backend, litert, options_for
from edgeprune.backends.ncnn import SHAPES, is_engine
from edgeprune.backends.ncnn import input_shape as ncnn_shape
from edgeprune.backends.openvino import IR
from edgeprune.bench.jobs import build_job, reference_outputs, write_image, write_inputs, write_reference
from edgeprune.bench.result import Job
from edgeprune.bench.testbed import suits
from edgeprune.device import DeviceProfile, resolve_targets, target_files
from edgeprune.errors import CompileError, ConfigError, ModelError
from edgeprune.preprocess import Preprocess, to_input
from edgeprune.scores import Accuracy
from edgeprune.spec import spec_of
from edgeprune.summary import Row, load_summary

_TENSORS = 32


@dataclass(frozen=True)
class Subject:
    """One engine on one target.

    Attributes:
        accuracy, p50_ms: as a build recorded them, the accuracy on the selection split; else None.
        environment: variables that the runtime is started with.
    """

    name: str
    engine: Artifact
    profile: DeviceProfile
    environment: dict[str, str]
    accuracy: Accuracy | None = None
    p50_ms: float | None = None


def subjects_of(
    path: Path, target: str | None = None, chosen_only: bool = False, machine: str | None = None
) -> tuple[Subject, ...]:
    """Return what can be measured at a path: the rows of a build folder, or the one engine that lies there.

    Args:
        target: profile to run a lone engine by, or the only target of a build to return.
        chosen_only: of a build folder, only the chosen row of each target.
        machine: architecture of the device that is to run it, this very machine by default. Of a build, the
            rows of that architecture are returned, whether this machine has measured them or not, but for
            those whose engine only the device can build.

    Raises:
        NotComparableError: a folder that holds neither a finished build nor an engine.
        ModelError: nothing at the path can be measured, or its name cannot be written into a result.
    """
    _require_text(path)
    if path.is_dir() and not any((path / name).is_file() for name in (IR, SHAPES, executorch.PROGRAM)):
        return _of_build(path, target, chosen_only, machine)
    return (_of_engine(path, target, machine),)


def _require_text(path: Path) -> None:
    try:
        f"{path} {path.resolve()}".encode()
    except UnicodeEncodeError as exc:  # JSON, which a worker and a result are told in, has no such bytes
        raise ModelError(f"{str(path)!a}: its path is not valid UTF-8: rename it") from exc


def make_job(subject: Subject, threads: int, folder: Path) -> Job:
    """Write real inputs and the host's own outputs into a folder; return the job that measures a subject."""
    backend = get_backend(subject.profile.backend)
    options = options_for(subject.profile, subject.engine.precision)
    spec = engine_spec(subject.engine.path)
    images = stock_images(spec["preprocess"])
    session = backend.load(subject.engine.path, subject.engine.precision, threads, options)
    return build_job(
        subject.name,
        subject.engine,
        subject.profile,
        threads=threads,
        inputs=write_inputs(images, folder / "inputs.npy"),
        reference=write_reference(reference_outputs(session, images), folder / "reference.npz"),
        environment=subject.environment,
        image=write_image(photograph(), folder / "image.npy"),
        spec={part: value and asdict(value) for part, value in spec.items()},
    )


def engine_spec(engine: Path) -> dict[str, Any]:
    """Return how the engine says its inputs are made and its outputs read; a letterbox where it does not."""
    try:
        spec = spec_of(engine)
    except ModelError:
        return {"preprocess": Preprocess(input_size(engine)), "postprocess": None}
    return {"preprocess": spec.preprocess, "postprocess": spec.postprocess}


def photograph() -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return a photograph that scikit-learn ships: BGR, (427, 640, 3)."""
    from sklearn.datasets import load_sample_images

    return np.ascontiguousarray(load_sample_images().images[0][:, :, ::-1])


def stock_images(spec: Preprocess) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Return 32 distinct crops of the photographs that scikit-learn ships: float32 (32, 3, imgsz, imgsz)."""
    from sklearn.datasets import load_sample_images

    photos = load_sample_images().images
    generator = np.random.default_rng(0)
    tensors = []
    for index in range(_TENSORS):
        photo = photos[index % len(photos)]
        top, left = (int(generator.integers(0, side // 2)) for side in photo.shape[:2])
        crop = np.ascontiguousarray(photo[top:, left:, ::-1])
        tensors.append(to_input(crop, spec)[0])
    return np.concatenate(tensors)


def input_size(path: Path) -> int:
    """Read the side of the square input of an engine: an ONNX or `.tflite` file, or a runtime's own folder.

    Raises:
        ModelError: it does not take one image of shape (1, 3, size, size).
    """
    if path.suffix == ".tflite":
        shape = litert.input_shape(path)
    elif (path / executorch.PROGRAM).is_file():
        shape = executorch.input_shape(path)
    elif path.is_dir():
        shape = ncnn_shape(path) if is_engine(path) else _ir_shape(path / IR)
    else:
        shape = _onnx_shape(path)
    if len(shape) != 4 or shape[:2] != [1, 3] or shape[2] != shape[3] or shape[2] <= 0:
        raise ModelError(f"{path}: input shape {shape} is not one square RGB image (1, 3, size, size)")
    return shape[2]


def _onnx_shape(path: Path) -> list[int]:
    import onnx

    try:
        graph = onnx.load(path, load_external_data=False).graph
    except Exception as exc:  # protobuf raises classes of its own
        raise ModelError(f"{path}: not an ONNX file: {(str(exc).splitlines() or [''])[0]}") from exc
    if not graph.input:
        raise ModelError(f"{path}: not an ONNX file: it holds no network")
    return [dim.dim_value for dim in graph.input[0].type.tensor_type.shape.dim]


def _ir_shape(path: Path) -> list[int]:
    try:
        # One attribute of a model that the runtime itself is about to parse.
        layers = ElementTree.parse(path).getroot().iter("layer")  # noqa: S314
    except (OSError, ElementTree.ParseError) as exc:
        raise ModelError(f"{path}: not an OpenVINO model: {exc}") from exc
    data = next((layer.find("data") for layer in layers if layer.get("type") == "Parameter"), None)
    text = data.get("shape", "") if data is not None else ""
    return [int(word) for word in text.split(",") if word.strip().isdigit()]


def _of_build(
    folder: Path, target: str | None, chosen_only: bool, machine: str | None
) -> tuple[Subject, ...]:
    summary = load_summary(folder)
    names = (
        {profile.name for profile in resolve_targets((target,), machine)} if target else set(summary.targets)
    )
    if machine is not None:
        names = {name for name in names if _loads_there(resolve_targets((name,))[0], machine)}
    rows = [
        row
        for name, entry in summary.targets.items()
        for row in (filter(None, [entry.chosen]) if chosen_only else entry.rows)
        if name in names and (machine is not None or row.p50_ms is not None)
    ]
    if not rows:
        kind = "chosen " if chosen_only else "measured " if machine is None else ""
        where = f" on {target}" if target else ""
        there = f" that a device of {machine} Linux loads as it is" if machine else ""
        raise ModelError(f"{folder}: this build has no {kind}row{where}{there}")
    return tuple(_of_row(folder, row) for row in rows)


def _loads_there(profile: DeviceProfile, machine: str) -> bool:
    """Whether a device loads the files of a target; those for TensorRT are what it builds an engine from."""
    return suits(profile, machine) and (profile.built_on == "host" or profile.format == "ort")


def _of_row(folder: Path, row: Row) -> Subject:
    engine = Artifact.of(folder / row.artifact, "engine", row.precision, built=row.built)
    if engine.sha256 != row.sha256:
        raise ModelError(f"{engine.path}: the engine is not the one that the build measured; build it again")
    profile = resolve_targets((row.target,))[0]
    return Subject(row.label, engine, profile, row.environment, row.val, row.p50_ms)


def _of_engine(path: Path, target: str | None, machine: str | None) -> Subject:
    path = path.parent if path.name == IR else path
    if is_engine(path):
        backend, precision = "ncnn", "int8" if get_backend("ncnn").quantized_ops(path) else "fp32"
    elif path.suffix == ".tflite" and path.is_file():
        backend, precision = "litert", "int8" if litert.quantized_ops(path) else "fp32"
    elif (path / executorch.PROGRAM).is_file():
        backend, precision = "executorch", "int8" if executorch.quantized_ops(path) else "fp32"
    elif path.is_dir():
        quantised = b"FakeQuantize" in (path / IR).read_bytes()
        backend, precision = "openvino", "int8" if quantised else "fp32"
    elif path.suffix == ".onnx" and path.is_file():
        backend, precision = "onnxruntime", _onnx_precision(path)
    else:
        raise ModelError(
            f"{path}: neither a build folder, nor an .onnx or .tflite file, "
            f"nor a folder with model.xml, model.pte or {SHAPES}"
        )
    profiles = resolve_targets((target or "cpu",), machine)
    profile = next((profile for profile in profiles if profile.backend == backend), None)
    if profile is None:
        fit = _fitting(backend, machine)
        raise ConfigError(
            f"{path}: target {target or 'cpu'!r} does not run {backend} engines: --target {fit}"
        )
    if machine is not None and not suits(profile, machine):
        raise ConfigError(f"{profile.name}: this target is not the device, which is {machine} with Linux")
    if machine is None and not profile.runs_here:
        raise CompileError(f"{profile.name}: this target is not this machine; nothing can be measured here")
    return Subject(path.name, Artifact.of(path, "engine", precision), profile, {})


def _fitting(backend: str, machine: str | None) -> str:
    """Name the shipped targets that run a runtime's engines on a machine, this very one by default."""
    machine = machine or platform.machine()
    profiles = resolve_targets(tuple(target_files()), machine)
    fit = [one.name for one in profiles if one.backend == backend and suits(one, machine)]
    return " or ".join(fit) or "PROFILE.yaml of your own"


def _onnx_precision(path: Path) -> str:
    import onnx

    _onnx_shape(path)
    nodes = onnx.load(path, load_external_data=False).graph.node
    return "int8" if any(node.op_type in {"QuantizeLinear", "DequantizeLinear"} for node in nodes) else "fp32"
