"""What only a machine with an NVIDIA GPU can show: `python -m benchmarks.on_gpu --out figures.json`.

A few minutes with the demo's detector, or `--model best.pt --data data.yaml`: engines in fp16 and int8 by
TensorRT-RTX, whose network, parser and runtime have the calls of TensorRT; their outputs against ONNX
Runtime; latency one query after the other, and the throughput of several; and one recovery of a pruned
network with mixed precision (AMP). The file has the figures, the GPU, its driver and the date.

It needs `pip install 'edgeprune[build,rtx]'`. **It was never run on a GPU**: the project has had none.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np

from edgeprune.adapters.ultralytics import detect as adapter
from edgeprune.backends import REFERENCE, get_backend
from edgeprune.backends.cudart import Cuda, load_cuda
from edgeprune.backends.nvidia import build_engine, make_log, runtime_name
from edgeprune.backends.tensorrt_session import TensorRtSession, deserialised
from edgeprune.bench.stock import stock_images
from edgeprune.config.recipe import ExportRecipe, load_recipe
from edgeprune.core.artifact import Artifact
from edgeprune.core.errors import EdgepruneError
from edgeprune.export.onnx import export
from edgeprune.images.batches import inputs_of
from edgeprune.images.dataset import Dataset
from edgeprune.images.demo import digits_data, digits_model
from edgeprune.images.preprocess import Preprocess
from edgeprune.models import Training
from edgeprune.models.predictor import predictor
from edgeprune.prune.stages import PruneContext, cut
from edgeprune.quantize import CalibrationSet, quantize
from edgeprune.quantize.half import to_fp16
from edgeprune.worker.scenarios.block import difference
from edgeprune.worker.scenarios.throughput import Answers, Crew
from edgeprune.worker.sensors.nvidia import read_gpus

SECONDS, IN_FLIGHT, WARM, CALIBRATION, STEP = 10.0, 4, 200, 64, 16
SCHEME, TOLERANCE = "trt-s8s8", 2e-2


def main(arguments: list[str] | None = None) -> int:
    """Measure all and write the file; without a GPU say so and return the exit code of that."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, default=digits_model(), help="checkpoint of a detector")
    parser.add_argument("--data", type=Path, help="its data.yaml; the demo's set by default")
    parser.add_argument("--epochs", type=int, default=2, help="of the recovery; 0 for none")
    parser.add_argument("--out", type=Path, default=Path("on_gpu.json"))
    options = parser.parse_args(arguments)
    try:
        cuda = load_cuda()
        import tensorrt_rtx as trt
    except (EdgepruneError, ImportError) as exc:
        print(f"on_gpu: {exc}")
        return exc.exit_code if isinstance(exc, EdgepruneError) else 5
    model = adapter.load(options.model)
    info = adapter.info(model)
    data = adapter.dataset(options.data or digits_data(), info)
    spec = adapter.preprocess(info.imgsz or 640)
    told: dict[str, Any] = {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "gpu": cuda.name,
        "capability": cuda.capability,
        "gpus": read_gpus(),
        "runtime": runtime_name(trt),
        "model": options.model.name,
        "imgsz": info.imgsz,
    }
    with tempfile.TemporaryDirectory() as name:
        told["engines"] = _engines(trt, cuda, options.model, data, spec, Path(name))
        if options.epochs:
            told["recovery"] = _recovery(options.model, data, spec, options.epochs, Path(name))
    options.out.write_text(json.dumps(told, indent=1) + "\n")
    print(json.dumps(told, indent=1))
    return 0


