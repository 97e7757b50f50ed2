"""`edgeprune sweep`: the strength of sparse training, by a few short trials."""

from __future__ import annotations

import click

from edgeprune.cli import echo, echo_json
from edgeprune.cli.numbers import number
from edgeprune.cli.options import (
    Asked,
    build_options,
    imgsz_option,
    json_option,
    max_drop_option,
    recipe_options,
)
from edgeprune.cli.progress import stage_progress
from edgeprune.cli.usage import Command
from edgeprune.core.extras import require_build


@click.command(cls=Command)
@build_options()
@click.option("--criterion", help="slim, group_slim, group_sl or growing_reg; the recipe's by default.")
@click.option(
    "--epochs", type=number("some_epochs"), default=5, show_default=True, help="Epochs of each trial."
)
@click.option("--trials", type=number("sweep_trials"), default=5, show_default=True, help="Most trials.")
@max_drop_option
@imgsz_option
@recipe_options
@json_option
def command(
    asked: Asked,
    criterion: str | None,
    epochs: int,
    trials: int,
    max_drop: float | None,
    imgsz: int | tuple[int, int] | None,
    as_json: bool,
) -> None:
    """Train MODEL at several strengths of a criterion's regulariser; pick the largest within the budget.

    Trials are cached in the build folder: the same command goes on where it ended; a build there reuses them.
    """
    require_build("sweep")
    from edgeprune.report.console import terminal
    from edgeprune.report.terminal import print_warnings
    from edgeprune.search.sparsity import sweep

    recipe = asked.recipe(
        prune__criterion=criterion, sparse__epochs=epochs, budget__max_drop=max_drop, imgsz=imgsz
    )
    request = asked.request(recipe, ())
    with stage_progress() as notify:
        found = sweep(request, trials, notify)
    print_warnings(found.warnings, terminal(stderr=True))
    if as_json:
        echo_json(found.model_dump_json(indent=1))
        return
    from edgeprune.report.sparse import print_trials

    print_trials(found, terminal())
    echo(
        f"Use: --criterion {found.criterion} --set sparse.epochs={found.epochs} "
        f"--set sparse.strength={found.strength:g}"
    )
