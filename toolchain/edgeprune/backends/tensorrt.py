"""TensorRT on an NVIDIA GPU, 10.x and 11.x: a strongly typed network built where it runs.

An engine matches one GPU and one TensorRT version exactly (TensorRT#4730): it is built on the device, through
TensorRT's Python, or by `trtexec` where that is missing. Precisions are in the graph: fp16 is baked into the
ONNX file, int8 stands in Q/DQ pairs. Calibrators and precision flags, which TensorRT 11 has no more, are used
only for TensorRT 8 and for DLA.

Written from NVIDIA's documentation and never run on a GPU: the project has had none. Tests run it over ssh
against a stand-in that checks the calls (`tests/tensorrt_standin.py`); the network and its parser are proven
for real by `backends/rtx.py`, which shares them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgeprune.backends import trtexec
from edgeprune.backends.cudart import Cuda, load_cuda
from edgeprune.backends.nvidia import build_engine, make_log
from edgeprune.backends.tensorrt_session import TensorRtSession, deserialised, layers_of, weight_types
from edgeprune.core.artifact import SOURCE_ENDING, Artifact
from edgeprune.core.backend import QDQ
from edgeprune.core.backend_types import Placement, Recognised
from edgeprune.core.documents import read_json
from edgeprune.core.errors import CompileError, ConfigError, ModelError, RuntimeMissingError
from edgeprune.core.files import read_bytes, write_text_atomically
from edgeprune.core.onnx_outline import read_outline
from edgeprune.core.resources import cache_dir

MODULE = "tensorrt"
PIP = ()  # TensorRT is part of the device's own system, and CUDA's runtime with it
PACKAGES = ("tensorrt",)
PROVIDER, GPU = "TensorRT", "GPU"
DLA = ("DLA", "DLA.0", "DLA.1")
PROVER = "edgeprune.backends.rtx"
SOURCE = "onnx"
SCHEMES = QDQ
END2END = True
HALF_GRAPH = True
GRAPH_IN_FILE = False
ENGINE = "model.engine"
TAKES = ""  # nothing: only where it was built is an engine loaded
TOOL = trtexec.TOOL
HOW_TO_GET = (
    "with an NVIDIA GPU: pip install tensorrt --extra-index-url https://pypi.nvidia.com; "
    "on a Jetson it is part of JetPack: sudo apt install nvidia-jetpack"
)
PROVIDERS_NOTE = "an Orin Nano and a Thor have no DLA; of TensorRT 11 only 11.4.1 and later knows it"
BY_JETPACK = {
    "35": "this is JetPack 5, whose TensorRT is for its Python 3.8, and the worker needs 3.10: update an "
    "Orin to JetPack 6 or 7; on a Xavier, which has none, trtexec (sudo apt install libnvinfer-bin) builds "
    "the engines, and times one by hand: trtexec --loadEngine=model.engine",
    "36": "this is JetPack 6: sudo apt install python3-libnvinfer",
    "38": "this is JetPack 7: sudo apt install nvidia-jetpack python3-libnvinfer",
    "39": "this is JetPack 7: sudo apt install nvidia-jetpack python3-libnvinfer",
}
"""How TensorRT's Python is got, by the major release of Jetson Linux."""
# A profile's options: each an integer, an attribute of the builder's configuration and a flag of trtexec.
OPTIONS = {
    "builder_optimization_level": "--builderOptimizationLevel",
    "avg_timing_iterations": "--avgTiming",
}
STRONG_DLA = 11
"""From this major version on networks for DLA are strongly typed too ("Strongly Typed Networks for DLA")."""


def version() -> str | None:
    """Return the version of the TensorRT that is installed here, or None."""
    try:
        import tensorrt
    except ImportError:
        return None
    return str(tensorrt.__version__)


def builder() -> str | None:
    """Return the version of the `trtexec` that is here: it builds where Python's TensorRT is missing."""
    program = trtexec.find_trtexec()
    return trtexec.version_of(program) if program else None


def advice(environment: Mapping[str, Any]) -> str:
    """Return how a device gets TensorRT, by what `read_environment` tells of it."""
    release = str((environment.get("jetson") or {}).get("l4t") or "")
    return BY_JETPACK.get(release.partition(".")[0], HOW_TO_GET)


