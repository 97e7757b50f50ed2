"""`edgeprune search`: the Pareto set of widths, depth, activation and image size, by one worker or many."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgeprune.cli import echo, echo_json
from edgeprune.cli.numbers import number
from edgeprune.cli.options import (
    Asked,
    build_options,
    device_option,
    effort,
    json_option,
    one_target,
    recipe_options,
    target_option,
)
from edgeprune.cli.progress import stage_progress
from edgeprune.cli.usage import Command
from edgeprune.core.extras import require_build

if TYPE_CHECKING:
    from edgeprune.search.pareto import Found


def _once(ctx: click.Context, param: click.Parameter, values: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return each value of a repeatable option once, in the order given."""
    return tuple(dict.fromkeys(values))


@click.command(cls=Command)
@build_options("Folder of this worker.")
@target_option
@click.option("--storage", metavar="URL", help="Optuna storage; by default an SQLite file in the folder.")
@click.option("--study", default="edgeprune", show_default=True, help="Name of the study in the storage.")
@click.option(
    "--trials",
    type=number("trials"),
    default=100,
    show_default=True,
    help="Trials that the study is to finish, over all workers.",
)
@click.option(
    "--epochs",
    type=number("epochs"),
    default=3,
    show_default=True,
    help="Epochs of recovery of a trial; 0 only measures the batch norms again.",
)
@click.option(
    "--imgsz",
    "imgszs",
    type=number("imgsz"),
    multiple=True,
    callback=_once,
    help="Image size to choose from, such as 320 or 288x320; repeatable.",
)
@click.option(
    "--activation",
    "activations",
    type=click.Choice(["keep", "relu", "relu6", "hardswish"]),
    multiple=True,
    default=("keep", "relu"),
    show_default=True,
    callback=_once,
    help="Activation to choose from; repeatable.",
)
@click.option("--max-latency-ms", type=number("latency_ms"), help="Trials that are slower end early.")
@click.option("--collect", is_flag=True, help="Run no trial; write the whole Pareto set here, as it is now.")
@device_option
@recipe_options
@json_option
def command(
    asked: Asked,
    target: str,
    max_latency_ms: float | None,
    device: str,
    as_json: bool,
    **choices: Any,
) -> None:
    """Search the widths, depth, activation and image size of MODEL for accuracy against measured latency.

    Every machine that runs this command with the same --storage and --study works on the same study.
    """
    require_build("search")
    from edgeprune.bench.testbed import as_testbed
    from edgeprune.report.console import terminal
    from edgeprune.report.search import write_page
    from edgeprune.report.terminal import print_warnings
    from edgeprune.runners.devices import runner_for
    from edgeprune.search.run import PAGE, SearchRequest, search

    imgszs = choices["imgszs"]
    recipe = asked.recipe(
        budget__max_latency_ms=max_latency_ms,
        imgsz=imgszs[0] if imgszs else None,
    )
    request = SearchRequest(build=asked.request(recipe, (one_target(target),)), **choices)
    with runner_for(device) as runner, stage_progress() as notify:
        found = search(request, notify, as_testbed(runner, request.build.targets, effort()))
        write_page(found, asked.out / PAGE)
    print_warnings(found.warnings, terminal(stderr=True))
    if as_json:
        echo_json(found.model_dump_json(indent=1))
    else:
        _show(found, asked.out)


def _show(found: Found, out: Path) -> None:
    from edgeprune.report.console import draw, say, terminal
    from edgeprune.report.search import front_table
    from edgeprune.search.run import PAGE

    console = terminal()
    say(console, f"Pareto set of study {found.study}", "bold")
    draw(front_table(found), console)
    echo(f"trials: {', '.join(f'{count} {state}' for state, count in found.trials.items() if count)}")
    echo(f"page: {out / PAGE}")
