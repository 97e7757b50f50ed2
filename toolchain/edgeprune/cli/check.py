"""`edgeprune check`: the regression gate."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgeprune.cli import echo_json
from edgeprune.cli.options import force_option, json_option, threads_option
from edgeprune.cli.progress import Notify, stage_progress

if TYPE_CHECKING:
    from edgeprune.bench.gate import GateResult
    from edgeprune.bench.subject import Subject


@click.command()
@click.option("--baseline", required=True, type=click.Path(path_type=Path), help="Build folder or engine.")
@click.option("--candidate", required=True, type=click.Path(path_type=Path), help="Build folder or engine.")
@click.option("--target", metavar="NAME", help="Only this target of two builds; the profile of two engines.")
@click.option("--tau", type=float, default=0.05, show_default=True, help="Smallest slow-down that counts.")
@click.option(
    "--max-drop", type=float, default=0.01, show_default=True, help="Largest loss of mAP50-95 or top-1."
)
@threads_option
@force_option
@json_option
def command(
    baseline: Path,
    candidate: Path,
    target: str | None,
    tau: float,
    max_drop: float,
    threads: int,
    force: bool,
    as_json: bool,
) -> None:
    """Run BASELINE and CANDIDATE here in fresh-process pairs until the difference is proven or ruled out.

    Of two build folders the chosen rows are compared, target by target. Exit 0 pass, 10 regression,
    8 inconclusive, 6 not comparable.
    """
    from edgeprune.errors import InconclusiveError, NotComparableError, RegressionError

    pairs = _paired(baseline, candidate, target)
    results: dict[str, GateResult] = {}
    with stage_progress() as notify:
        for name, (before, after) in pairs.items():
            results[name] = _gate(before, after, tau, max_drop, threads, force, notify)
    if not results:
        raise NotComparableError(f"{baseline} and {candidate} have no target in common")
    if as_json:
        echo_json(json.dumps({name: result.model_dump(mode="json") for name, result in results.items()}))
    else:
        for name, result in results.items():
            click.echo(f"{name}: {result.verdict.upper()} after {len(result.pairs)} pairs")
            for metric in result.metrics:
                click.echo(f"  {metric.name:<12} {metric.verdict:<13} {metric.evidence}")
    for verdict, error in (("fail", RegressionError), ("inconclusive", InconclusiveError)):
        reasons = [
            reason for result in results.values() if result.verdict == verdict for reason in result.reasons
        ]
        if reasons:
            raise error(f"{candidate}: {'; '.join(reasons)}")


def _paired(baseline: Path, candidate: Path, target: str | None) -> dict[str, tuple[Subject, Subject]]:
    from edgeprune.bench.subject import subjects_of

    before = {one.profile.name: one for one in subjects_of(baseline, target, chosen_only=True)}
    after = {one.profile.name: one for one in subjects_of(candidate, target, chosen_only=True)}
    return {name: (one, after[name]) for name, one in before.items() if name in after}


def _gate(
    before: Subject, after: Subject, tau: float, max_drop: float, threads: int, force: bool, notify: Notify
) -> GateResult:
    from edgeprune.bench.gate import AccuracyPair, on_runner, run_gate
    from edgeprune.bench.subject import make_job
    from edgeprune.runners.local import LocalRunner

    accuracy = None
    if before.accuracy and after.accuracy and before.accuracy.metric == after.accuracy.metric:
        accuracy = AccuracyPair(
            baseline=before.accuracy.score,
            candidate=after.accuracy.score,
            max_drop=max_drop,
            metric=after.accuracy.metric,
        )
    with tempfile.TemporaryDirectory() as folder, LocalRunner() as runner:
        jobs = []
        for side, subject in (("baseline", before), ("candidate", after)):
            place = Path(folder) / side
            place.mkdir()
            jobs.append(make_job(subject, threads, place).model_copy(update={"name": side}))
        return run_gate(
            jobs[0],
            jobs[1],
            tau,
            on_runner(runner),
            accuracy=accuracy,
            force=force,
            on_progress=lambda done, total, text: notify("check", done / max(total, 1), text),
        )
