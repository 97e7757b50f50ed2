"""All criteria at the same latency: prune by each to one goal, recover, measure side by side.

    python -m benchmarks.criteria --model best.pt --data data.yaml --speedup 2 --out criteria
    python -m benchmarks.criteria --short --out short

The widths come from importance and the target's latency table, so that the criteria differ in what they keep
and not in what it costs. Stages are cached in the folder: the same command goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import get_args

from edgeprune.backends import options_for
from edgeprune.bench.effort import Effort, TablePlan
from edgeprune.bench.jobs import build_job, write_inputs
from edgeprune.bench.protocol import measure
from edgeprune.bench.statistics import latency_ms
from edgeprune.bench.testbed import local
from edgeprune.cli.options import existing
from edgeprune.cli.progress import stage_progress
from edgeprune.config.recipe import Recipe, Regularised, load_recipe
from edgeprune.config.targets import DeviceProfile, Precision, resolve_targets
from edgeprune.core.artifact import Artifact, Store
from edgeprune.core.errors import EdgepruneError
from edgeprune.core.files import write_text_atomically
from edgeprune.latency.profile import profile_model
from edgeprune.latency.shipped import subject_of
from edgeprune.latency.to_latency import describe_descent
from edgeprune.models.source import ModelSource
from edgeprune.pipeline.build import start
from edgeprune.pipeline.context import Build, BuildRequest, Candidate, reader_of
from edgeprune.pipeline.measure import bench_images
from edgeprune.pipeline.prune_to_latency import cut
from edgeprune.pipeline.rows import candidate, evaluate_engine, export_model
from edgeprune.pipeline.train import finetune, sparsify
from edgeprune.prune.criteria import CRITERIA
from edgeprune.records.bench_result import result_file, save_result
from edgeprune.records.latency_table import LatencyTable
from edgeprune.records.pruning import Pruning
from edgeprune.records.summary import Variant

PRECISION: Precision = "int8"
EFFORT = Effort()
SHORT = TablePlan(rounds=4, queries=2, axis=2, scans=1)
SHORT_CRITERIA = ("random", "l1", "taylor")
UNPRUNED = "unpruned"


@dataclass(frozen=True)
class Network:
    """One network before it is timed.

    Attributes:
        after_surgery, recovered: mAP50-95 in fp32 on the reported split.
        predicted_ms: latency by the table.
    """

    name: str
    predicted_ms: float
    after_surgery: float | None
    recovered: float
    params: int
    macs: int
    candidate: Candidate


@dataclass(frozen=True)
class Line:
    """One line of the table; accuracies are mAP50-95 on the reported split, in fp32 but for `int8`."""

    criterion: str
    after_surgery: float | None
    recovered: float
    int8: float
    params: int
    macs: int
    predicted_ms: float
    p50_ms: float


def main(arguments: Sequence[str] | None = None) -> None:
    """Prune by every criterion, print the table, and write it with its numbers into the folder."""
    options = _options(arguments)
    out: Path = options.out
    profile = resolve_targets((options.target,))[0]
    request = BuildRequest(
        model=ModelSource(existing(options.model, "model")),
        data=existing(options.data, "data"),
        targets=(profile,),
        recipe=recipe_for(options, options.criteria[0]),
        out=out,
        command=shlex.join(["python -m benchmarks.criteria", *sys.argv[1:]]),
    )
    store = Store(out / "stages")
    with store.locked(), stage_progress() as notify:
        effort = replace(EFFORT, table=SHORT) if options.short else EFFORT
        original, context = start(request, store, notify, local(effort))
        subject = subject_of(
            context.adapter,
            original.path,
            context.spec.imgsz,
            profile,
            PRECISION,
            context.recipe.bench.threads,
        )
        table = profile_model(subject, context.testbed, notify)
        goal = table.whole_ms / options.speedup
        networks: list[Network] = []
        for done, criterion in enumerate(options.criteria):
            notify("criteria", done / len(options.criteria), criterion)
            recipe = recipe_for(options, criterion)
            own = replace(context, request=replace(request, recipe=recipe))
            network, report = pruned_by(own, original, profile, table, goal)
            if not networks:
                networks.append(_unpruned(context, original, profile, report, table.whole_ms))
            networks.append(network)
        notify("criteria", 1.0, "all recovered")
        times = timed(context, networks)
    lines = [_line(context, network, times[network.name]) for network in networks]
    page = f"{heading(context, options, table, goal)}\n\n{markdown(lines)}"
    write_text_atomically(out / "criteria.md", page)
    facts = {
        "command": request.command,
        "model": original.sha256,
        "target": profile.name,
        "imgsz": context.spec.imgsz,
        "split": context.dataset.report_split,
        "goal_ms": goal,
        "table_ms": table.whole_ms,
        "machine": context.testbed.machine,
        "versions": context.store.versions,
        "rows": [asdict(line) for line in lines],
    }
    write_text_atomically(out / "criteria.json", json.dumps(facts, indent=1) + "\n")
    print(page, end="")


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--model", default="digits", help="trained checkpoint; `digits` is the bundled demo's"
    )
    parser.add_argument("--data", default="digits", help="data.yaml; `digits` is the bundled demo's")
    parser.add_argument("--imgsz", type=int, help="the checkpoint's by default")
    parser.add_argument("--target", default="x86-openvino")
    parser.add_argument("--speedup", type=float, default=1.5, help="over the unpruned model, by the table")
    parser.add_argument("--epochs", type=int, help="of recovery; 40 by default, 1 in the short form")
    parser.add_argument("--sparse-epochs", type=int, default=0)
    parser.add_argument("--criteria", nargs="+", choices=list(CRITERIA), help="all by default")
    parser.add_argument("--out", type=Path, default=Path("criteria"))
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="any key of the recipe"
    )
    parser.add_argument("--short", action="store_true", help="three criteria, one epoch, brief measurements")
    options = parser.parse_args(arguments)
    options.criteria = options.criteria or (SHORT_CRITERIA if options.short else tuple(CRITERIA))
    if options.epochs is None:
        options.epochs = 1 if options.short else 40
    return options


def recipe_for(options: argparse.Namespace, criterion: str) -> Recipe:
    """Return the recipe that prunes by one criterion and recovers."""
    return load_recipe(
        None,
        tuple(options.set),
        imgsz=options.imgsz,
        prune__criterion=criterion,
        finetune__epochs=options.epochs,
        sparse__epochs=options.sparse_epochs if criterion in get_args(Regularised) else 0,
        bench__profile="quick" if options.short else None,
    )


def pruned_by(
    context: Build, original: Artifact, profile: DeviceProfile, table: LatencyTable, goal_ms: float
) -> tuple[Network, Pruning]:
    """Prune by the recipe's criterion to a latency by the table, judge, recover, judge again."""
    recipe = context.recipe
    dense, _ = sparsify(context, original)
    student, predicted_ms = cut(context, dense, table, goal_ms)
    imgsz, goal = context.spec.imgsz, f"{goal_ms:.2f} ms"
    sized = ((dense.path, imgsz), (student.path, imgsz))
    report = describe_descent(context.adapter, *sized, recipe.prune, table.step, goal)
    recovered = finetune(context, student, original) if recipe.finetune.epochs else student
    network = Network(
        name=recipe.prune.criterion,
        predicted_ms=predicted_ms,
        after_surgery=accuracy(context, student, "pruned"),
        recovered=accuracy(context, recovered, "pruned"),
        params=report.params_after,
        macs=report.macs_after,
        candidate=shipped(context, recovered, "pruned", profile),
    )
    return network, report