def require_options(options: Mapping[str, str], precision: str) -> None:
    """Check the options of a profile before anything is built.

    DLA takes no Q/DQ pairs: only scales of every tensor beside a network without them ("DLA still only
    supports IQ", NVIDIA/Model-Optimizer#1661), which TensorRT 11 takes no more. Our int8 files have pairs at
    the inputs of some layers alone, so nothing of them would run there in int8.

    Raises:
        ConfigError: an option is none of TensorRT's, or DLA is to compute in another precision than fp16.
    """
    _settings(options)
    if _dla_core(options) is not None and precision != "fp16":
        raise ConfigError(
            f"provider: DLA computes fp16 here, not {precision}, since it takes no Q/DQ pairs: leave "
            f"{precision} out of precisions, or have it run on the GPU by options: "
            f"{{{precision}: {{provider: GPU}}}}"
        )


def caveat(version: str, family: str, precision: str) -> str | None:
    """Return what is known to go wrong with a network and this TensorRT, before an hour is spent on it."""
    if precision == "int8" and family.startswith("yolo26") and version.startswith("10.3."):
        return (
            "TensorRT 10.3 is known to fail on YOLO26 in int8 (ultralytics#23841, with a calibrator; it was "
            "never tried here with Q/DQ): TensorRT 10.7 builds it, and fp16 builds with both"
        )
    if precision == "int8" and version.startswith("8."):
        return (
            f"TensorRT {version} is older than the fp16 scales of Q/DQ pairs that the int8 file has, and may "
            "refuse them; fp16 needs none"
        )
    return None


def providers() -> tuple[str, ...]:
    """Return what executes here: the GPU, and the DLA cores of this board.

    Raises:
        RuntimeMissingError: TensorRT is not installed.
    """
    trt = _import_trt("")
    cores = int(trt.Builder(make_log(trt)).num_DLA_cores)
    return (GPU, *(f"DLA.{core}" for core in range(cores)))


def compile(model: Artifact, precision: str, options: Mapping[str, str], out: Path) -> Artifact:
    """Build `out/model.engine` from an ONNX file, for the GPU or a DLA core of this machine.

    The builder times its kernels; what it learns is kept in the cache folder, one file for each GPU and
    TensorRT version, so that the next build of a like network is quick. Beside the engine lies
    `model.json`: what it was built by and for, where its layers run, and how its input is made.

    Raises:
        CompileError: the parser or the builder refuses the graph, or this board has no such DLA core.
        ConfigError: see `require_options`.
        RuntimeMissingError: TensorRT, CUDA's runtime or the GPU is missing.
    """
    require_options(options, precision)
    out.mkdir(parents=True, exist_ok=True)
    engine = out / ENGINE
    try:
        trt = _import_trt("")
    except RuntimeMissingError:
        told = _by_program(model, precision, options, engine)
    else:
        told = _by_python(trt, model, precision, options, engine)
    told["metadata"] = read_outline(model.path, CompileError).metadata
    write_text_atomically(engine.with_suffix(".json"), json.dumps(told))
    return Artifact.of(engine, "engine", precision, parent=model.sha256)


def _by_python(
    trt: Any, model: Artifact, precision: str, options: Mapping[str, str], engine: Path
) -> dict[str, Any]:
    """Build an engine through TensorRT's Python, and return what is to be told beside it."""
    cuda, core = load_cuda(), _dla_core(options)
    typed = hasattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED") and (
        core is None or int(trt.__version__.partition(".")[0]) >= STRONG_DLA
    )
    name = re.sub(r"[^a-z0-9]+", "-", cuda.name.lower()).strip("-")
    cache = _kept_timings(f"{name}-sm{cuda.capability.replace('.', '')}-{trt.__version__}")
    timings: list[Any] = []
    layers: dict[str, Any] = {}

    def configure(builder: Any, network: Any, config: Any) -> None:
        config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED  # or the engine cannot tell its kernels
        for name, value in _settings(options).items():
            setattr(config, name, value)
        if not typed:
            for flag in {"fp16": ("FP16",), "int8": ("FP16", "INT8")}.get(precision, ()):
                config.set_flag(getattr(trt.BuilderFlag, flag))
        if cuda.is_integrated:  # what the builder takes of shared memory, the rest of the system lacks
            config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, cuda.free_bytes() // 2)
        if core is not None:
            _onto_dla(trt, builder, config, core)
            layers.update(_placed(network, config, options["provider"]))
        known = config.create_timing_cache(read_bytes(cache, CompileError)) if cache.is_file() else None
        timings.append(known or config.create_timing_cache(b""))  # none comes of a file that is damaged
        config.set_timing_cache(timings[0], ignore_mismatch=False)

    content = build_engine(trt, make_log(trt), model.path, configure, typed)
    _write_aside(cache, bytes(timings[0].serialize()))
    engine.write_bytes(content)
    return {"tensorrt": str(trt.__version__), "gpu": cuda.name, "precision": precision, **layers}


