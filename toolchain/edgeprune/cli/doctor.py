"""`edgeprune doctor`: what is installed here and what works."""

from __future__ import annotations

import click

from edgeprune.cli import echo_json
from edgeprune.cli.options import json_option
from edgeprune.cli.usage import Command

_MARKS = {"ok": ("ok", "green"), "warn": ("warn", "yellow"), "fail": ("FAIL", "red")}


@click.command(cls=Command)
@json_option
@click.pass_context
def command(ctx: click.Context, as_json: bool) -> None:
    """Tell what is installed, which runtimes really work here and why not, and what the CPU can do."""
    from edgeprune.verify.doctor import diagnose, lines

    diagnosis = diagnose()
    if as_json:
        echo_json(diagnosis.model_dump_json(indent=1))
    else:
        from edgeprune.report.console import hang, say, terminal

        console = terminal()
        for status, name, detail, advice in lines(diagnosis):
            mark, colour = _MARKS[status]
            hang(console, f"{mark:<5} {name:<14} ", detail, colour)
            if advice:
                say(console, f"{'':<18} -> {advice}", whole=True)
    ctx.exit(0 if diagnosis.ok else 5)
