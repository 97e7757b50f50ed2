"""RetinaFace without labels: what pruning and int8 keep of its detections, and what they save.

    python -m benchmarks.faces --pictures FOLDER --model mobilenet0.25_Final.pth --out faces-build

FOLDER holds pictures with faces; none are shipped. `examples/faces/retinaface.yaml` says how the network is
built, from the pictures alone. It is judged on those that no training saw. The same command goes on where it
was stopped, and measures a finished build again. `--deployment` adds the ten-minute run and several streams
at once.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from edgeprune.adapters.agreement import KEPT
from edgeprune.adapters.unlabelled import Unlabelled
from edgeprune.backends import get_backend, options_for
from edgeprune.bench.effort import PROFILES
from edgeprune.bench.scenario_runs import measure_setup
from edgeprune.bench.setup import Setup
from edgeprune.bench.side_by_side import speedup
from edgeprune.bench.statistics import latency_ms
from edgeprune.bench.subject import Subject, make_job, subjects_of
from edgeprune.cli.progress import stage_progress
from edgeprune.images.dataset import Dataset
from edgeprune.models import adapter_of
from edgeprune.records.bench_result import BenchResult
from edgeprune.records.summary import Summary, load_summary
from edgeprune.runners.local import LocalRunner

RECIPE = Path(__file__).parents[1] / "examples" / "faces" / "retinaface.yaml"
HELD_OUT = "held out"
REFERENCE = "x86-ort original fp32"
STREAMS = 4


def main(arguments: Sequence[str] | None = None) -> None:
    """Build where that is not done, measure all rows in turns, and print the tables."""
    given = _parser().parse_args(arguments)
    given.target = given.target or ["x86-ort", "x86-openvino"]
    build(given)
    summary = load_summary(given.out)
    subjects = subjects_of(given.out)
    kept = {one.name: share for one, share in zip(subjects, kept_by(subjects, given, summary), strict=True)}
    with tempfile.TemporaryDirectory() as name:
        results = measure(subjects, Setup(), given.profile, Path(name), summary.threads)
        print(table(results, kept, summary))
        if given.deployment:
            fastest = min(subjects, key=lambda one: latency_ms(results[one.name]).p50)
            folder = Path(name) / "deployment"
            folder.mkdir()
            print(deployment(fastest, given.seconds, folder))


def build(given: argparse.Namespace) -> None:
    """Run `edgeprune build`; what is there already is not made again."""
    command = [sys.executable, "-m", "edgeprune", "build", "--model", given.model, "--data", given.pictures]
    command += ["--no-labels", "--imgsz", given.imgsz, "--recipe", given.recipe, "--out", given.out]
    for target in given.target:
        command += ["--target", target]
    for assignment in given.set:
        command += ["--set", assignment]
    subprocess.run([str(part) for part in [*command, "--bench", "quick"]], check=True)


def kept_by(subjects: Sequence[Subject], given: argparse.Namespace, summary: Summary) -> list[float]:
    """Return the share of the original's detections that each engine keeps on the pictures held out.

    A detection is kept where the engine deploys one at the original's own threshold that overlaps it by an
    IoU of 0.5, its landmarks near by.
    """
    adapter = Unlabelled(adapter_of(given.model), given.model)
    info = adapter.info(adapter.load(given.model))
    spec = adapter.preprocess(summary.imgsz)
    found: Dataset = adapter.dataset(given.pictures, info)
    held = tuple(image for split in ("val", "test") for image in found.images.get(split, ()))
    pictures = replace(found, images={**found.images, HELD_OUT: held})
    shares = []
    for one in subjects:
        options = options_for(one.profile, one.engine.precision)
        session = get_backend(one.profile.backend).load(one.engine.path, one.engine.precision, 1, options)
        told = adapter.evaluate(session, pictures, HELD_OUT, spec, info.postprocess)
        shares.append(told.others[KEPT])
    return shares


def measure(
    subjects: Sequence[Subject], setup: Setup, profile: str, folder: Path, threads: int = 1
) -> dict[str, BenchResult]:
    """Measure engines on this machine, in turns where the scenario has them; results by name."""
    jobs = []
    for index, one in enumerate(subjects):
        place = folder / str(index)
        place.mkdir(parents=True)
        jobs.append(make_job(one, threads, place))
    with LocalRunner() as runner, stage_progress() as notify:
        found = measure_setup(
            jobs,
            setup,
            PROFILES[profile],
            runner,
            lambda done, total, text: notify("bench", done / max(total, 1), text),
        )
    return {one.name: result for one, result in zip(subjects, found, strict=True)}


def table(results: dict[str, BenchResult], kept: dict[str, float], summary: Summary) -> str:
    """Return the rows as Markdown, beside the original in fp32 on ONNX Runtime."""
    sizes = {row.label: row.size_mb for row in summary.rows()}
    before = next((name for name in results if name == REFERENCE), next(iter(results)))
    lines = [
        f"| row | detections kept | p50 ms | times as fast as {before} | MB | of its size | peak MB |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    for name, result in results.items():
        gain = speedup(results[before], result)
        peak = result.memory.peak_hwm if result.memory else None
        lines.append(
            f"| {name} | {kept[name]:.1%} | {latency_ms(result).p50:.2f} "
            f"| {'–' if gain is None else f'{gain.times:.2f}'} | {sizes[name]:.2f} "
            f"| {sizes[name] / sizes[before]:.0%} | {'–' if peak is None else f'{peak:.0f}'} |"
        )
    flags = sorted({flag.code for result in results.values() for flag in result.flags})
    return "\n".join([*lines, "", f"Flags of the times: {', '.join(flags) or 'none'}."])


def deployment(subject: Subject, seconds: float, folder: Path) -> str:
    """Return what one engine does in a long run and with several streams, as lines of Markdown."""
    long = measure([subject], Setup("sustained", seconds=seconds), "sustained", folder / "long")
    many = measure([subject], Setup("throughput", in_flight=STREAMS), "quick", folder / "many")
    (steady,), (streams,) = long.values(), many.values()
    growth, block = steady.growth, streams.blocks[0]
    leak = "too few readings" if growth is None or growth.leak is None else "found" if growth.leak else "none"
    slope = "" if growth is None else f" ({growth.mb_per_minute:+.3f} MB a minute)"
    energy = "no sensor tells" if steady.energy is None else f"{steady.energy.j_per_inf * 1e3:.2f} mJ"
    return "\n".join(
        (
            f"- {subject.name}, {seconds:g} s without a pause: leak {leak}{slope}",
            f"- energy an image: {energy}",
            f"- {STREAMS} streams at once: {streams.fps.achieved if streams.fps else 0:.1f} images a second, "
            f"{block.cross_talk or 0} answers that were another stream's",
        )
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pictures", type=Path, required=True, help="folder of pictures with faces")
    parser.add_argument("--model", type=Path, required=True, help="published weights of RetinaFace")
    parser.add_argument("--out", type=Path, required=True, help="build folder")
    parser.add_argument("--recipe", type=Path, default=RECIPE)
    parser.add_argument("--imgsz", default="320", help="input size in pixels")
    parser.add_argument("--target", action="append", default=[], help="profile; x86-ort and x86-openvino")
    parser.add_argument("--set", action="append", default=[], help="key=value of the recipe")
    parser.add_argument("--profile", default="standard", choices=["quick", "standard"])
    parser.add_argument("--deployment", action="store_true", help="also a long run, and several streams")
    parser.add_argument("--seconds", type=float, default=600.0, help="of the long run")
    return parser


if __name__ == "__main__":
    main()
