"""`edgeprune bench`: measure engines on this machine, or on a device."""

from __future__ import annotations

import json
from pathlib import Path

import click

from edgeprune.cli import echo_json
from edgeprune.cli.emulated import compare, is_emulated
from edgeprune.cli.options import device_option, json_option, threads_option
from edgeprune.cli.progress import stage_progress


@click.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.option(
    "--target", metavar="NAME", help="Profile to run a lone engine by, or the only target of a build."
)
@click.option(
    "--profile",
    type=click.Choice(["quick", "standard"]),
    default="quick",
    show_default=True,
    help="How long to measure.",
)
@threads_option
@device_option
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), help="Folder for the result files (JSON)."
)
@json_option
def command(
    path: Path,
    target: str | None,
    profile: str,
    threads: int,
    device: str,
    out: Path | None,
    as_json: bool,
) -> None:
    """Measure PATH: an .onnx file, an OpenVINO folder, or every row of a build folder, in turns.

    On an emulated device nothing is timed: outputs are compared with this machine's, exit 5 if they differ.
    """
    if is_emulated(device):
        compare(path, target, threads, device, out, as_json)
        return
    from edgeprune.bench.placing import measure_subjects
    from edgeprune.bench.result import result_file, save_result
    from edgeprune.bench.subject import subjects_of
    from edgeprune.report.terminal import print_results
    from edgeprune.runners.devices import LOCAL, runner_for

    with runner_for(device) as runner, stage_progress() as notify:
        subjects = subjects_of(path, target, machine=None if device == LOCAL else runner.machine)
        results = measure_subjects(
            subjects,
            threads,
            profile,
            runner,
            lambda done, total, text: notify("bench", done / max(total, 1), text),
        )
    if out:
        for result in results:
            save_result(result, out / result_file(result.name))
    if as_json:
        echo_json(json.dumps([result.model_dump(mode="json") for result in results]))
    else:
        from rich.console import Console

        print_results(results, Console())