def _by_program(model: Artifact, precision: str, options: Mapping[str, str], engine: Path) -> dict[str, Any]:
    """Build an engine by `trtexec`, and return what is to be told beside it."""
    program, made_by = trtexec.find_trtexec(), builder()
    if program is None or made_by is None:
        raise RuntimeMissingError(f"neither TensorRT's Python nor trtexec is installed here; {HOW_TO_GET}")
    cache = _kept_timings(f"trtexec-{made_by}")
    flags = [f"--timingCacheFile={cache}", *trtexec.precision_flags(precision, made_by)]
    flags += [f"{OPTIONS[name]}={value}" for name, value in _settings(options).items()]
    trtexec.build(program, model.path, engine, [*flags, *_dla_flags(options)])
    return {"tensorrt": made_by, "gpu": None, "precision": precision}


def _onto_dla(trt: Any, builder: Any, config: Any, core: int) -> None:
    """Send all layers that it takes to a DLA core, and the others to the GPU.

    Raises:
        CompileError: this board, or this TensorRT, has no such core.
    """
    count = int(builder.num_DLA_cores)
    if core >= count:
        has = "no DLA core" if count == 0 else f"{count} DLA cores, counted from 0"
        raise CompileError(
            f"DLA.{core}: TensorRT {trt.__version__} finds {has} on this board ({PROVIDERS_NOTE}): build for "
            "the GPU"
        )
    config.default_device_type = trt.DeviceType.DLA
    config.DLA_core = core
    config.set_flag(trt.BuilderFlag.GPU_FALLBACK)


def _placed(network: Any, config: Any, provider: str) -> dict[str, Any]:
    """Count the layers of a network that DLA takes and those that it leaves to the GPU, by their kind."""
    left: dict[str, int] = {}
    layers = [network.get_layer(index) for index in range(network.num_layers)]
    for layer in layers:
        if not config.can_run_on_DLA(layer):
            kind = layer.type.name
            left[kind] = left.get(kind, 0) + 1
    taken = len(layers) - sum(left.values())
    return {"provider": provider, "nodes": {provider: taken, GPU: sum(left.values())}, "left": left}


def load(engine: Path, precision: str, threads: int, options: Mapping[str, str]) -> TensorRtSession:
    """Load an engine that was built on this GPU by this TensorRT.

    Args:
        precision: what the row is called; the engine holds it.
        threads: of no effect: the GPU computes.
        options: of no effect: they are the builder's.

    Raises:
        CompileError: the engine is another GPU's or TensorRT's, or no engine.
        RuntimeMissingError: TensorRT, CUDA's runtime or the GPU is missing.
    """
    return load_many(engine, precision, threads, options, 1)[0]


def load_many(
    engine: Path, precision: str, threads: int, options: Mapping[str, str], count: int
) -> Sequence[TensorRtSession]:
    """Load the engine once, with an execution context, a stream and buffers for each query.

    Arguments and errors are those of `load`.
    """
    trt, cuda = _import(f"{engine}: ")
    told = _told(engine)
    _require_own(trt, cuda, engine, told)
    loaded = deserialised(trt, engine)
    sessions = [TensorRtSession(trt, cuda, loaded) for _ in range(count)]
    for session in sessions:
        session.actual["provider"] = options.get("provider", PROVIDER)
    if nodes := told.get("nodes"):
        name = told["provider"] if nodes.get(told["provider"]) else GPU
        for session in sessions:
            session.actual |= {"provider": name, "nodes": nodes, "left": told.get("left")}
    return sessions


def _require_own(trt: Any, cuda: Cuda, engine: Path, told: Mapping[str, Any]) -> None:
    """Hold an engine against what its account says of it, before TensorRT is asked to read it.

    Raises:
        CompileError: it is another TensorRT's or another GPU's.
    """
    for what, built, here in (
        ("TensorRT", told.get("tensorrt"), str(trt.__version__)),
        ("the GPU", told.get("gpu"), cuda.name),
    ):
        if built is not None and built != here:
            raise CompileError(
                f"{engine}: it was built by {what} {built}, and here is {here}: an engine fits one GPU and "
                "one version of TensorRT; build it again on this device"
            )


def recognise(path: Path) -> Recognised | None:
    """Tell an engine file by its ending and by the account of a build beside it; refuse one without.

    Raises:
        ModelError: nothing tells what it was built for.
    """
    if path.suffix not in (".engine", ".plan") or not path.is_file():
        return None
    if precision := _told(path).get("precision"):
        return Recognised(path, str(precision))
    raise ModelError(
        f"{path}: a TensorRT engine fits one GPU and one version of TensorRT; measure it there with "
        "trtexec --loadEngine, or give the .onnx file that it was built from"
    )


