"""A finished build and what users get today, side by side: every row in turns, in one run, by one protocol.

    python -m benchmarks.beside_peers --build build --peers peers

`--peers` is the folder that `peers.py` (the other tools' exports of the same checkpoint) was run in. Its
files run as their makers leave them: with the runtime's own defaults, in the build's number of threads.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from edgeprune.bench.effort import PROFILES
from edgeprune.bench.jobs import build_job, write_inputs
from edgeprune.bench.protocol import measure
from edgeprune.bench.statistics import latency_ms
from edgeprune.bench.stock import stock_images
from edgeprune.bench.subject import make_job, subjects_of
from edgeprune.cli.progress import stage_progress
from edgeprune.config.targets import DeviceProfile, resolve_targets
from edgeprune.core.artifact import Artifact
from edgeprune.core.errors import ConfigError
from edgeprune.images.preprocess import Preprocess
from edgeprune.records.bench_result import Job
from edgeprune.records.summary import Summary, load_summary
from edgeprune.runners.local import LocalRunner


class Peer(NamedTuple):
    """A file of the peers' folder: where it lies, the target it is compared on, and its precision."""

    path: str
    target: str
    precision: str


PEERS = {
    "ORT fp32": Peer("fp32.onnx", "x86-ort", "fp32"),
    "ORT ultralytics int8": Peer("ul_int8.onnx", "x86-ort", "int8"),
    "ORT quantize_static defaults": Peer("ort_default.onnx", "x86-ort", "int8"),
    "ORT U8S8, head float": Peer("ort_u8s8.onnx", "x86-ort", "int8"),
    "OpenVINO fp32 file": Peer("ov_fp32_openvino_model/m.xml", "x86-openvino", "fp32"),
    "OpenVINO ultralytics int8": Peer("ov_int8_openvino_model/m.xml", "x86-openvino", "int8"),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure the rows of a build and the peers, and print one table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--build", type=Path, required=True, help="folder of a finished build")
    parser.add_argument("--peers", type=Path, required=True, help="folder that peers.py worked in")
    parser.add_argument("--profile", default="standard", choices=list(PROFILES))
    options = parser.parse_args(arguments)
    summary = load_summary(options.build)
    rows = {row.label: row for row in summary.rows() if row.p50_ms is not None}
    if not rows:
        raise ConfigError(f"{options.build}: no row was measured in this build")
    with tempfile.TemporaryDirectory() as name, LocalRunner() as runner, stage_progress() as notify:
        inputs = write_inputs(stock_images(Preprocess(summary.imgsz)), Path(name) / "inputs.npy")
        jobs = _ours(options.build, summary, set(rows), Path(name)) + _theirs(options.peers, summary, inputs)
        results = measure(
            jobs,
            PROFILES[options.profile],
            runner,
            lambda done, total, text: notify("bench", done / max(total, 1), text),
        )
    print("| row | mAP50-95 | p50 ms | p90 ms |\n|---|--:|--:|--:|")
    for result in sorted(results, key=lambda one: latency_ms(one).p50):
        times, row = latency_ms(result), rows.get(result.name)
        score = f"{row.score:.4f}" if row and row.score is not None else "see peers.py"
        p90 = "–" if times.p90 is None else f"{times.p90:.2f}"
        print(f"| {result.name} | {score} | {times.p50:.2f} | {p90} |")


def _ours(build: Path, summary: Summary, labels: set[str], folder: Path) -> list[Job]:
    """Return the jobs of a build's rows, each with inputs of its own size."""
    jobs = []
    for number, one in enumerate(subject for subject in subjects_of(build) if subject.name in labels):
        (own := folder / str(number)).mkdir()
        jobs.append(make_job(one, summary.threads, own))
    return jobs


def _theirs(folder: Path, summary: Summary, inputs: Path) -> list[Job]:
    jobs = []
    for name, peer in PEERS.items():
        (profile,) = resolve_targets((peer.target,))
        plain: DeviceProfile = profile.model_copy(update={"options": {}})
        engine = Artifact.of(folder / peer.path, "engine", peer.precision)
        jobs.append(build_job(name, engine, plain, threads=summary.threads, inputs=inputs))
    return jobs


if __name__ == "__main__":
    main()
