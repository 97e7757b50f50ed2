"""`edgeprune explain`: where a row's speed-up comes from, and where its time still goes."""

from __future__ import annotations

from pathlib import Path

import click

from edgeprune.cli import echo, echo_json, warn
from edgeprune.cli.options import device_option, effort, json_option
from edgeprune.cli.outputs import require_apart
from edgeprune.cli.usage import Command


@click.command(cls=Command)
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--row", metavar="LABEL", help="Row to explain, by its label; the chosen one by default.")
@click.option(
    "--plot",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write a page (HTML) with bars of the factors and of the layers.",
)
@device_option
@json_option
def command(folder: Path, row: str | None, plot: Path | None, device: str, as_json: bool) -> None:
    """Tell where the speed-up of a row of the build folder FOLDER comes from, and where its time still goes.

    The split is made of the build's own measurements; the engine's layers are timed again.
    """
    from edgeprune.explain.run import explain
    from edgeprune.runners.devices import runner_for

    require_apart([plot], [folder])
    with runner_for(device) as runner:
        explanation = explain(folder, runner, row, effort())
    if plot:
        from edgeprune.report.explain import write_page
        from edgeprune.report.svg import no_charts

        write_page(explanation, plot)
        warn(no_charts())
    if as_json:
        echo_json(explanation.model_dump_json(indent=1))
    else:
        from edgeprune.report.console import terminal
        from edgeprune.report.explain import print_explanation

        print_explanation(explanation, terminal())
        if plot:
            echo(f"Page: {plot}")