def input_shape(engine: Path) -> list[int]:
    """Return the shape of the input of an engine that loads here.

    Raises:
        CompileError: TensorRT cannot load it.
        RuntimeMissingError: TensorRT is not installed.
    """
    loaded = deserialised(_import(f"{engine}: ")[0], engine)
    names = [loaded.get_tensor_name(index) for index in range(loaded.num_io_tensors)]
    return [max(int(side), 0) for side in loaded.get_tensor_shape(names[0])]


def quantized_ops(engine: Path) -> int | None:
    """Count the convolutions whose kernels have int8 weights, as the engine itself tells.

    Returns:
        The count, or None where the engine shows no convolution (TensorRT may fuse all into larger nodes).
    """
    trt, _ = _import(f"{engine}: ")
    kinds = weight_types(layers_of(trt, deserialised(trt, engine)))
    return kinds.count("Int8") if kinds else None


def placement(engine: Path) -> Placement | None:
    """Return which layers of an engine for DLA run there, None of one for the GPU or by trtexec."""
    told = _told(engine)
    if not (nodes := told.get("nodes")):
        return None
    return Placement(told["provider"], nodes[told["provider"]], sum(nodes.values()), told["left"])


def parts(engine: Path) -> Sequence[Path]:
    """Return the engine, and beside it the account and the source where they are there."""
    beside = (engine.with_suffix(".json"), engine.with_suffix(SOURCE_ENDING))
    return (engine, *(path for path in beside if path.is_file()))


def device_commands(onnx_name: str, options: Mapping[str, str]) -> tuple[str, ...]:
    """Return the shell commands that build an engine on the device and time it there.

    Args:
        onnx_name: ONNX file in the folder that the commands run in; letters, digits, ``.-_``.
        options: of the profile at this precision; see `OPTIONS`.

    Raises:
        ConfigError: an option is none of TensorRT's.
    """
    engine = f"{Path(onnx_name).stem}.engine"
    chosen = [f"{OPTIONS[name]}={value}" for name, value in _settings(options).items()]
    flags = "".join(f" {flag}" for flag in (*chosen, *_dla_flags(options)))
    return (
        f"trtexec --onnx={onnx_name} --stronglyTyped --timingCacheFile=timing.cache{flags}"
        f" --saveEngine={engine}",
        f"trtexec --loadEngine={engine} --warmUp=2000 --duration=60 --useSpinWait --percentile=50,90,99",
    )


def _dla_flags(options: Mapping[str, str]) -> tuple[str, ...]:
    core = _dla_core(options)
    return () if core is None else (f"--useDLACore={core}", "--allowGPUFallback")


def _import_trt(where: str) -> Any:
    try:
        import tensorrt
    except ImportError as exc:
        raise RuntimeMissingError(f"{where}TensorRT is not installed here; {HOW_TO_GET}") from exc
    return tensorrt


def _import(where: str) -> tuple[Any, Cuda]:
    """Return the modules of TensorRT and of CUDA's runtime, when there is a GPU to use them on."""
    return _import_trt(where), load_cuda(where)


def _settings(options: Mapping[str, str]) -> dict[str, int]:
    chosen = {name: value for name, value in options.items() if name != "provider"}
    for name, value in chosen.items():
        if name not in OPTIONS:
            raise ConfigError(
                f"options: {name!r} is not one of {', '.join(OPTIONS)}, which TensorRT takes here"
            )
        if not value.isdigit():
            raise ConfigError(f"options: {name}: a whole number is expected, not {value!r}")
    return {name: int(value) for name, value in chosen.items()}


def _dla_core(options: Mapping[str, str]) -> int | None:
    """Return the DLA core that is asked for, None for the GPU.

    Raises:
        ConfigError: it is neither.
    """
    asked = options.get("provider", GPU)
    if asked not in (GPU, *DLA):
        raise ConfigError(f"provider: {asked!r} is not one of {GPU}, {', '.join(DLA)}, where TensorRT runs")
    return None if asked == GPU else int(asked.partition(".")[2] or 0)


def _told(engine: Path) -> Mapping[str, Any]:
    """Return the account beside an engine; empty without one, or for another program's file."""
    beside = engine.with_suffix(".json")
    told = read_json(beside, ModelError) if beside.is_file() else {}
    return told if isinstance(told, dict) and "tensorrt" in told else {}


def _kept_timings(name: str) -> Path:
    """Return the file with the kernel timings of a GPU and TensorRT: they hold for no other."""
    path = cache_dir() / "tensorrt" / f"{name}.timing"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _write_aside(path: Path, content: bytes) -> None:
    partial = path.with_suffix(".partial")
    partial.write_bytes(content)
    partial.replace(path)
