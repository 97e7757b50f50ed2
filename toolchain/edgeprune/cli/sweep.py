"""`edgeprune sweep`: the strength of sparse training, by a few short trials."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import click

from edgeprune.cli import echo_json
from edgeprune.cli.options import existing, json_option
from edgeprune.cli.progress import stage_progress


@click.command()
@click.option(
    "--model", required=True, metavar="FILE", help="Trained checkpoint (.pt); `digits` is the demo's."
)
@click.option(
    "--data",
    required=True,
    metavar="PATH",
    help="data.yaml of the data set, a classifier's folder; `digits` is the demo's.",
)
@click.option("--out", required=True, type=click.Path(path_type=Path, file_okay=False), help="Build folder.")
@click.option("--criterion", help="slim, group_slim, group_sl or growing_reg; the recipe's by default.")
@click.option(
    "--epochs", type=click.IntRange(min=1), default=5, show_default=True, help="Epochs of each trial."
)
@click.option(
    "--trials", type=click.IntRange(min=1, max=20), default=5, show_default=True, help="Most trials."
)
@click.option("--max-drop", type=float, help="Largest loss of mAP50-95 or top-1 on the val split, absolute.")
@click.option("--imgsz", type=int, help="Input size in pixels; the checkpoint's own by default.")
@click.option(
    "--recipe", "recipe_file", type=click.Path(path_type=Path, dir_okay=False), help="Recipe (YAML)."
)
@click.option("--set", "assignments", multiple=True, metavar="KEY=VALUE", help="Set any key of the recipe.")
@click.option("--trust-model", is_flag=True, help="Unpickle the checkpoint without the list of safe classes.")
@json_option
def command(
    model: str,
    data: str,
    out: Path,
    criterion: str | None,
    epochs: int,
    trials: int,
    max_drop: float | None,
    imgsz: int | None,
    recipe_file: Path | None,
    assignments: tuple[str, ...],
    trust_model: bool,
    as_json: bool,
) -> None:
    """Train MODEL at several strengths of a criterion's regulariser; pick the largest within the budget.

    Trials are cached in the build folder: the same command goes on where it ended; a build there reuses them.
    """
    from edgeprune.build import BuildRequest
    from edgeprune.recipe import load_recipe
    from edgeprune.sweep import sweep

    recipe = load_recipe(
        recipe_file,
        assignments,
        prune__criterion=criterion,
        sparse__epochs=epochs,
        budget__max_drop=max_drop,
        imgsz=imgsz,
    )
    request = BuildRequest(
        model=existing(model, "model"),
        data=existing(data, "data"),
        targets=(),
        recipe=recipe,
        out=out,
        command=shlex.join(["edgeprune", *sys.argv[1:]]),
        trust=trust_model,
    )
    with stage_progress() as notify:
        found = sweep(request, trials, notify)
    if as_json:
        echo_json(found.model_dump_json(indent=1))
        return
    click.echo(f"strength  scales < 0.01  median scale  {found.metric:>8}     drop")
    for trial in found.trials:
        click.echo(
            f"{trial.strength:8.3g}  {trial.share_small:13.1%}  {trial.median:12.4f}  {trial.score:8.4f}  "
            f"{trial.drop:7.4f}{'' if trial.kept else '  over budget'}"
        )
    click.echo(
        f"Use: --criterion {found.criterion} --set sparse.epochs={found.epochs} "
        f"--set sparse.strength={found.strength:g}"
    )