def _unpruned(
    context: Build, original: Artifact, profile: DeviceProfile, report: Pruning, predicted_ms: float
) -> Network:
    return Network(
        name=UNPRUNED,
        predicted_ms=predicted_ms,
        after_surgery=None,
        recovered=accuracy(context, original, "original"),
        params=report.params_before,
        macs=report.macs_before,
        candidate=shipped(context, original, "original", profile),
    )


def accuracy(context: Build, model: Artifact, variant: Variant) -> float:
    """Return mAP50-95 of a model in fp32 on the reported split."""
    onnx, _ = export_model(context, model, variant)
    _, found = evaluate_engine(context, "onnxruntime", {}, onnx, "fp32")
    return found[context.dataset.report_split].score


def shipped(context: Build, model: Artifact, variant: Variant, profile: DeviceProfile) -> Candidate:
    """Return a model quantized, compiled and evaluated."""
    onnx, _ = export_model(context, model, variant)
    return candidate(context, profile, variant, PRECISION, onnx)


def timed(context: Build, networks: Sequence[Network]) -> dict[str, float]:
    """Return the p50 of every network in ms, all measured side by side in one run."""
    settings = context.recipe.bench
    inputs = {
        "engines": {network.name: network.candidate.artifact.sha256 for network in networks},
        "environments": {network.name: network.candidate.environment for network in networks},
        "options": options_for(networks[0].candidate.profile, PRECISION),
        "bench": {"profile": settings.profile, "threads": settings.threads},
    }

    def make(out: Path) -> None:
        tensors = write_inputs(bench_images(context), out / "inputs.npy")
        jobs = [
            build_job(
                network.name,
                network.candidate.artifact,
                network.candidate.profile,
                threads=settings.threads,
                inputs=tensors,
                environment=network.candidate.environment,
            ).model_copy(update={"reference": str(network.candidate.reference)})
            for network in networks
        ]
        results = measure(
            jobs,
            context.testbed.effort.profiles[settings.profile],
            context.testbed.runner,
            lambda done, total, text: context.notify("bench", done / max(total, 1), text),
        )
        tensors.unlink()
        for result in results:
            save_result(result, out / result_file(result.name))
        times = {result.name: latency_ms(result).p50 for result in results}
        write_text_atomically(out / "p50.json", json.dumps(times))

    runtimes = tuple({network.candidate.profile.backend for network in networks})
    return context.stage(
        "criteria-bench", inputs, make, reader_of(dict[str, float], "p50.json"), times=runtimes
    )


