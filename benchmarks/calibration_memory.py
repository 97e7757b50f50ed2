"""Peak memory of calibration with few images and with many: it must not grow with their number.

    python -m benchmarks.calibration_memory --onnx model.onnx --data data.yaml --images 64 1024

Each (scheme, method, number of images) is a process of its own; images are repeated where the data set has
fewer. A line of JSON for each calibrator, on standard output, with VmHWM of the whole process in MB.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from itertools import cycle, islice
from pathlib import Path
from typing import Any, get_args

from edgeprune.config.recipe import CalibrationMethod
from edgeprune.core.artifact import Artifact
from edgeprune.core.errors import CompileError
from edgeprune.images.dataset import load_dataset
from edgeprune.images.preprocess import Preprocess
from edgeprune.quantize import METHODS_OF, CalibrationSet
from edgeprune.quantize.schemes import QDQ_SCHEMES
from edgeprune.worker import environment

SCHEMES = ("ort-u8s8", "nncf")  # the other Q/DQ schemes share the first one's calibrators


def main(argv: Sequence[str] | None = None) -> int:
    """Measure every calibrator with each number of images and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--onnx", type=Path, required=True, help="float network with one square input")
    parser.add_argument("--data", type=Path, required=True, help="data.yaml; its train split is read")
    parser.add_argument("--images", type=int, nargs="+", default=[64, 1024])
    parser.add_argument("--only", nargs=2, metavar=("SCHEME", "METHOD"), help=argparse.SUPPRESS)
    given = parser.parse_args(argv)
    if given.only:
        images = load_dataset(given.data).images["train"]
        print(json.dumps(calibrate(given.onnx, images, *given.only, given.images[0])))
        return 0
    for scheme in SCHEMES:
        for method in METHODS_OF.get(scheme, get_args(CalibrationMethod)):
            found = [measure(given.onnx, given.data, scheme, method, count) for count in given.images]
            peaks = [entry["peak_mb"] for entry in found]
            growth = max(peaks) / min(peaks) - 1
            print(json.dumps({"scheme": scheme, "method": method, "runs": found, "growth": round(growth, 4)}))
    return 0


def measure(model: Path, data: Path, scheme: str, method: str, count: int) -> dict[str, Any]:
    """Calibrate in a fresh process and return what `calibrate` found there.

    Raises:
        CompileError: the process failed.
    """
    ended = subprocess.run(
        [
            sys.executable, "-m", "benchmarks.calibration_memory", "--onnx", str(model.resolve()),
            "--data", str(data.resolve()),
            "--images", str(count), "--only", scheme, method,
        ],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    if ended.returncode:
        raise CompileError(f"{scheme} {method} with {count} images: {ended.stderr.strip()[-300:]}")
    result: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    return result


def calibrate(
    path: Path, images: Sequence[Path], scheme: str, method: CalibrationMethod, count: int
) -> dict[str, Any]:
    """Calibrate in this process; return ``images`` and ``peak_mb``, VmHWM of the whole process in MB."""
    import onnx

    from edgeprune.quantize import nncf_openvino, qdq

    side = onnx.load(path).graph.input[0].type.tensor_type.shape.dim[-1].dim_value
    model = Artifact.of(path, "onnx", "fp32")
    calibration = CalibrationSet(tuple(islice(cycle(images), count)), Preprocess(side), method)
    with tempfile.TemporaryDirectory() as folder:
        if scheme in QDQ_SCHEMES:
            qdq.calibrate(model, scheme, calibration, Path(folder))
        else:
            nncf_openvino.quantize(model, scheme, calibration, (), Path(folder))
    peak_kb = environment.read_status("VmHWM")
    if peak_kb is None:
        raise CompileError("/proc/self/status: VmHWM cannot be read here")
    return {"images": count, "peak_mb": round(peak_kb * 1024 / 1e6, 1)}


if __name__ == "__main__":
    sys.exit(main())
