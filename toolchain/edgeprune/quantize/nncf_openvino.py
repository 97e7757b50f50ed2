"""Post-training quantization for OpenVINO with NNCF, OpenVINO's own quantizer."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

from edgeprune.backends.openvino import keep_spec
from edgeprune.core.artifact import Artifact
from edgeprune.core.errors import CompileError, shorten
from edgeprune.images.answers import load_batches
from edgeprune.quantize import CalibrationSet
from edgeprune.quantize.ranges import PERCENTILE

PACKAGES = ("onnx", "nncf", "openvino")
BIAS_IMAGES = 25
"""Images that biases are corrected on, or all if there are fewer."""


def quantize(
    model: Artifact, scheme: str, calibration: CalibrationSet, float_nodes: Sequence[str], out: Path
) -> Artifact:
    """Write the folder `out/engine` with an int8 OpenVINO model (`model.xml` and `model.bin`).

    Args:
        float_nodes: names of the ONNX nodes that stay in float; OpenVINO keeps them as friendly names.

    Raises:
        CompileError: NNCF failed.
        DataError: a calibration image cannot be read.
    """
    # NNCF imports torch's extension builder, which warns where a CUDA toolkit lies without a GPU.
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
    import nncf
    import openvino as ov

    logging.getLogger("nncf").setLevel(logging.ERROR)
    nncf.set_log_level(logging.ERROR)
    network = ov.convert_model(str(model.path))
    known = {node.get_friendly_name() for node in network.get_ops()}
    batch = calibration.spec.batch
    inputs = [calibration.images[start : start + batch] for start in range(0, len(calibration.images), batch)]
    images = nncf.Dataset(inputs, lambda paths: next(load_batches(paths, calibration.spec)))
    try:
        # Its bars would be in the way of a command's JSON.
        with redirect_stdout(StringIO()), few_for_biases(len(inputs), batch):
            quantized = nncf.quantize(
                network,
                images,
                preset=nncf.QuantizationPreset.MIXED,  # asymmetric activations: SiLU's range is not symmetric
                subset_size=len(inputs),
                fast_bias_correction=False,  # the error of the layers before is in view
                advanced_parameters=nncf.AdvancedQuantizationParameters(
                    activations_range_estimator_params=_estimator(calibration.method or "minmax")
                ),
                ignored_scope=nncf.IgnoredScope(
                    names=[name for name in float_nodes if name in known], validate=False
                ),
            )
    except (RuntimeError, ValueError, nncf.errors.InternalError, nncf.errors.ValidationError) as exc:
        raise CompileError(f"{scheme}: quantization failed: {shorten(exc)}") from exc
    keep_spec(quantized, model.path)
    engine = out / "engine"
    engine.mkdir(parents=True)
    ov.save_model(quantized, str(engine / "model.xml"), compress_to_fp16=False)
    return Artifact.of(engine, "onnx", "int8", model.sha256)


@contextmanager
def few_for_biases(count: int, batch: int = 1) -> Iterator[None]:
    """Let NNCF correct biases on `BIAS_IMAGES`, or all there are; its own rule is a fifth of them.

    This correction keeps the activations of its images, 8 MB an image of 320 px in a yolov8n, so memory would
    grow with their number. NNCF's fast one, which reads each layer by itself, keeps none, and is worse: a
    pruned yolov8n on BCCD val has mAP50-95 .5654 and .5647 with it, .5726 and .5748 with this one.

    Args:
        count: of inputs, each of `batch` images.
    """
    from nncf.quantization.algorithms.post_training import pipeline

    correction = pipeline.BiasCorrection
    pipeline.BiasCorrection = lambda _, *rest: correction(min(-(-BIAS_IMAGES // batch), count), *rest)
    try:
        yield
    finally:
        pipeline.BiasCorrection = correction


def _estimator(method: str) -> Any:
    """Return NNCF's parameters of a method.

    Its own choice for ``minmax`` is the mean over images of their least and greatest values; its quantiles
    are means over images as well; its histogram is searched for the least squared error.
    """
    from nncf.quantization.range_estimator import RangeEstimatorParameters as Parameters
    from nncf.quantization.range_estimator import RangeEstimatorParametersSet as Known

    if method == "percentile":
        ends = replace(Known.MEAN_QUANTILE.min, quantile_outlier_prob=(100 - PERCENTILE) / 200)
        return Parameters(ends, ends)
    return {"minmax": Parameters(), "mse": Known.HISTOGRAM}[method]
