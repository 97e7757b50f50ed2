"""`edgeprune search`: the Pareto set of widths, depth, activation and image size, by one worker or many."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgeprune.cli import echo, echo_json
from edgeprune.cli.numbers import number
from edgeprune.cli.options import (
    data_option,
    device_option,
    existing,
    json_option,
    model_option,
    one_target,
    recipe_option,
    set_option,
    skip_bad_option,
    target_option,
    trust_option,
)
from edgeprune.cli.progress import stage_progress
from edgeprune.cli.usage import Command

if TYPE_CHECKING:
    from edgeprune.search.pareto import Found


@click.command(cls=Command)
@model_option
@data_option
@target_option
@click.option(
    "--out", required=True, type=click.Path(path_type=Path, file_okay=False), help="Folder of this worker."
)
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
    help="Image size to choose from; repeatable.",
)
@click.option(
    "--activation",
    "activations",
    type=click.Choice(["keep", "relu", "relu6", "hardswish"]),
    multiple=True,
    default=("keep", "relu"),
    show_default=True,
    help="Activation to choose from; repeatable.",
)
@click.option("--max-latency-ms", type=number("latency_ms"), help="Trials that are slower end early.")
@click.option("--collect", is_flag=True, help="Run no trial; write the whole Pareto set here, as it is now.")
@recipe_option
@set_option
@trust_option
@skip_bad_option
@device_option
@json_option
def command(
    model: str,
    data: str,
    target: str,
    out: Path,
    storage: str | None,
    study: str,
    trials: int,
    epochs: int,
    imgszs: tuple[int, ...],
    activations: tuple[str, ...],
    max_latency_ms: float | None,
    collect: bool,
    recipe_file: Path | None,
    assignments: tuple[str, ...],
    trust_model: bool,
    skip_bad_images: bool,
    device: str,
    as_json: bool,
) -> None:
    """Search the widths, depth, activation and image size of MODEL for accuracy against measured latency.

    Every machine that runs this command with the same --storage and --study works on the same study.
    """
    from edgeprune.bench.testbed import as_testbed
    from edgeprune.config.recipe import load_recipe
    from edgeprune.core.resources import own_command_line
    from edgeprune.pipeline.context import BuildRequest
    from edgeprune.report.console import terminal
    from edgeprune.report.search import write_page
    from edgeprune.report.terminal import print_warnings
    from edgeprune.runners.devices import runner_for
    from edgeprune.search.run import PAGE, SearchRequest, search

    recipe = load_recipe(
        recipe_file,
        assignments,
        budget__max_latency_ms=max_latency_ms,
        imgsz=imgszs[0] if imgszs else None,
    )
    request = SearchRequest(
        build=BuildRequest(
            model=existing(model, "model"),
            data=existing(data, "data"),
            targets=(one_target(target),),
            recipe=recipe,
            out=out,
            command=own_command_line(),
            trust=trust_model,
            skip_bad=skip_bad_images,
        ),
        imgszs=tuple(dict.fromkeys(imgszs)),
        activations=tuple(dict.fromkeys(activations)),
        epochs=epochs,
        trials=trials,
        study=study,
        storage=storage,
        collect=collect,
    )
    with runner_for(device) as runner, stage_progress() as notify:
        found = search(request, notify, as_testbed(runner, request.build.targets))
        write_page(found, out / PAGE)
    print_warnings(found.warnings, terminal(stderr=True))
    if as_json:
        echo_json(found.model_dump_json(indent=1))
    else:
        _show(found, out)


def _show(found: Found, out: Path) -> None:
    from edgeprune.report.console import draw, say, terminal
    from edgeprune.report.search import front_table
    from edgeprune.search.run import PAGE

    console = terminal()
    say(console, f"Pareto set of study {found.study}", "bold")
    draw(front_table(found), console)
    echo(f"trials: {', '.join(f'{count} {state}' for state, count in found.trials.items() if count)}")
    echo(f"page: {out / PAGE}")
