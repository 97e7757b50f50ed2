"""What an activation costs on a target: latency of a network with each, unpruned and pruned alike everywhere.

    python -m benchmarks.activations --model best.pt --imgsz 320

All networks are measured side by side, in turns, with ONNX Runtime in fp32 beside them. Nothing is trained:
weights do not matter to latency.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.latency_prediction import PLAN
from torch import nn

from edgeprune.adapters.ultralytics import detect as adapter
from edgeprune.bench.protocol import measure
from edgeprune.bench.statistics import latency_ms
from edgeprune.bench.testbed import local
from edgeprune.cli.options import one_target
from edgeprune.config.targets import Precision
from edgeprune.latency.paced import Pace, jobs_beside, measured_pace
from edgeprune.latency.shipped import ProfiledNetwork, compile_shipped, cut_widths, subject_of
from edgeprune.prune.activation import ACTIVATIONS, swap_activation
from edgeprune.prune.allocation import on_step
from edgeprune.prune.layers import deployed_layers
from edgeprune.records.bench_result import Job
from edgeprune.runners.local import LocalRunner

KEEP = "keep"
REFERENCE = "x86-ort fp32"


def main(arguments: Sequence[str] | None = None) -> None:
    """Print one line an activation, and in it p50 in ms at each ratio and precision."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--imgsz", type=int)
    parser.add_argument("--target", default="x86-openvino")
    parser.add_argument("--precision", nargs="+", default=["int8", "bf16"])
    parser.add_argument("--activation", nargs="+", choices=[KEEP, *ACTIVATIONS], default=[KEEP, *ACTIVATIONS])
    parser.add_argument(
        "--cut", nargs="+", default=["0/1", "0.3/32", "0.45/16"], metavar="RATIO/STEP", help="0/1 is unpruned"
    )
    options = parser.parse_args(arguments)
    cuts = [(float(ratio), int(step)) for ratio, step in (cut.split("/") for cut in options.cut)]
    profile, reference = one_target(options.target), one_target("x86-ort")
    with tempfile.TemporaryDirectory() as name, LocalRunner() as runner:
        folder = Path(name)
        float32 = subject_of(adapter, options.model, options.imgsz, reference, "fp32", 1)
        jobs = [_job(REFERENCE, float32, float32.model, Pace(0.0, 1, {}), folder)]
        for precision in options.precision:
            subject = subject_of(adapter, options.model, options.imgsz, profile, precision, 1)
            engine = (
                compile_shipped(subject, subject.model, folder / f"own {precision}", local()),
                subject.spec,
            )
            pace = measured_pace(engine, profile, 1, local(), folder)
            for kind in options.activation:
                for ratio, step in cuts:
                    network = _changed(subject, kind, ratio, step)
                    label = _label(kind, ratio, step, precision)
                    jobs.append(_job(label, subject, network, pace, folder))
        p50 = {result.name: latency_ms(result).p50 for result in measure(jobs, PLAN, runner)}
    print(f"{profile.name}, {float32.imgsz} px, 1 thread, p50 in ms; {REFERENCE}: {p50[REFERENCE]:.2f}\n")
    heads = [f"{ratio:.0%} at {step}, {precision}" for ratio, step in cuts for precision in options.precision]
    print(f"| activation | {' | '.join(heads)} |\n|---|{'---|' * len(heads)}")
    for kind in options.activation:
        cells = [
            f"{p50[_label(kind, ratio, step, precision)]:.2f}"
            for ratio, step in cuts
            for precision in options.precision
        ]
        print(f"| {kind} | {' | '.join(cells)} |")


def _label(kind: str, ratio: float, step: int, precision: Precision) -> str:
    return f"{kind} {ratio:g} {step} {precision}"


def _changed(subject: ProfiledNetwork, kind: str, ratio: float, step: int) -> nn.Module:
    network = subject.model if kind == KEEP else swap_activation(subject.model, kind)
    if not ratio:
        return network
    _, widths = deployed_layers(subject.adapter, subject.model, subject.imgsz)
    keep = {name: on_step(width * (1 - ratio), step, width) for name, width in widths.items()}
    return cut_widths(subject.adapter, network, subject.imgsz, keep)


def _job(name: str, subject: ProfiledNetwork, network: nn.Module, pace: Pace, folder: Path) -> Job:
    engine = compile_shipped(subject, network, folder / name, local()), subject.spec
    (job,) = jobs_beside({name: engine}, subject.profile, pace, folder)
    return job


if __name__ == "__main__":
    main()
