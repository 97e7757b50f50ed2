"""`edgeprune check`: the regression gate, and the A/A run that tells how fine it can judge here."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgeprune.cli import echo_json
from edgeprune.cli.options import device_option, force_option, history_option, json_option, threads_option
from edgeprune.cli.progress import Notify, stage_progress

if TYPE_CHECKING:
    from edgeprune.bench.gate import Rules
    from edgeprune.bench.gate_result import AccuracyPair, GateResult
    from edgeprune.bench.pairs import Measure
    from edgeprune.bench.result import Job
    from edgeprune.bench.subject import Subject
    from edgeprune.runners import Runner

LEAST_AA_PAIRS = 6  # the first look of the gate


@click.command()
@click.option("--baseline", required=True, type=click.Path(path_type=Path), help="Build folder or engine.")
@click.option("--candidate", type=click.Path(path_type=Path), help="Build folder or engine.")
@click.option("--target", metavar="NAME", help="Only this target of two builds; the profile of two engines.")
@click.option(
    "--tau", type=float, help="Smallest slow-down that counts; 0.05, or 0.03 where the clocks are locked."
)
@click.option(
    "--max-drop", type=float, default=0.01, show_default=True, help="Largest loss of mAP50-95 or top-1."
)
@click.option(
    "--budget", "budgets", multiple=True, metavar="LIMIT", help="Limit of the candidate, such as fps>=30."
)
@click.option(
    "--report", "reports", multiple=True, metavar="FORMAT=FILE", help="Also write the verdict to a file."
)
@click.option(
    "--aa",
    type=click.IntRange(min=LEAST_AA_PAIRS),
    metavar="N",
    help="Only run N pairs of the baseline with itself, and keep the smallest fair tau.",
)
@threads_option
@device_option
@force_option
@history_option
@json_option
def command(
    baseline: Path,
    candidate: Path | None,
    target: str | None,
    tau: float | None,
    max_drop: float,
    budgets: tuple[str, ...],
    reports: tuple[str, ...],
    aa: int | None,
    threads: int,
    device: str,
    force: bool,
    history: str | None,
    as_json: bool,
) -> None:
    """Run BASELINE and CANDIDATE in fresh-process pairs until the difference is proven or ruled out.

    Both run on one device, this machine by default. Of two build folders the chosen rows are compared, target
    by target. Exit 0 pass, 10 regression, 7 budget not met, 8 inconclusive, 6 not comparable.
    """
    if aa is not None:
        if candidate or reports or budgets or history:
            raise click.UsageError(
                "--aa runs the baseline alone: no --candidate, --budget, --report or --history"
            )
        _against_itself(baseline, target, aa, threads, device, as_json)
        return
    if candidate is None:
        raise click.UsageError("Missing option '--candidate'.")
    if history:
        from edgeprune.history.recording import require_history

        require_history(history)
    from edgeprune.bench.budgets import parse_budget
    from edgeprune.bench.family import share_error_rate
    from edgeprune.bench.gate import Rules
    from edgeprune.errors import NotComparableError
    from edgeprune.report.gate import parse_report, render, write_reports
    from edgeprune.resources import cache_dir
    from edgeprune.runners.devices import runner_for

    places = [parse_report(text) for text in reports]
    limits = tuple(parse_budget(text) for text in budgets)
    results: dict[str, GateResult] = {}
    with runner_for(device) as runner, stage_progress() as notify:
        pairs = _paired(baseline, candidate, target, runner)
        if not pairs:
            raise NotComparableError(f"{baseline} and {candidate} have no target in common")
        rules = Rules(tau, limits, len(pairs), force, cache_dir() / "aa")
        for name, (before, after) in pairs.items():
            results[name] = _gate(before, after, rules, max_drop, threads, runner, notify)
    results = share_error_rate(results)
    write_reports(places, results)
    if history:
        from edgeprune.history.recording import record_checks

        record_checks(history, results)
    if as_json:
        echo_json(render("json", results))
    else:
        click.echo(render("table", results))
    _end(candidate, results)


def _end(candidate: Path, results: Mapping[str, GateResult]) -> None:
    """Raise the worst verdict: a regression, then a budget that is not met, then one that is open."""
    from edgeprune.errors import BudgetError, InconclusiveError, RegressionError

    failed = [result for result in results.values() if result.verdict == "fail"]
    still_open = [result for result in results.values() if result.verdict == "inconclusive"]
    for error, found in (
        (RegressionError, [result for result in failed if result.regressed]),
        (BudgetError, failed),
        (InconclusiveError, still_open),
    ):
        if found:
            raise error(f"{candidate}: {'; '.join(why for result in found for why in result.reasons)}")


def _paired(
    baseline: Path, candidate: Path, target: str | None, runner: Runner
) -> dict[str, tuple[Subject, Subject]]:
    before, after = (_chosen(path, target, runner) for path in (baseline, candidate))
    return {name: (one, after[name]) for name, one in before.items() if name in after}


def _chosen(path: Path, target: str | None, runner: Runner) -> dict[str, Subject]:
    from edgeprune.bench.subject import subjects_of
    from edgeprune.runners.devices import LOCAL

    machine = None if runner.name == LOCAL else runner.machine
    return {one.profile.name: one for one in subjects_of(path, target, chosen_only=True, machine=machine)}


def _gate(
    before: Subject,
    after: Subject,
    rules: Rules,
    max_drop: float,
    threads: int,
    runner: Runner,
    notify: Notify,
) -> GateResult:
    from edgeprune.bench.gate import run_gate

    with _ready({"baseline": before, "candidate": after}, threads, runner) as (jobs, measure):
        return run_gate(
            jobs[0],
            jobs[1],
            rules,
            measure,
            accuracy=_accuracy(before, after, max_drop),
            on_progress=lambda done, total, text: notify("check", done / max(total, 1), text),
        )


def _accuracy(before: Subject, after: Subject, max_drop: float) -> AccuracyPair | None:
    from edgeprune.bench.gate_result import AccuracyPair

    if after.accuracy is None:
        return None
    alike = before.accuracy is not None and before.accuracy.metric == after.accuracy.metric
    return AccuracyPair(
        baseline=before.accuracy.score if before.accuracy and alike else None,
        candidate=after.accuracy.score,
        max_drop=max_drop,
        metric=after.accuracy.metric,
    )


def _against_itself(
    baseline: Path, target: str | None, pairs: int, threads: int, device: str, as_json: bool
) -> None:
    """Run, keep and print an A/A run of each target's chosen row."""
    from edgeprune.bench.aa import run_aa, save_aa
    from edgeprune.resources import cache_dir
    from edgeprune.runners.devices import runner_for

    runs = {}
    with runner_for(device) as runner, stage_progress() as notify:
        for name, subject in _chosen(baseline, target, runner).items():
            with _ready({"baseline": subject}, threads, runner) as (jobs, measure):
                run = run_aa(
                    jobs[0],
                    pairs,
                    measure,
                    lambda done, total, text: notify("check", done / max(total, 1), text),
                )
            runs[name] = (run, save_aa(run, cache_dir() / "aa"))
    if as_json:
        shown = {
            name: run.model_dump(mode="json") | {"least_tau": run.least_tau, "kept": str(path)}
            for name, (run, path) in runs.items()
        }
        echo_json(json.dumps(shown))
        return
    for name, (run, path) in runs.items():
        click.echo(
            f"{name}: {run.pairs} pairs with itself: 95 % of |d| are within {run.p95:.2%}; "
            f"the smallest fair tau is {run.least_written} (kept in {path})"
        )


@contextmanager
def _ready(sides: Mapping[str, Subject], threads: int, runner: Runner) -> Iterator[tuple[list[Job], Measure]]:
    """Yield a job for each side, with its inputs and reference written, and what measures them."""
    from edgeprune.bench.pairs import on_runner
    from edgeprune.bench.subject import make_job
    from edgeprune.runners.runtimes import RUNTIMES

    runner.python(*(RUNTIMES[subject.profile.backend].module for subject in sides.values()))
    with tempfile.TemporaryDirectory() as folder:
        jobs = []
        for side, subject in sides.items():
            place = Path(folder) / side
            place.mkdir()
            jobs.append(make_job(subject, threads, place).model_copy(update={"name": side}))
        yield jobs, on_runner(runner)