def _engines(
    trt: Any, cuda: Cuda, checkpoint: Path, data: Dataset, spec: Preprocess, folder: Path
) -> dict[str, Any]:
    """Build an engine in fp16 and in int8, and return how near each is to float32, and how fast."""
    model = adapter.load(checkpoint)
    images = data.sample("train", CALIBRATION, 0)
    plain, _ = export(
        adapter.exportable(model), adapter.info(model), spec, images[:2], ExportRecipe(), "original",
        folder / "model.onnx",
    )  # fmt: skip
    (folder / "int8").mkdir()
    int8 = quantize(plain, SCHEME, CalibrationSet(images, spec), adapter, folder / "int8")
    inputs = inputs_of(stock_images(spec), 1)
    reference = get_backend(REFERENCE).load(plain.path, "fp32", 1, {})
    wanted = [reference(one) for one in inputs]
    found = {}
    for precision, source in (("fp16", plain), ("int8", int8)):
        place = folder / f"engine-{precision}"
        place.mkdir()
        half = to_fp16(source, place)
        started = time.perf_counter()
        engine = place / "model.engine"
        engine.write_bytes(build_engine(trt, make_log(trt), half.path, _in_detail(trt)))
        built = time.perf_counter() - started
        loaded = deserialised(trt, engine)
        sessions = [TensorRtSession(trt, cuda, loaded) for _ in range(IN_FLIGHT)]
        errors = [difference(sessions[0](one), right) for one, right in zip(inputs, wanted, strict=True)]
        found[precision] = {
            "build_s": round(built, 1),
            "size_mb": engine.stat().st_size / 1e6,
            "relative_l2_error": None if None in errors else max(error for error in errors if error),
            **_timed(sessions, inputs),
        }
    return found


def _in_detail(trt: Any) -> Callable[[Any, Any, Any], None]:
    """Return what has the builder keep what an engine tells of its kernels."""

    def configure(builder: Any, network: Any, config: Any) -> None:
        config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED

    return configure


def _timed(sessions: list[TensorRtSession], inputs: list[Any]) -> dict[str, Any]:
    """Return latency of one query after the other, its stages, and the throughput of several in flight."""
    session, samples = sessions[0], []
    for index in range(WARM):
        session(inputs[index % len(inputs)])
    begin = time.perf_counter()
    while time.perf_counter() - begin < SECONDS:
        started = time.perf_counter_ns()
        session(inputs[len(samples) % len(inputs)])
        samples.append((time.perf_counter_ns() - started) / 1e6)
    stages = [session.stages_ms(inputs[index % len(inputs)]) for index in range(WARM)]
    alone = [[output.copy() for output in session(one)] for one in inputs]
    with Crew(sessions, inputs, Answers(alone, TOLERANCE)) as crew:
        crew.run(WARM, 0.0)
        block = crew.run(WARM, SECONDS)
    p50, p90 = np.percentile(samples, (50, 90))
    return {
        "single_stream_ms": {"p50": float(p50), "p90": float(p90), "n": len(samples)},
        "stages_ms": {name: statistics.median(one[name] for one in stages) for name in stages[0]},
        "throughput_fps": len(block["samples_ns"]) / block["elapsed_ns"] * 1e9,
        "in_flight": len(sessions),
        "wrong_answers": crew.answers.wrong,
    }


def _recovery(checkpoint: Path, data: Dataset, spec: Preprocess, epochs: int, folder: Path) -> dict[str, Any]:
    """Cut the network and train it back on the GPU, which ultralytics does in mixed precision."""
    recipe = load_recipe(None, (f"finetune.epochs={epochs}",))
    before = Artifact.of(checkpoint, "torch", "fp32")
    (folder / "pruned").mkdir()
    cut(PruneContext(adapter, data, spec, recipe), before, STEP, folder / "pruned")
    pruned, out = folder / "pruned" / "model.pt", folder / "recovered.pt"
    started = time.perf_counter()
    adapter.finetune(
        Training(pruned, checkpoint, data, spec.imgsz, recipe, out, lambda share, text: print(f"{text}"))
    )
    took = time.perf_counter() - started
    files = {"original": checkpoint, "pruned": pruned, "recovered": out}
    scores = {name: _score(path, data, spec) for name, path in files.items()}
    return {"epochs": epochs, "seconds": round(took, 1), "map50_95_on_val": scores}


def _score(checkpoint: Path, data: Dataset, spec: Preprocess) -> float:
    model = adapter.load(checkpoint)
    run = predictor(adapter.exportable(model))
    return float(adapter.evaluate(run, data, "val", spec, adapter.info(model).postprocess).score)


if __name__ == "__main__":
    raise SystemExit(main())