def _line(context: Build, network: Network, p50_ms: float) -> Line:
    return Line(
        criterion=network.name,
        after_surgery=network.after_surgery,
        recovered=network.recovered,
        int8=network.candidate.accuracy[context.dataset.report_split].score,
        params=network.params,
        macs=network.macs,
        predicted_ms=network.predicted_ms,
        p50_ms=p50_ms,
    )


def heading(context: Build, options: argparse.Namespace, table: LatencyTable, goal_ms: float) -> str:
    """Say what the table below it holds."""
    threads = context.recipe.bench.threads
    words = [
        f"{options.target} {PRECISION}, {context.spec.imgsz} px, {threads} thread{'s' * (threads > 1)}",
        f"each criterion pruned to {goal_ms:.2f} ms of {table.whole_ms:.2f} ms by the latency table",
        f"epochs of recovery: {options.epochs}",
        f"epochs of sparse training ({', '.join(get_args(Regularised))}): {options.sparse_epochs}",
        f"mAP50-95 on {context.dataset.report_split}, in fp32 but for the column in int8; p50 in int8",
    ]
    return "; ".join(words) + "."


def markdown(lines: Sequence[Line]) -> str:
    """Return the lines as a Markdown table."""
    rows = [
        "| criterion | after surgery | after recovery | in int8 | parameters | MACs | ms by table | p50 ms |",
        "|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for line in lines:
        surgery = "–" if line.after_surgery is None else f"{line.after_surgery:.4f}"
        rows.append(
            f"| {line.criterion} | {surgery} | {line.recovered:.4f} | {line.int8:.4f} | "
            f"{line.params / 1e6:.2f} M | {line.macs / 1e9:.2f} G | "
            f"{line.predicted_ms:.2f} | {line.p50_ms:.2f} |"
        )
    return "\n".join(rows) + "\n"


if __name__ == "__main__":
    try:
        main()
    except EdgepruneError as exc:
        print(f"criteria: {exc}", file=sys.stderr)
        sys.exit(exc.exit_code)
