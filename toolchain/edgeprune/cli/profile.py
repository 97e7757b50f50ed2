"""`edgeprune profile`: measure the latency of a model's layers over their widths."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from edgeprune.cli import echo, echo_json
from edgeprune.cli.numbers import number
from edgeprune.cli.options import (
    AskedModel,
    batch_option,
    device_option,
    effort,
    imgsz_option,
    input_options,
    json_option,
    model_options,
    one_target,
    target_option,
)
from edgeprune.cli.outputs import profile_file, require_apart
from edgeprune.cli.progress import stage_progress
from edgeprune.cli.usage import Command
from edgeprune.core.extras import require_build


@click.command(cls=Command)
@model_options
@target_option
@click.option(
    "--precision",
    type=click.Choice(["fp32", "fp16", "bf16", "int8"]),
    help="Precision to measure in; by default the one that the target ships.",
)
@imgsz_option
@batch_option
@click.option("--threads", type=number("threads"), help="Threads of the runtime.")
@device_option
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Also write the table here (JSON); it is kept in the cache anyway.",
)
@click.option(
    "--plot",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write a page (HTML) with latency over width for every layer shape.",
)
@input_options
@json_option
def command(
    asked: AskedModel,
    target: str,
    device: str,
    out: Path | None,
    plot: Path | None,
    as_json: bool,
    **given: Any,
) -> None:
    """Measure what every layer of a model costs at each width on a device, and find the channel step.

    What was measured is kept in the cache: the same command answers at once, and an interrupted one goes on.
    """
    require_build("profile")
    from edgeprune.bench.testbed import as_testbed
    from edgeprune.config.recipe import load_recipe
    from edgeprune.latency.profile import profile_model, table_file
    from edgeprune.latency.shipped import subject_of
    from edgeprune.models.source import choose_adapter
    from edgeprune.records.latency_table import save_table
    from edgeprune.runners.devices import runner_for

    recipe = load_recipe(
        given["recipe_file"],
        given["assignments"],
        imgsz=given["imgsz"],
        batch=given["batch"],
        bench__threads=given["threads"],
    )
    profile, source = one_target(target), asked.source()
    require_apart((out, plot), [source.file, profile_file(target)])
    with stage_progress() as notify:
        for words in source.notices:
            notify("load", 0.0, words)
        adapter = choose_adapter(source, recipe)
        network = (recipe.imgsz, profile, given["precision"], recipe.bench.threads, recipe.batch)
        subject = subject_of(adapter, source.file, *network)
        with runner_for(device) as runner:
            table = profile_model(subject, as_testbed(runner, [profile], effort()), notify)
    if out:
        save_table(table, out)
    if plot:
        from edgeprune.report.staircase import write_page

        write_page(table, plot)
    if as_json:
        echo_json(table.model_dump_json())
    else:
        from edgeprune.report.console import terminal
        from edgeprune.report.staircase import print_table

        print_table(table, profile.channel_step.get(subject.precision), terminal())
        echo(f"table: {out or table_file(table)}")
