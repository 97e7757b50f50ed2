"""A classic YOLOv5 slimmed to less than 30 % of its size: rounded widths, unrounded ones, and the original.

    python -m benchmarks.yolov5_slim --out slim                       # trains a yolov5n first
    python -m benchmarks.yolov5_slim --out slim --weights best.pt     # begins with YOLOv5's own checkpoint
    python -m benchmarks.yolov5_slim --out slim --remeasure           # only times what is there, once more

The recipe is network slimming (arXiv 1708.06519) as people use it on YOLOv5: training with an L1 penalty on
the batch-norm scales that decays, one threshold for the whole network, layers that an addition joins cut
together, and a recovery. It runs twice: with widths on the target's channel step, and with a step of 1, as
scripts for YOLOv5 do it. Stages are kept in the folder, and so are the times; accuracy is that of the split
``test``, which nothing is chosen on. The tables are printed and written to `table.md` of the folder.
"""

from __future__ import annotations

import argparse
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.classic import make_network
from benchmarks.speedups import measure_rows

from edgeprune.adapters.yolov5 import detect as adapter
from edgeprune.bench.effort import BenchProfile
from edgeprune.bench.side_by_side import speedup
from edgeprune.bench.statistics import latency_ms
from edgeprune.cli.options import existing
from edgeprune.cli.progress import stage_progress
from edgeprune.config.recipe import Recipe, load_recipe
from edgeprune.config.targets import DeviceProfile, resolve_targets
from edgeprune.core.artifact import SUMMARY
from edgeprune.core.files import write_text_atomically
from edgeprune.images.dataset import load_dataset
from edgeprune.models import Training
from edgeprune.models.source import ModelSource
from edgeprune.pipeline.build import build
from edgeprune.pipeline.context import BuildRequest
from edgeprune.records.bench_result import BenchResult, load_result, result_file, save_result
from edgeprune.records.pruning import Pruning
from edgeprune.records.summary import Row, Summary, load_summary
from edgeprune.report.machine import device_words

