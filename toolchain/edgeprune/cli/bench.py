"""`edgeprune bench`: measure engines on this machine, on a device, or on several at once."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgeprune.cli import echo_json, warn
from edgeprune.cli.emulated import compare, is_emulated
from edgeprune.cli.options import effort, history_option, json_option, threads_option
from edgeprune.cli.progress import stage_progress
from edgeprune.cli.scenario import read_scenario, scenario_options
from edgeprune.cli.usage import Command
from edgeprune.core.backend import vendor_tools

if TYPE_CHECKING:
    from edgeprune.bench.sessions import Outcome
    from edgeprune.records.bench_result import BenchResult


@click.command(cls=Command)
@click.argument("path", type=click.Path(path_type=Path))
@click.option(
    "--target", metavar="NAME", help="Profile to run a lone engine by, or the only target of a build."
)
@scenario_options
@threads_option
@click.option(
    "--device",
    "devices",
    multiple=True,
    default=("local",),
    show_default=True,
    metavar="ADDRESS",
    help="Where to measure: local, ssh://user@host:port, adb://serial, replay://folder, or a name of "
    "devices.yaml; repeat it for several at once. On emulated://aarch64 outputs are compared.",
)
@click.option(
    "--record",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder to record the runs in, for --device replay://FOLDER.",
)
@click.option(
    "--against",
    type=click.Choice(list(vendor_tools())),
    help="Also run the vendor's tool here, and print both.",
)
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), help="Folder for the result files (JSON)."
)
@history_option
@json_option
def command(
    path: Path,
    target: str | None,
    devices: tuple[str, ...],
    out: Path | None,
    history: str | None,
    as_json: bool,
    **asked: Any,
) -> None:
    """Measure PATH: an engine of any runtime, an ONNX file, or every row of a build folder, in turns.

    On an emulated device nothing is timed: outputs are compared with this machine's, exit 5 if they differ.
    """
    threads, record, against = (asked.pop(name) for name in ("threads", "record", "against"))
    if any(map(is_emulated, devices)):
        if len(devices) > 1:
            raise click.UsageError("an emulated device is not measured: name it alone")
        compare(path, target, threads, devices[0], out, as_json)
        return
    setup, profile = read_scenario(**asked)
    from edgeprune.bench.sessions import Request, measure_on
    from edgeprune.history.recording import record_bench, require_history
    from edgeprune.runners.devices import LOCAL
    from edgeprune.runners.known import place_of

    places = [place_of(device) for device in dict.fromkeys(devices)]
    if against and (setup.scenario != "single_stream" or [place.address for place in places] != [LOCAL]):
        raise click.UsageError("--against goes with --scenario single_stream on this machine alone")
    request = Request(path, target, threads, effort().profiles[profile], setup, record, against)
    several = len(places) > 1
    if history:
        require_history(history)
    if out:
        _require_folder(out)
    with stage_progress() as notify:
        outcomes = measure_on(
            places, request, lambda name, share, text: notify(name if several else "bench", share, text)
        )
    files: list[Path] = []
    try:
        if out:
            files = _write(outcomes, out)
    finally:  # also where the disk is full by now: what was measured is shown
        _show(outcomes, as_json)
    if history:
        known = dict(pair for outcome in outcomes for pair in outcome.accuracies)
        results = [result for outcome in outcomes for result in outcome.results if not _is_incomplete(result)]
        warn(record_bench(history, results, known))
    _end(outcomes, files)


def _require_folder(out: Path) -> None:
    """Make the folder for the result files, and try it, before minutes are spent on what goes into it.

    Raises:
        OutputError: it cannot be made, or not be written to.
    """
    from edgeprune.core.errors import OutputError

    try:
        out.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=out).close()
    except OSError as exc:
        raise OutputError(
            f"--out {out}: it cannot be written to: {exc.strerror}; name another folder"
        ) from exc


def _is_incomplete(result: BenchResult) -> bool:
    return any(flag.code == "incomplete" for flag in result.flags)


def _write(outcomes: Sequence[Outcome], out: Path) -> list[Path]:
    """Write each result, of several devices into a folder of its own each; return the incomplete ones."""
    from edgeprune.bench.sessions import slug
    from edgeprune.records.bench_result import result_file, save_result

    incomplete = []
    for outcome in outcomes:
        folder = out / slug(outcome.place.name) if len(outcomes) > 1 else out
        for result in outcome.results:
            file = save_result(result, folder / result_file(result.name))
            if _is_incomplete(result):
                incomplete.append(file)
    return incomplete


def _show(outcomes: Sequence[Outcome], as_json: bool) -> None:
    if as_json:
        results = [result for outcome in outcomes for result in outcome.results]
        echo_json(json.dumps([result.model_dump(mode="json") for result in results]))
        return

    from edgeprune.report.against import print_against
    from edgeprune.report.console import say, terminal
    from edgeprune.report.results import print_results

    console = terminal()
    for outcome in outcomes:
        shown = [result for result in outcome.results if result.blocks or result.cold_runs]
        if shown and len(outcomes) > 1:
            say(console, outcome.place.name, "bold")
        print_results(shown, console)
        print_against(shown, console)


def _end(outcomes: Sequence[Outcome], files: Sequence[Path]) -> None:
    """Raise what went wrong: the error of the one device, or one that names each device that failed."""
    from edgeprune.core.errors import DeviceError

    errors = {str(outcome.error): outcome.error for outcome in outcomes if outcome.error}
    if not errors:
        return
    if files:
        kept = f"what was finished is kept, marked incomplete: {', '.join(map(str, files))}"
        raise DeviceError(f"{'; '.join(errors)}; {kept}")
    if len(errors) == 1 and all(outcome.error for outcome in outcomes):
        raise next(iter(errors.values()))
    raise DeviceError("; ".join(errors))
