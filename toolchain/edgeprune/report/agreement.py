"""How an emulated device agrees with this machine, on a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console

from edgeprune.report.cells import MISSING, Cell, Head, Line, Table, plain, word
from edgeprune.report.console import draw, say
from edgeprune.verify.agreement import Agreement

_HEADS = (
    Head("engine", numeric=False), Head("images"), Head("relative L2"), Head("tolerance"), Head("shared"),
    Head("", numeric=False),
)  # fmt: skip
_STYLES = {"differs": "bold red"}


def print_agreements(agreements: Sequence[Agreement], console: Console) -> None:
    """Print a row for each engine, then what ran where. There is no column for a latency."""
    lines = []
    for one in agreements:
        said = "agrees" if one.agrees else "differs"
        worst = Cell(MISSING if one.worst is None else f"{one.worst:.1e}")
        counted = (Cell(str(one.inputs["n"])), worst, Cell(f"{one.tolerance:g}"), Cell(_shared(one)))
        lines.append(Line((word(one.name), *counted, Cell(said)), said))
    draw(Table(_HEADS, tuple(lines)), console, _STYLES)
    for line in dict.fromkeys(line for one in agreements for line in _notes(one)):
        say(console, line)
    say(console, "emulated: correctness only, no latency is measured")


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