DATA = Path(__file__).parents[2] / "shared" / "data" / "bccd" / "data.yaml"
TARGETS = ("x86-ort", "x86-openvino")
UNROUNDED = "-unrounded"
BUDGET, SIZE = 0.01, 0.30
"""What may be lost of mAP50-95, and the share of the size that may be left."""
RECIPE = (
    "prune.criterion=slim",
    "prune.activation=keep",
    "prune.max_ratio=0.9",
    "prune.ratio=0.48",
    "sparse.epochs=10",
    "sparse.strength=0.01",
    "finetune.batch=8",
    "finetune.optimizer=SGD",
    "finetune.lr0=0.01",
    "finetune.weight_decay=0.0005",
    "finetune.epochs=100",
    "quantize.guard=false",
    "bench.profile=quick",
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, slim, build and measure what is not there yet; print the tables and write them."""
    options = _options(arguments)
    out: Path = options.out
    out.mkdir(parents=True, exist_ok=True)
    recipe = load_recipe(None, (*RECIPE, *options.set), imgsz=options.imgsz)
    weights = options.weights or _trained(options, recipe)
    if not (out / SUMMARY).is_file():
        with stage_progress() as notify:
            request = BuildRequest(
                model=ModelSource(existing(weights, "model")),
                data=existing(options.data, "data"),
                targets=_targets(),
                recipe=recipe,
                out=out,
                command=shlex.join(["python -m benchmarks.yolov5_slim", *sys.argv[1:]]),
            )
            build(request, notify)
    summary = load_summary(out)
    results = _times(out, summary, options)
    text = "\n\n".join(
        [_heading(summary, results), table(summary, results), *map(_layers, _prunings(summary).items())]
    )
    write_text_atomically(out / "table.md", text + "\n")
    print(text)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for stages, times and the tables")
    parser.add_argument("--weights", type=Path, help="a YOLOv5 checkpoint; without one, a network is trained")
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--model", default="yolov5n", help="network to train, such as yolov5s")
    parser.add_argument("--epochs", type=int, default=120, help="of the training of a network")
    parser.add_argument("--imgsz", type=int, default=320)
    parser.add_argument("--set", action="append", default=[], help="any key of the recipe, KEY=VALUE")
    parser.add_argument("--remeasure", action="store_true", help="forget the times that are kept")
    parser.add_argument("--rounds", type=int, default=6, help="fresh processes of each row")
    parser.add_argument("--seconds", type=float, default=4.0, help="time of each process")
    return parser.parse_args(arguments)


def _trained(options: argparse.Namespace, recipe: Recipe) -> Path:
    """Train a network from random weights with YOLOv5's usual settings, unless that is done already."""
    trained: Path = options.out / "dense.pt"
    if trained.is_file():
        return trained
    dataset = load_dataset(existing(options.data, "data"), None)
    fresh = options.out / "fresh.pt"
    adapter.save(make_network(options.model, dataset.names, options.imgsz), fresh)
    tuning = recipe.finetune.model_copy(update={"epochs": options.epochs, "optimizer": "SGD", "lr0": 0.01})
    with stage_progress() as notify:
        adapter.finetune(
            Training(
                student=fresh,
                teacher=None,
                dataset=dataset,
                imgsz=options.imgsz,
                recipe=recipe.model_copy(update={"finetune": tuning}),
                out=trained,
                progress=lambda share, text: notify("train", share, text),
            )
        )
    return trained


def _targets() -> tuple[DeviceProfile, ...]:
    """Return each target on its own channel step and, by another name, on none."""
    rounded = [
        profile.model_copy(update={"precisions": ("fp32", "int8"), "ship": "fp32"})
        for profile in resolve_targets(TARGETS)
    ]
    return (
        *rounded,
        *(
            profile.model_copy(
                update={"name": f"{profile.name}{UNROUNDED}", "channel_step": {"fp32": 1, "int8": 1}}
            )
            for profile in rounded
        ),
    )


def _times(out: Path, summary: Summary, options: argparse.Namespace) -> dict[str, BenchResult]:
    """Measure all rows in turns, and keep what was measured."""
    folder = out / "times"
    if options.remeasure:
        shutil.rmtree(folder, ignore_errors=True)
    files = {row.label: folder / result_file(row.label) for row in summary.rows()}
    if not all(path.is_file() for path in files.values()):
        count = options.rounds
        plan = BenchProfile(blocks=count, min_queries=64 * count, min_seconds=options.seconds * count)
        folder.mkdir(parents=True, exist_ok=True)
        for result in measure_rows(out, summary.threads, set(files), plan):
            save_result(result, files[result.name])
    return {label: load_result(path) for label, path in files.items()}


def table(summary: Summary, results: Mapping[str, BenchResult]) -> str:
    """Return a line for the original, the rounded and the unrounded network of each target and precision."""
    lines = [
        "| target | network | precision | mAP50-95 | lost | size MB | of the original | p50 ms | speed-up "
        "| 95 % interval |",
        "|---|---|---|--:|--:|--:|--:|--:|--:|---|",
    ]
    for target in TARGETS:
        for precision in ("fp32", "int8"):
            rows = {
                name: _row(summary, place, variant, precision)
                for name, place, variant in (
                    ("original", target, "original"),
                    ("slim", target, "pruned"),
                    ("slim, unrounded", f"{target}{UNROUNDED}", "pruned"),
                )
            }
            first = rows["original"]
            lines += [
                _line(f"| {target} | {name} | {precision}", row, first, results) for name, row in rows.items()
            ]
    return "\n".join(lines)


def _row(summary: Summary, target: str, variant: str, precision: str) -> Row:
    rows = summary.targets[target].rows
    return next(row for row in rows if row.variant == variant and row.precision == precision)


def _line(head: str, row: Row, first: Row, results: Mapping[str, BenchResult]) -> str:
    times = latency_ms(results[row.label])
    gain = speedup(results[first.label], results[row.label]) if row is not first else None
    told, interval = "–", "–"
    if gain and gain.low is not None and gain.high is not None:
        told, interval = f"{gain.times:.2f}", f"{gain.low:.2f} to {gain.high:.2f}"
    score, original = row.score or 0.0, first.score or 0.0
    return (
        f"{head} | {score:.4f} | {original - score:+.4f} | {row.size_mb:.2f} "
        f"| {row.size_mb / first.size_mb:.0%} | {times.p50:.2f} | {told} | {interval} |"
    )


def _heading(summary: Summary, results: Mapping[str, BenchResult]) -> str:
    flags = sorted({flag.code for result in results.values() for flag in result.flags})
    device = f"{device_words(summary.environment)}, threads: {summary.threads}"
    return (
        f"{summary.model['family']} at {summary.imgsz} px, accuracy on {summary.split}. {device}. "
        f"Flags of the times: {', '.join(flags) or 'none'}."
    )


def _prunings(summary: Summary) -> dict[str, Pruning]:
    found = {}
    for name, place in (("slim", TARGETS[0]), ("slim, unrounded", f"{TARGETS[0]}{UNROUNDED}")):
        pruning = summary.targets[place].pruning
        assert pruning is not None
        found[name] = pruning
    return found


def _layers(named: tuple[str, Pruning]) -> str:
    """Return what was cut, and the widths of every layer before and after."""
    name, pruning = named
    after = pruning.score_after_surgery
    lines = [
        f"{name}: {pruning.params_after / pruning.params_before:.1%} of {pruning.params_before} parameters, "
        f"{pruning.macs_after / pruning.macs_before:.1%} of the multiply-accumulates; mAP50-95 on val right "
        f"after the cut {'–' if after is None else f'{after:.4f}'}.",
        "",
        "| layer | before | after | left |",
        "|---|--:|--:|--:|",
    ]
    lines += [
        f"| {layer.layer} | {layer.before} | {layer.after} | {layer.after / layer.before:.0%} |"
        for layer in pruning.layers
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
