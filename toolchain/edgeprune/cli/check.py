"""`edgeprune check`: the regression gate, and the A/A run that tells how fine it can judge here."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgeprune.cli import echo, echo_json, warn
from edgeprune.cli.numbers import number
from edgeprune.cli.options import (
    effort,
    force_option,
    grouped,
    history_option,
    json_option,
    place_option,
    threads_option,
)
from edgeprune.cli.outputs import profile_file, require_apart
from edgeprune.cli.progress import Notify, stage_progress
from edgeprune.cli.usage import Command

if TYPE_CHECKING:
    from edgeprune.bench.subject import Subject
    from edgeprune.gate.pairs import Measure
    from edgeprune.gate.result import Failure, GateResult
    from edgeprune.gate.run import Rules
    from edgeprune.records.bench_result import Job
    from edgeprune.runners import Runner
    from edgeprune.runners.known import Place


@dataclass(frozen=True)
class Comparison:
    """What is compared, by which rules, and where."""

    baseline: Path
    candidate: Path | None
    target: str | None
    threads: int
    device: str
    tau: float | None
    max_drop: float
    force: bool


@click.command(cls=Command)
@click.option("--baseline", required=True, type=click.Path(path_type=Path), help="Build folder or engine.")
@click.option("--candidate", type=click.Path(path_type=Path), help="Build folder or engine.")
@click.option("--target", metavar="NAME", help="Only this target of two builds; the profile of two engines.")
@click.option(
    "--tau",
    type=number("tau"),
    help="Smallest slow-down that counts; 0.05, or 0.03 where the clocks are locked.",
)
@click.option(
    "--max-drop",
    type=number("max_drop"),
    default=0.01,
    show_default=True,
    help="Largest loss of mAP50-95 or top-1.",
)
@click.option(
    "--budget", "budgets", multiple=True, metavar="LIMIT", help="Limit of the candidate, such as fps>=30."
)
@click.option(
    "--report", "reports", multiple=True, metavar="FORMAT=FILE", help="Also write the verdict to a file."
)
@click.option(
    "--aa",
    type=number("pairs"),
    metavar="N",
    help="Only run N pairs of the baseline with itself, and keep the smallest fair tau.",
)
@threads_option
@place_option
@force_option
@history_option
@json_option
@grouped("asked", Comparison)
def command(
    asked: Comparison,
    budgets: tuple[str, ...],
    reports: tuple[str, ...],
    aa: int | None,
    history: str | None,
    as_json: bool,
) -> None:
    """Run BASELINE and CANDIDATE in fresh-process pairs until the difference is proven or ruled out.

    Both run on one device, this machine by default. Of two build folders the chosen rows are compared, target
    by target. Exit 0 pass, 10 regression, 7 budget not met, 8 inconclusive, 6 not comparable.
    """
    if aa is not None:
        if asked.candidate or reports or budgets or history:
            raise click.UsageError(
                "--aa runs the baseline alone: no --candidate, --budget, --report or --history"
            )
        _against_itself(asked, aa, as_json)
        return
    baseline, candidate = asked.baseline, asked.candidate
    if candidate is None:
        raise click.UsageError("Missing option '--candidate'.")
    from edgeprune.core.errors import NotComparableError
    from edgeprune.gate.budgets import parse_budget
    from edgeprune.gate.holm import share_error_rate
    from edgeprune.gate.run import Rules
    from edgeprune.report.gate import parse_report
    from edgeprune.runners.devices import runner_for
    from edgeprune.runners.known import place_of

    places = [parse_report(text) for text in reports]
    require_apart([file for _, file in places], (baseline, candidate, history, profile_file(asked.target)))
    with _reported(places, as_json) as results:
        if history:
            from edgeprune.history.recording import require_history

            require_history(history)
        limits, place = tuple(parse_budget(text) for text in budgets), place_of(asked.device)
        with runner_for(place.address) as runner, stage_progress() as notify:
            pairs = _paired(baseline, candidate, asked.target or place.target, runner)
            if not pairs:
                raise NotComparableError(f"{baseline} and {candidate} have no target in common")
            rules = Rules(asked.tau, limits, len(pairs), asked.force, _aa_folder(place), effort().memory_runs)
            for name, (before, after) in pairs.items():
                results[name] = _gate(before, after, rules, asked, runner, notify)
        results.update(share_error_rate(results))
    if history:
        from edgeprune.history.recording import record_checks

        warn(record_checks(history, results))
    _end(candidate, results)


@contextmanager
def _reported(places: Sequence[tuple[str, Path]], as_json: bool) -> Iterator[dict[str, GateResult]]:
    """Yield a place for the results by target; then print and write them, also when an error ends the check.

    The files are there from the start and say that the check has not ended: that is what a job that is killed
    leaves behind, never the report of the run before. A file that cannot be written is known in time, too.
    """
    from edgeprune.core.errors import EdgepruneError, OutputError
    from edgeprune.core.files import is_stream
    from edgeprune.gate.result import NOT_ENDED, Failure
    from edgeprune.report.gate import write_reports

    results: dict[str, GateResult] = {}
    write_reports([place for place in places if not is_stream(place[1])], results, NOT_ENDED)
    try:
        yield results
    except EdgepruneError as exc:
        failure = Failure.of(exc)
        if results or as_json:
            _show(results, as_json, failure)
        with suppress(OutputError):  # the error to end with is the one that came first
            write_reports(places, results, failure)
        raise
    _show(results, as_json)
    write_reports(places, results)


def _show(results: Mapping[str, GateResult], as_json: bool, failure: Failure | None = None) -> None:
    from edgeprune.report.gate import render

    if as_json:
        echo_json(render("json", results, failure))
    else:
        echo(render("table", results, failure))


def _end(candidate: Path, results: Mapping[str, GateResult]) -> None:
    """Raise the worst verdict: a regression, then a budget that is not met, then one that is open."""
    from edgeprune.core.errors import BudgetError, InconclusiveError, RegressionError

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
    asked: Comparison,
    runner: Runner,
    notify: Notify,
) -> GateResult:
    from edgeprune.gate.judged import paired_accuracy
    from edgeprune.gate.run import run_gate

    accuracy = paired_accuracy(before.accuracy, after.accuracy, asked.max_drop, asked.force)
    with _ready({"baseline": before, "candidate": after}, asked.threads, runner) as (jobs, measure):
        result = run_gate(
            jobs[0],
            jobs[1],
            rules,
            measure,
            accuracy=accuracy,
            on_progress=lambda done, total, text: notify("check", done / max(total, 1), text),
        )
    return result.model_copy(update={"notes": (*result.notes, *_stored(before, after))})


def _stored(before: Subject, after: Subject) -> tuple[str, ...]:
    """Tell what builds recorded when they were made, perhaps elsewhere: it is shown, and never gated on."""
    sides = (("baseline", before.p50_ms), ("candidate", after.p50_ms))
    told = [f"{p50_ms:.4g} ms of the {side}" for side, p50_ms in sides if p50_ms is not None]
    return (f"stored with the build: p50 {', '.join(told)}; not gated on",) if told else ()


def _against_itself(asked: Comparison, pairs: int, as_json: bool) -> None:
    """Run, keep and print an A/A run of each target's chosen row."""
    from edgeprune.gate.aa import run_aa, save_aa
    from edgeprune.runners.devices import runner_for
    from edgeprune.runners.known import place_of

    place = place_of(asked.device)
    runs = {}
    with runner_for(place.address) as runner, stage_progress() as notify:
        for name, subject in _chosen(asked.baseline, asked.target or place.target, runner).items():
            with _ready({"baseline": subject}, asked.threads, runner) as (jobs, measure):
                run = run_aa(
                    jobs[0],
                    pairs,
                    measure,
                    lambda done, total, text: notify("check", done / max(total, 1), text),
                )
            runs[name] = (run, save_aa(run, _aa_folder(place)))
    if as_json:
        shown = {
            name: run.model_dump(mode="json") | {"least_tau": run.least_tau, "kept": str(path)}
            for name, (run, path) in runs.items()
        }
        echo_json(json.dumps(shown))
        return
    for name, (run, path) in runs.items():
        echo(
            f"{name}: {run.pairs} pairs with itself: 95 % of |d| are within {run.p95:.2%}; "
            f"the smallest fair tau is {run.least_written} (kept in {path})"
        )


def _aa_folder(place: Place) -> Path:
    """Return where the A/A runs of a device are kept: two of one make are not equally quiet."""
    from edgeprune.bench.sessions import slug
    from edgeprune.core.resources import cache_dir

    return cache_dir() / "aa" / slug(place.address)


@contextmanager
def _ready(sides: Mapping[str, Subject], threads: int, runner: Runner) -> Iterator[tuple[list[Job], Measure]]:
    """Yield a job for each side, with its inputs and reference written, and what measures them."""
    from edgeprune.bench.compiling import compile_subjects
    from edgeprune.bench.subject import make_job
    from edgeprune.gate.pairs import on_runner

    with tempfile.TemporaryDirectory() as folder:
        jobs = []
        subjects = compile_subjects(list(sides.values()), runner, Path(folder))
        for side, subject in zip(sides, subjects, strict=True):
            place = Path(folder) / side
            place.mkdir()
            jobs.append(make_job(subject, threads, place).model_copy(update={"name": side}))
        yield jobs, on_runner(runner, effort().pairing)
