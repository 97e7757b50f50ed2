"""int8 post-training quantization, in the scheme that each runtime runs fast: one literal table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Protocol, cast, get_args

from edgeprune.backends import all_backends
from edgeprune.config.recipe import CalibrationMethod
from edgeprune.core.artifact import Artifact
from edgeprune.core.errors import ConfigError
from edgeprune.core.onnx_files import read_onnx
from edgeprune.images.preprocess import Preprocess
from edgeprune.models import ModelAdapter
from edgeprune.quantize.schemes import QDQ_SCHEMES

SCHEMES: dict[str, str] = {
    "ort-u8s8": "edgeprune.quantize.qdq",
    "ort-s8s8": "edgeprune.quantize.qdq",
    "trt-s8s8": "edgeprune.quantize.qdq",
    "qnn-u8s8": "edgeprune.quantize.qdq",
    "qnn-u16s8": "edgeprune.quantize.qdq",
    "nncf": "edgeprune.quantize.nncf_openvino",
    "ncnn-minmax": "edgeprune.quantize.ncnn_int8",
    "ncnn-kl": "edgeprune.quantize.ncnn_int8",
    "litert-s8": "edgeprune.quantize.programs",
    "executorch-s8": "edgeprune.quantize.programs",
    "rknn-s8": "edgeprune.quantize.rknn_hybrid",
}
"""The module of each scheme; what the schemes of one module differ in stands in its own table.

A scheme that is not here is of the runtime that has it in `SCHEMES`, and has a function `quantize`."""
METHODS_OF: dict[str, tuple[CalibrationMethod, ...]] = {
    "nncf": ("minmax", "percentile", "mse"),
    "ncnn-minmax": (),
    "ncnn-kl": (),
    "litert-s8": (),
    "executorch-s8": (),
    "rknn-s8": (),
}
"""The calibration methods of schemes whose quantizer does not offer all."""

FALLBACK_OF: dict[str, str] = {"qnn-u8s8": "U16", "rknn-s8": "fp16"}
"""What layers that the accuracy guard keeps compute in, of schemes in which that is not float32."""


@dataclass(frozen=True)
class CalibrationSet:
    """The images that activation ranges are read from, how they become inputs, and by which method.

    Attributes:
        equalise, correct_bias: what Q/DQ schemes do to weights and biases beside; see the modules of these
            names. NNCF corrects biases by itself, and equalises nothing.
        table: what `qdq.calibrate` has written of the model and these settings; without one the images are
            read.
    """

    images: tuple[Path, ...]
    spec: Preprocess
    method: CalibrationMethod | None = None
    equalise: bool = False
    correct_bias: bool = False
    table: Path | None = None


class Quantizer(Protocol):
    """What each module of this package offers.

    Attributes:
        PACKAGES: distributions whose versions belong into the key of what it makes.
    """

    PACKAGES: tuple[str, ...]

    @property
    def quantize(self) -> Callable[..., Artifact]:
        """Write the int8 twin of a float model: from (model, scheme, calibration, float nodes, folder)."""
        ...


def require_method(scheme: str, method: CalibrationMethod | None) -> None:
    """Check that the quantizer of a scheme offers a calibration method.

    Raises:
        ConfigError: it does not.
    """
    offered = METHODS_OF.get(scheme, get_args(CalibrationMethod) if scheme in SCHEMES else ())
    if method is not None and method not in offered:
        choice = f"only {', '.join(offered)}" if offered else "only its own: leave it out"
        raise ConfigError(f"quantize.method: the quantizer of scheme {scheme} has no {method!r}, {choice}")


def quantize(
    model: Artifact,
    scheme: str,
    calibration: CalibrationSet,
    adapter: ModelAdapter | None,
    out: Path,
    keep: Sequence[str] = (),
) -> Artifact:
    """Quantize a float32 ONNX artifact, or an exported program, in a scheme.

    Args:
        adapter: names what must stay in float; None quantizes that as well.
        keep: names of nodes that stay in float beside those that the adapter names, or that get the
            `fallback` of a Q/DQ scheme.

    Raises:
        CompileError: the scheme's quantizer failed.
        ConfigError: the scheme's quantizer has no such calibration method.
        DataError: there are no images, none of them shows anything, or one cannot be read.
    """
    from edgeprune.quantize.selection import require_content

    require_method(scheme, calibration.method)
    require_content(calibration.images)
    names = _node_names(model)
    quantizer = _quantizer(scheme)
    decode = adapter.float_nodes(names) if adapter else []
    if scheme in QDQ_SCHEMES and QDQ_SCHEMES[scheme].fallback == "u16":
        return quantizer(model, scheme, calibration, decode, out, wide=[*keep])
    return quantizer(model, scheme, calibration, list(dict.fromkeys([*decode, *keep])), out)


def packages_of(scheme: str) -> tuple[str, ...]:
    """Return the packages whose versions belong into the key of what a scheme's quantizer makes."""
    if scheme in SCHEMES:
        return _module(scheme).PACKAGES
    return tuple(name for backend in all_backends() if scheme in backend.SCHEMES for name in backend.PACKAGES)


def _module(scheme: str) -> Quantizer:
    return cast(Quantizer, import_module(SCHEMES[scheme]))


def _quantizer(scheme: str) -> Callable[..., Artifact]:
    if scheme in SCHEMES:
        return _module(scheme).quantize
    found = (backend.quantize for backend in all_backends() if scheme in backend.SCHEMES)
    own = next(filter(None, found), None)
    if own is None:
        raise ConfigError(f"quantize.scheme: the runtime of {scheme!r} has no quantizer of it")
    return own


def _node_names(model: Artifact) -> list[str]:
    if model.kind == "program":
        from edgeprune.quantize.programs import node_names

        return list(node_names(model))
    return [node.name for node in read_onnx(model.path).graph.node]
