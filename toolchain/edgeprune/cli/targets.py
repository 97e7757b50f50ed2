"""`edgeprune targets`: list and show device profiles."""

from __future__ import annotations

import itertools
import json
from typing import TYPE_CHECKING, Any

import click

from edgeprune.cli import echo_json
from edgeprune.cli.options import json_option
from edgeprune.cli.usage import Group

if TYPE_CHECKING:
    from pathlib import Path

_ANY = "Any maker"


@click.group(cls=Group, invoke_without_command=True)
@json_option
@click.pass_context
def command(ctx: click.Context, as_json: bool) -> None:
    """List the device profiles by maker; `targets show NAME` prints one."""
    if ctx.invoked_subcommand is None:
        _list(as_json)


@command.command("list")
@json_option
def list_command(as_json: bool) -> None:
    """List the device profiles and aliases by maker."""
    _list(as_json)


@command.command("show")
@click.argument("name")
@json_option
def show_command(name: str, as_json: bool) -> None:
    """Print the profile NAME, or the profiles that an alias stands for on this machine."""
    import yaml

    from edgeprune.config.targets import resolve_targets

    profiles = [profile.model_dump(mode="json") for profile in resolve_targets((name,))]
    echo_json(
        json.dumps(profiles, indent=1) if as_json else yaml.safe_dump_all(profiles, sort_keys=False).rstrip()
    )


def _list(as_json: bool) -> None:
    from edgeprune.config.targets import own_folder, target_files

    rows = sorted(map(_row, target_files().values()), key=lambda row: (row["maker"], row["name"]))
    if as_json:
        echo_json(json.dumps(rows, indent=1))
        return
    from edgeprune.report.cells import plain
    from edgeprune.report.console import hang, say, terminal

    console, width = terminal(), max(len(str(row["name"])) for row in rows)
    for maker, found in itertools.groupby(rows, key=lambda row: str(row["maker"])):
        say(console, plain(maker) or _ANY, "bold")
        for row in found:
            also = f"; also {', '.join(map(plain, row['aliases']))}" if row["aliases"] else ""
            why = f" (not here: {row['not_here']})" if row["not_here"] else ""
            hang(console, f"  {row['name']:<{width}}  ", f"{row['description']}{also}{why}")
    if own := [str(row["name"]) for row in rows if row["own"]]:
        hang(console, "", f"Yours, in {own_folder()}: {', '.join(own)}")


def _row(path: Path) -> dict[str, Any]:
    """Return what the list says of a profile or alias; of a file that is none, why."""
    from edgeprune.backends import absence
    from edgeprune.config.targets import load_profile, own_folder
    from edgeprune.core.documents import read_mapping
    from edgeprune.core.errors import ConfigError

    said: dict[str, Any] = {}
    alias = not_here = None
    try:
        said = read_mapping(path, ConfigError)
        alias = said.get("alias")
        if alias is None:
            profile = load_profile(path)
            said, not_here = profile.model_dump(mode="json"), absence(profile)
    except ConfigError as exc:
        not_here = str(exc)
    aliases = said.get("aliases")
    return {
        "name": path.stem,
        "maker": str(said.get("maker") or ""),
        "aliases": aliases if isinstance(aliases, list) else [],
        "description": str(said.get("description", "")),
        **{key: said.get(key) for key in ("backend", "precisions", "cores", "memory", "extends")},
        "alias": alias,
        "not_here": not_here,
        "own": path.parent == own_folder(),
    }
