"""How well the latency table predicts whole networks: random widths of two models, predicted beside measured.

    python -m benchmarks.latency_prediction --target x86-ort --precision int8
    python -m benchmarks.latency_prediction --target x86-openvino --busy 1

The weights do not matter to latency, so nothing is trained: the networks are built from ultralytics' own
descriptions, or taken from the checkpoints given. The tables come
from `edgeprune profile` (its cache is used).

With `--busy` that many processes keep a core each busy while the table is made, in a cache of its own; they
end before the networks are measured. A table that is unfit then is refused, as a build does.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from edgeprune.adapters.ultralytics import detect as adapter
from edgeprune.bench.effort import BenchProfile
from edgeprune.bench.jobs import build_job, write_inputs
from edgeprune.bench.protocol import measure
from edgeprune.bench.statistics import latency_ms
from edgeprune.bench.stock import stock_images
from edgeprune.bench.testbed import local
from edgeprune.cli.progress import stage_progress
from edgeprune.config.targets import resolve_targets
from edgeprune.core.artifact import Artifact
from edgeprune.images.preprocess import Preprocess
from edgeprune.latency.profile import profile_model
from edgeprune.latency.shipped import ProfiledNetwork, compile_shipped, cut_widths, subject_of
from edgeprune.prune.allocation import on_step
from edgeprune.records.latency_table import LatencyTable
from edgeprune.runners.local import LocalRunner

PLAN = BenchProfile(blocks=2, min_queries=96, min_seconds=3.0, warmup_s=0.5, warmup_cap_s=5.0)
GOAL = 0.10
HEADS = ("model", "channels kept", "predicted ms", "measured ms", "off", "off as a share of the original")


def main() -> None:
    """Print a table of predictions and measurements, and the mean absolute error over all settings."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", action="append", help="yolov8n, yolo11n ... or a checkpoint; repeatable")
    parser.add_argument("--target", default="x86-ort")
    parser.add_argument("--precision", default="int8")
    parser.add_argument("--imgsz", type=int, default=320)
    parser.add_argument("--settings", type=int, default=4, help="width settings a model")
    parser.add_argument("--busy", type=int, default=0, help="cores kept busy while the table is made")
    options = parser.parse_args()
    profile = resolve_targets((options.target,))[0]
    where = f"{options.target} {options.precision}, {options.imgsz} px, 1 thread"
    print(f"{where}, {options.busy} busy processes meanwhile\n")
    print(f"| {' | '.join(HEADS)} |\n|---|{'--:|' * (len(HEADS) - 1)}")
    errors: list[tuple[float, float]] = []
    for name in options.model or ["yolov8n", "yolo11n"]:
        with tempfile.TemporaryDirectory() as folder, LocalRunner() as runner, stage_progress() as notify:
            path = _checkpoint(name, Path(folder))
            subject = subject_of(adapter, path, options.imgsz, profile, options.precision, 1)
            with busy(options.busy):
                cache = Path(folder) / "cache" if options.busy else None
                table = profile_model(subject, local(), notify, cache)
            if table.unfit:
                print(f"| {Path(name).stem} | refused: {'; '.join(table.caveats())} |{' |' * 4}", flush=True)
                continue
            settings = [{}, *random_widths(table, options.settings)]
            measured = measure_widths(subject, table, settings, Path(folder), runner)
        for keep, ms in zip(settings, measured, strict=True):
            predicted = table.network_ms(table.layers, keep, table.original)
            kept = sum(keep.get(group, width) for group, width in table.original.items())
            # What a search goes by: the share of the original's time, whatever the pace of the hour.
            error, shares = predicted / ms - 1, predicted / table.whole_ms / (ms / measured[0]) - 1
            errors += [(error, shares)] if keep else []
            cells = f"{kept / sum(table.original.values()):.0%} | {predicted:.2f} | {ms:.2f}"
            print(f"| {Path(name).stem} | {cells} | {error:+.1%} | {shares:+.1%} |", flush=True)
    for what, found in zip(
        ("Milliseconds", "Shares of the original"), zip(*errors, strict=True), strict=False
    ):
        mean, most = sum(map(abs, found)) / len(found), max(map(abs, found))
        verdict = "all within" if most <= GOAL else "NOT all within"
        print(
            f"\n{what}: {len(found)} networks, off by {mean:.1%}, at most {most:.1%}, {verdict} {GOAL:.0%}."
        )


@contextlib.contextmanager
def busy(count: int) -> Iterator[None]:
    """Keep as many cores busy by processes of their own."""
    processes = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def random_widths(table: LatencyTable, count: int) -> list[dict[str, int]]:
    """Draw widths on the table's step, each setting around a share of its own between 30 and 90 %."""
    generator = random.Random(0)
    settings = []
    for index in range(count):
        share = 0.9 - 0.6 * index / max(count - 1, 1)
        settings.append(
            {
                name: on_step(width * min(1.0, share * generator.uniform(0.6, 1.4)), table.step, width)
                for name, width in table.original.items()
            }
        )
    return settings


def measure_widths(
    subject: ProfiledNetwork,
    table: LatencyTable,
    settings: list[dict[str, int]],
    folder: Path,
    runner: LocalRunner,
) -> list[float]:
    """Build and measure whole networks side by side; return their p50, ms."""
    inputs = write_inputs(stock_images(Preprocess(subject.imgsz)), folder / "inputs.npy")
    jobs = []
    for index, keep in enumerate(settings):
        network = cut_widths(subject.adapter, subject.model, subject.imgsz, keep)
        engine: Artifact = compile_shipped(subject, network, folder / str(index), local())
        job = build_job(
            str(index),
            engine,
            subject.profile,
            threads=subject.threads,
            inputs=inputs,
            environment=table.key.environment,
        )
        jobs.append(job)
    return [latency_ms(result).p50 for result in measure(jobs, PLAN, runner)]


def _checkpoint(name: str, folder: Path) -> Path:
    if Path(name).is_file():
        return Path(name)
    import torch
    from ultralytics.nn.tasks import DetectionModel

    torch.manual_seed(0)  # the same weights each time, so that the cache knows the network
    model = DetectionModel(f"{name}.yaml", nc=3, verbose=False).eval()
    model.names = {index: str(index) for index in range(3)}
    model.args = {"task": "detect"}
    adapter.save(model, folder / f"{name}.pt")
    return folder / f"{name}.pt"


if __name__ == "__main__":
    main()
