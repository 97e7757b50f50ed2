"""`edgeprune runtimes`: the converters that live in environments of their own."""

from __future__ import annotations

import json

import click

from edgeprune.cli import echo, echo_json
from edgeprune.cli.options import json_option
from edgeprune.cli.usage import Group


@click.group(cls=Group, invoke_without_command=True)
@json_option
@click.pass_context
def command(ctx: click.Context, as_json: bool) -> None:
    """List the converters whose packages cannot be installed beside edgeprune's own."""
    if ctx.invoked_subcommand is None:
        _list(as_json)


@command.command("install")
@click.argument("name")
def install_command(name: str) -> None:
    """Make the environment of NAME in the user's cache and install its converter there, by pip."""
    from edgeprune.converters.environments import install, size_bytes

    place = install(name, lambda text: echo(f"runtimes: {text}", err=True))
    echo(f"{name} is installed: {place}, {(size_bytes(name) or 0) / 1e6:.0f} MB")


@command.command("remove")
@click.argument("name")
def remove_command(name: str) -> None:
    """Remove the environment of NAME."""
    from edgeprune.converters.environments import remove

    echo(f"{name} is removed" if remove(name) else f"{name} is not installed")


def _list(as_json: bool) -> None:
    from edgeprune.converters.environments import GET, converters, folder_of, is_installed, size_bytes

    rows = [
        {
            "name": name,
            "installed": is_installed(name),
            "version": made_of.pins[0],
            "pins": made_of.pins,
            "purpose": made_of.purpose,
            "size_bytes": size_bytes(name),
            "path": str(folder_of(name)) if is_installed(name) else None,
            "get": GET.format(name),
        }
        for name, made_of in converters().items()
    ]
    if as_json:
        echo_json(json.dumps(rows, indent=1))
        return
    from edgeprune.report.console import hang, terminal

    console = terminal()
    for row in rows:
        size = row["size_bytes"]
        state = f"installed, {size / 1e6:.0f} MB" if isinstance(size, int) else f"not installed: {row['get']}"
        hang(console, f"{row['name']:<12} ", f"{row['version']}: {row['purpose']}; {state}")
