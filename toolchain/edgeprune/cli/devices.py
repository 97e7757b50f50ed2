"""`edgeprune devices`: what can be reached to measure on, and how it is doing."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from edgeprune.cli import echo_json
from edgeprune.cli.options import json_option
from edgeprune.cli.usage import Command

if TYPE_CHECKING:
    from edgeprune.bench.inventory import Seen


@click.command(cls=Command)
@click.option(
    "--device", "devices", multiple=True, metavar="ADDRESS", help="Also look at this one; repeatable."
)
@json_option
def command(devices: tuple[str, ...], as_json: bool) -> None:
    """List this machine, the devices of devices.yaml, of adb, and what is emulated, with their state."""
    from edgeprune.bench.inventory import look, places_to_look_at

    seen = look(places_to_look_at(devices))
    if as_json:
        echo_json(json.dumps([one.model_dump() for one in seen], indent=1))
        return
    from edgeprune.report.console import say, terminal

    console = terminal()
    for one in seen:
        for line in _lines(one):
            say(console, line)


def _lines(one: Seen) -> list[str]:
    from edgeprune.report.cells import plain

    name = plain(one.name if one.name == one.address else f"{one.name} ({one.address})")
    if one.state is None:
        return [f"{name}: {plain(str(one.error).removeprefix(f'{one.address}: '))}"]
    state = one.state
    facts = (
        state["board"] or state["cpu"],
        state["machine"],
        state["cores"] and f"{state['cores']} cores",
        state["load"] is not None and f"load {state['load']:.2f}",
        state["temperature_c"] is not None and f"{state['temperature_c']:.0f} °C",
        state["governors"] and f"governor {', '.join(state['governors'])}",
        one.target and f"target {one.target}",
    )
    runtimes = [f"{runtime} {version}" for runtime, version in state["runtimes"].items()]
    lines = [f"{name}: {plain(', '.join(str(fact) for fact in facts if fact))}"]
    lines.append(f"  runtimes: {plain(', '.join(runtimes)) or 'none'}")
    if one.error:
        lines.append(f"  {plain(one.error)}")
    return lines
