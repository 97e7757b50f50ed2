"""`edgeprune profile`: measure the latency of a model's layers over their widths."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgeprune.cli import echo_json
from edgeprune.cli.options import (
    device_option,
    existing,
    json_option,
    one_target,
    target_option,
    threads_option,
)
from edgeprune.cli.progress import stage_progress

if TYPE_CHECKING:
    from edgeprune.device import Precision
    from edgeprune.latency import LatencyTable

_SHOWN = 12


@click.command()
@click.option("--model", required=True, metavar="PATH", help="Checkpoint whose layers are measured.")
@target_option
@click.option(
    "--precision",
    type=click.Choice(["fp32", "fp16", "bf16", "int8"]),
    help="Precision to measure in; by default the one that the target ships.",
)
@click.option(
    "--imgsz", type=click.IntRange(min=32), help="Side of the input; by default the checkpoint's own."
)
@threads_option
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
@json_option
def command(
    model: str,
    target: str,
    precision: Precision | None,
    imgsz: int | None,
    threads: int,
    device: str,
    out: Path | None,
    plot: Path | None,
    as_json: bool,
) -> None:
    """Measure what every layer of a model costs at each width on a device, and find the channel step.

    What was measured is kept in the cache: the same command answers at once, and an interrupted one goes on.
    """
    from edgeprune.bench.testbed import as_testbed
    from edgeprune.latency import save_table
    from edgeprune.models import adapter_of
    from edgeprune.prune.profiling import profile_model, table_file
    from edgeprune.prune.shipped import subject_of
    from edgeprune.runners.devices import runner_for

    profile, path = one_target(target), existing(model, "model")
    subject = subject_of(adapter_of(path), path, imgsz, profile, precision, threads)
    with runner_for(device) as runner, stage_progress() as notify:
        table = profile_model(subject, as_testbed(runner, [profile]), notify)
    if out:
        save_table(table, out)
    if plot:
        from edgeprune.report.staircase import write_page

        write_page(table, plot)
    if as_json:
        echo_json(table.model_dump_json())
    else:
        _show(table, out or table_file(table), profile.channel_step.get(subject.precision))


def _show(table: LatencyTable, place: Path, guess: int | None) -> None:
    from rich.console import Console
    from rich.table import Table

    rows: dict[tuple[str, int, int], list[float]] = {}
    for layer in table.layers:
        ms = table.layer_ms(layer.shape, layer.cin, layer.cout)
        rows.setdefault((str(layer.shape), layer.cin, layer.cout), []).append(ms)
    shown = Table("layer", "in", "out", "times", "ms each", "of the whole", box=None)
    ranked = sorted(rows.items(), key=lambda row: -sum(row[1]))
    for (shape, cin, cout), times in ranked[:_SHOWN]:
        share = f"{sum(times) / table.whole_ms:.1%}"
        shown.add_row(shape, str(cin), str(cout), str(len(times)), f"{times[0]:.3f}", share)
    console = Console()
    console.print(shown)
    if len(ranked) > _SHOWN:
        console.print(f"and {len(ranked) - _SHOWN} more kinds of layer")
    says = "" if guess in (None, table.step) else f" (the target's profile says {guess})"
    console.print(f"\nchannel step: {table.step}{says}")
    console.print(f"whole network: {table.whole_ms:.2f} ms, of which {table.rest_ms():.2f} ms in no layer")
    for sentence in table.caveats():
        console.print(f"note: {sentence}")
    console.print(f"table: {place}", soft_wrap=True)
