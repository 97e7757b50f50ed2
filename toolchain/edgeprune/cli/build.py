"""`edgeprune build`: the whole path from a checkpoint to the chosen artifact."""

from __future__ import annotations

from pathlib import Path

import click

from edgeprune.cli import echo, echo_json
from edgeprune.cli.numbers import Milliseconds, number
from edgeprune.cli.options import (
    Asked,
    batch_option,
    build_options,
    device_option,
    effort,
    imgsz_option,
    json_option,
    max_drop_option,
    recipe_options,
    sure_option,
)
from edgeprune.cli.progress import stage_progress
from edgeprune.cli.usage import Command
from edgeprune.core.extras import require_build


@click.command(cls=Command)
@build_options()
@click.option(
    "--target", "targets", required=True, multiple=True, metavar="NAME", help="Device profile; repeatable."
)
@imgsz_option
@batch_option
@click.option("--ratio", type=number("ratio"), help="Share of the channels to prune.")
@click.option(
    "--speedup", type=number("speedup"), help="Prune to this speed-up over the unpruned model, on the target."
)
@click.option(
    "--target-latency",
    type=Milliseconds(),
    metavar="MS",
    help="Prune to this latency on the target, such as 8ms.",
)
@click.option("--one-shot", is_flag=True, default=None, help="Reach a latency in one cut, not step by step.")
@click.option(
    "--macs", type=number("macs"), help="Prune until this share of the multiply-accumulates is left."
)
@click.option(
    "--criterion",
    help="Which channels matter least: random, l1, l2, fpgm, lamp, slim, group_slim, group_norm, group_sl, "
    "growing_reg, taylor, hessian, obdc, apoz or combined.",
)
@click.option("--epochs", type=number("epochs"), help="Epochs of fine-tuning.")
@click.option(
    "--effort",
    type=click.Choice(["quick", "standard", "thorough"]),
    help="How thorough the search for the fastest network within --max-drop is, where no size is given.",
)
@click.option("--hours", type=number("hours"), help="Search for so many hours at most.")
@click.option("--compare", is_flag=True, help="Also measure what could be run instead of pruning, as fast.")
@click.option(
    "--smaller",
    metavar="FILE",
    help="Trained smaller model of the family to compare with; implies --compare.",
)
@click.option("--no-prune", is_flag=True, help="Only quantize and compile.")
@max_drop_option
@sure_option
@click.option(
    "--min-fps", type=number("fps"), help="Least achieved frames per second; pruned to, if no goal is given."
)
@click.option(
    "--max-latency-ms", type=number("latency_ms"), help="Largest p50 in ms; pruned to, if no goal is given."
)
@click.option("--max-memory-mb", type=number("memory_mb"), help="Largest peak memory (VmHWM) in MB.")
@click.option(
    "--bench", "bench_profile", type=click.Choice(["quick", "standard"]), help="How long to measure."
)
@click.option("--strict", is_flag=True, help="Exit with 7 when a warning stands, after all is written.")
@click.option("--threads", type=number("threads"), help="Threads of the runtime.")
@device_option
@click.option("--seed", type=number("seed"), help="Seed of every draw.")
@recipe_options
@json_option
def command(
    asked: Asked,
    targets: tuple[str, ...],
    smaller: str | None,
    device: str,
    strict: bool,
    as_json: bool,
    **options: object,
) -> None:
    """Prune, export, quantize, compile and measure MODEL for each TARGET; choose the fastest row in budget.

    With --effort or --hours the smallest network is searched for that keeps to --max-drop.
    Stages are cached in the build folder: the same command again goes on where the last one ended.
    """
    require_build("build")
    from edgeprune.bench.testbed import as_testbed
    from edgeprune.config.targets import resolve_targets
    from edgeprune.core.errors import BudgetError, InconclusiveError
    from edgeprune.pipeline.build import build
    from edgeprune.report.console import terminal
    from edgeprune.report.html import write_html
    from edgeprune.report.markdown import write_markdown
    from edgeprune.report.terminal import print_summary
    from edgeprune.runners.devices import runner_for

    recipe = asked.recipe(**_recipe_keys(options, compare=smaller is not None))
    out = asked.out
    with runner_for(device) as runner, stage_progress(quiet=False) as notify:
        request = asked.request(
            recipe, resolve_targets(targets, runner.machine), smaller=Path(smaller) if smaller else None
        )
        summary = build(request, notify, as_testbed(runner, request.targets, effort()))
    write_html(out)
    write_markdown(out)
    if as_json:
        echo_json(summary.model_dump_json(indent=1))
    else:
        print_summary(summary, terminal())
        echo(f"Report: {out / 'report.html'}")
    measured = any(row.p50_ms is not None for row in summary.rows())
    if summary.chosen is None and measured and not summary.unjudged:
        raise BudgetError(f"{out}: {summary.verdict} Everything is kept.")
    if strict and summary.warnings:
        found = ", ".join(
            f"{warning.code} ({warning.rows[0]})" if warning.rows else warning.code
            for warning in summary.warnings
        )
        raise BudgetError(f"{out}: --strict: {found}; each is explained above and in summary.json")
    if summary.unjudged:
        raise InconclusiveError(f"{out}: {summary.verdict} Everything is kept.")


def _recipe_keys(options: dict[str, object], compare: bool) -> dict[str, object]:
    """Map the options onto the recipe's keys; an option that was not given leaves the recipe's value."""
    keys = {
        "imgsz": "imgsz",
        "batch": "batch",
        "ratio": "prune__ratio",
        "speedup": "prune__speedup",
        "target_latency": "prune__latency_ms",
        "one_shot": "prune__one_shot",
        "macs": "prune__macs",
        "criterion": "prune__criterion",
        "epochs": "finetune__epochs",
        "effort": "solve__effort",
        "hours": "solve__hours",
        "max_drop": "budget__max_drop",
        "min_fps": "budget__min_fps",
        "max_latency_ms": "budget__max_latency_ms",
        "max_memory_mb": "budget__max_memory_mb",
        "bench_profile": "bench__profile",
        "threads": "bench__threads",
        "seed": "seed",
    }
    chosen = {keys[name]: value for name, value in options.items() if name in keys}
    compare = compare or bool(options["compare"])
    flags = {
        "prune__enabled": False if options["no_prune"] else None,
        "bench__compare": True if compare else None,
        "budget__sure": True if options["sure"] else None,
    }
    return chosen | flags
