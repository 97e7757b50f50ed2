"""What people call things, and what that is here: suggestions go by meaning first, and by letters for slips.

One table for targets, one for all other names. Standard library only: it travels to the device with `errors`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Meaning:
    """What a word for a device or a runtime stands for.

    Attributes:
        words: each one or several parts of a name, without what follows a number: ``rpi5`` is ``rpi``.
        says: what it is, in words that go on from "unknown target".
        targets: shipped profiles to take, the nearest first; none where nothing is near.
    """

    words: tuple[str, ...]
    says: str
    targets: tuple[str, ...] = ()


_ARM = ("arm64-ort", "arm64-ncnn", "arm64-openvino")
_X86 = ("x86-openvino", "x86-ort", "x86-ncnn")
_PHONE = ("android-ort", "android-litert", "android-executorch")
_ROCKCHIP = ("rk3588", "rk3576", "rk3566")
_QUALCOMM = ("snapdragon-8gen2", "snapdragon-8gen3", "snapdragon-8elite", "qcs6490")
_OWN_CPU = (*_ARM[:1], *_X86[:1])

# The more parts of a name an entry explains, the better; of equals the first.
TARGETS: Final[tuple[Meaning, ...]] = (
    Meaning(("xavier", "jetsonxavier"), "a Jetson of the generation before Orin", ("xavier",)),
    Meaning(
        ("nano", "tx", "jetsonnano"),
        "there is no target for Jetsons older than Xavier; the nearest is",
        ("xavier",),
    ),
    Meaning(
        ("orin", "orin nano", "orin nx", "orin agx", "orinnano", "orinnx", "jetsonorin", "agx", "nx",
         "jetpack", "tegra", "thor", "drive", "deepstream"),
        "a Jetson",
        ("jetson", "orin-nano", "orin-nx", "agx-orin"),
    ),
    Meaning(("dla", "nvdla"), "a DLA core of a Jetson", ("jetson-dla",)),
    Meaning(
        ("intel gpu", "igpu", "arc", "iris", "uhd"), "a GPU of Intel, by OpenVINO", ("intel-gpu-openvino",)
    ),
    Meaning(
        ("intel npu", "core ultra", "meteorlake", "lunarlake"),
        "the NPU of an Intel Core Ultra, by OpenVINO",
        ("intel-npu-openvino",),
    ),
    Meaning(
        ("rpi", "raspberrypi", "raspberry", "raspi", "raspberry pi", "pi"),
        "a Raspberry Pi with a 64-bit system",
        ("rpi5", "rpi4", *_ARM),
    ),
    Meaning(
        ("rk", "rockchip", "rock", "radxa", "orangepi", "orange pi", "opi", "rknn"),
        "Rockchip's NPU, by its chip, or the CPU of such a board",
        (*_ROCKCHIP, *_ARM),
    ),
    Meaning(
        ("snapdragon", "qualcomm", "hexagon", "qnn", "snpe", "qcs", "qcm", "sm"),
        "Qualcomm's NPU, by its chip",
        _QUALCOMM,
    ),
    Meaning(
        ("adreno", "mali", "mediatek", "dimensity", "exynos", "tensor g", "nnapi"),
        "there is no target for the GPU of a phone, nor for this NPU; for its CPU",
        _PHONE,
    ),
    Meaning(
        ("android", "phone", "mobile", "tablet", "pixel", "galaxy", "termux", "samsung",
         "xiaomi", "oneplus"), "an Android phone", _PHONE
    ),
    Meaning(
        ("m", "mac", "macos", "macbook", "apple", "ios", "iphone", "ipad", "coreml", "ane", "metal",
         "mps", "mlx"),
        "there is no target for Apple's devices",
    ),
    Meaning(
        ("hailo", "coral", "edgetpu", "tpu", "myriad", "movidius", "ncs", "axelera", "deepx", "kneron",
         "memryx", "metis"),
        "there is no target for this accelerator; for the CPU of the machine it is plugged into",
        _OWN_CPU,
    ),
    Meaning(
        ("stm", "esp", "mcu", "cortexm", "cortex m", "arduino", "tinyml", "microcontroller",
         "k", "kendryte", "maix"),
        "there is no target for microcontrollers",
    ),
    Meaning(
        ("tensorrt", "trt"),
        "TensorRT is what a Jetson runs; there is no target for other NVIDIA GPUs",
        ("jetson",),
    ),
    Meaning(
        ("cuda", "nvidia", "rtx", "gtx", "geforce", "quadro", "tesla", "a", "h", "l", "t", "dgpu", "dgx",
         "gb", "triton"),
        "there is no target for an NVIDIA GPU of a workstation or server; the nearest, also by TensorRT, is",
        ("jetson",),
    ),
    Meaning(
        ("rocm", "radeon", "amd gpu", "mi", "instinct", "migraphx"), "there is no target for AMD's GPUs"
    ),
    Meaning(
        ("gpu", "vulkan", "opencl", "sycl"),
        "there is a target for the GPU of a Jetson and one for Intel's, none for others",
        ("jetson", "intel-gpu-openvino"),
    ),
    Meaning(
        ("npu", "accelerator"),
        "an NPU of Qualcomm or Rockchip, by its chip, or of an Intel Core Ultra; there is none for others",
        (*_QUALCOMM, *_ROCKCHIP, "intel-npu-openvino"),
    ),
    Meaning(
        ("directml", "dml", "winml"), "DirectML runs on Windows; edgeprune measures on Linux and Android"
    ),
    Meaning(("web", "browser", "wasm", "webgpu", "tfjs"), "there is no target for browsers"),
    Meaning(("windows", "win", "wsl"), "edgeprune measures on Linux and Android; for the CPU of a PC", _X86),
    Meaning(("onnxruntime", "ort", "onnx"), "ONNX Runtime", ("x86-ort", "arm64-ort", "android-ort")),
    Meaning(
        ("openvino", "ov", "ir"),
        "OpenVINO",
        ("x86-openvino", "arm64-openvino", "intel-gpu-openvino", "intel-npu-openvino"),
    ),
    Meaning(("ncnn", "pnnx"), "ncnn", ("x86-ncnn", "arm64-ncnn")),
    Meaning(
        ("litert", "tflite", "tensorflow", "tensorflowlite", "tf", "lite"),
        "LiteRT",
        ("x86-litert", "android-litert"),
    ),
    Meaning(
        ("executorch", "pte", "pytorch", "torch"), "ExecuTorch", ("x86-executorch", "android-executorch")
    ),
    Meaning(
        ("odroid", "bananapi", "nanopi", "khadas", "beagle", "imx", "graviton", "ampere", "neoverse",
         "cortex", "arm", "aarch", "armv", "kria", "zynq", "board", "sbc", "beaglebone",
         "amlogic", "allwinner", "vim", "tda", "lx", "altra", "axion"),
        "a CPU with the 64-bit ARM instructions",
        _ARM,
    ),
    Meaning(
        ("nuc", "intel", "amd", "x", "xeon", "ryzen", "epyc", "atom", "celeron", "n", "i", "core", "pc",
         "laptop", "desktop", "server", "workstation", "minipc", "avx", "j", "pentium", "threadripper",
         "lattepanda", "steamdeck"),
        "a CPU with the x86-64 instructions",
        _X86,
    ),
    Meaning(
        ("local", "localhost", "here", "host", "this", "native", "auto", "default"), "this machine", ("cpu",)
    ),
)  # fmt: skip

# What else may be meant by a word: a suggestion is only ever one of the names that are known in its place.
SYNONYMS: Final[Mapping[str, tuple[str, ...]]] = {
    # commands
    **dict.fromkeys(("prune", "quantize", "export", "compile", "convert", "train", "run"), ("build",)),
    **dict.fromkeys(("benchmark", "measure", "time", "latency", "perf"), ("bench", "p50_ms")),
    **dict.fromkeys(("gate", "compare", "diff", "regression", "verify"), ("check",)),
    **dict.fromkeys(("tune", "nas", "optimize", "optimise"), ("search",)),
    **dict.fromkeys(("why", "analyze", "analyse"), ("explain",)),
    **dict.fromkeys(("diagnose", "env", "info", "version"), ("doctor",)),
    **dict.fromkeys(("install", "converters"), ("runtimes",)),
    # budgets
    **dict.fromkeys(("p50", "median", "ms", "latency_ms"), ("p50_ms",)),
    "p90": ("p90_ms",),
    **dict.fromkeys(("memory", "ram", "mb", "memory_mb", "peak"), ("peak_mb", "max_memory_mb")),
    **dict.fromkeys(("throughput", "framerate", "rate"), ("fps", "min_fps")),
    **dict.fromkeys(("map", "map50"), ("map50_95",)),
    **dict.fromkeys(("accuracy", "acc", "top"), ("top1", "score")),
    # keys of a recipe, criteria, runtimes
    **dict.fromkeys(("lr", "learning_rate"), ("lr0",)),
    **dict.fromkeys(("batch_size", "batchsize"), ("batch",)),
    **dict.fromkeys(("image_size", "img_size", "img", "size", "resolution"), ("imgsz",)),
    **dict.fromkeys(("sparsity", "amount", "prune_ratio"), ("ratio",)),
    **dict.fromkeys(("training", "fine_tune", "finetuning"), ("finetune",)),
    "quantize": ("build",),
    **dict.fromkeys(("quantization", "quantization", "calibration", "ptq"), ("quantize",)),
    **dict.fromkeys(("magnitude", "norm"), ("l1",)),
    **dict.fromkeys(("fisher", "gradient"), ("taylor",)),
    **dict.fromkeys(("tflite", "tensorflow-lite", "tf-lite"), ("litert",)),
    **dict.fromkeys(("pytorch-mobile", "pte"), ("executorch",)),
    **dict.fromkeys(("ort", "onnx"), ("onnxruntime",)),
    **dict.fromkeys(("ov", "openvino-dev"), ("openvino",)),
    "trt": ("tensorrt",),
    **dict.fromkeys(("half", "float16", "f16"), ("fp16",)),
    **dict.fromkeys(("float", "float32", "f32", "full"), ("fp32",)),
    **dict.fromkeys(("i8", "8bit"), ("int8",)),
}  # fmt: skip


def meant_target(name: str, known: Iterable[str]) -> str:
    """Return what a word for a device or a runtime stands for, as the end of a sentence; empty if unknown.

    Args:
        known: names of targets: only these are suggested.
    """
    parts = set(re.findall(r"(?<![a-z0-9])[a-z]+", name.lower()))
    best, found = 0, None
    for meaning in TARGETS:
        fits = max((len(word.split()) for word in meaning.words if parts.issuperset(word.split())), default=0)
        if fits > best:
            best, found = fits, meaning
    if found is None:
        return ""
    names = set(known)
    targets = [target for target in found.targets if target in names]
    return f": {found.says}{f': --target {_either(targets)}' if targets else ''}"


def are_other_words(typed: str, near: str) -> bool:
    """Whether a name is no slip of another: it lacks a word of that, or all its own words mean something."""
    one, other = (set(re.findall("[a-z]+", name.lower())) for name in (typed, near))
    known = {part for meaning in TARGETS for word in meaning.words for part in word.split()}
    return one != other and (one < other or one <= known)


def synonym(word: str, known: Iterable[str]) -> str | None:
    """Return the known name that a word means, or None."""
    names = set(known)
    return next((name for name in SYNONYMS.get(word.lower(), ()) if name in names), None)


def _either(names: list[str]) -> str:
    return " or ".join(filter(None, (", ".join(names[:-1]), names[-1])))
