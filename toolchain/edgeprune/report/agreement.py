"""How an emulated device agrees with this machine, on a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from edgeprune.bench.agreement import Agreement
from edgeprune.report.cells import MISSING, plain


def print_agreements(agreements: Sequence[Agreement], console: Console) -> None:
    """Print a row for each engine, then what ran where. There is no column for a latency."""
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column("engine", no_wrap=True)
    for head in ("images", "relative L2", "tolerance", "shared"):
        table.add_column(head, justify="right", no_wrap=True)
    table.add_column("")
    for one in agreements:
        table.add_row(
            Text(plain(one.name)),
            str(one.inputs["n"]),
            MISSING if one.worst is None else f"{one.worst:.1e}",
            f"{one.tolerance:g}",
            _shared(one),
            Text("agrees", "green") if one.agrees else Text("differs", "bold red"),
        )
    table.width = Measurement.get(console, console.options.update(max_width=200), table).maximum
    console.print(table, crop=False)
    for line in dict.fromkeys(line for one in agreements for line in _notes(one)):
        console.print(Text(line))
    console.print(Text("emulated: correctness only, no latency is measured"))


def _shared(one: Agreement) -> str:
    if one.decisions is None:
        return MISSING
    return f"{one.decisions.shared} of {one.decisions.count} {one.decisions.what}"


def _notes(one: Agreement) -> list[str]:
    device, backend = one.device, one.artifact["backend"]
    integers = ""
    if one.artifact["precision"] == "int8" and one.there.quantized_ops is not None:
        integers = f", {one.there.quantized_ops} convolutions in integers there"
    return [
        plain(
            f"{one.name}: {backend} {one.here.version} on {one.here.machine} here, {one.there.version} on "
            f"{one.there.machine} there{integers}"
        ),
        f"images: {one.inputs['source']}; device: {device['processor']} under {device['emulator']}",
    ]
