"""`edgeprune history`: keep results by commit, show them, plot them with their change points."""

from __future__ import annotations

import json
from pathlib import Path

import click

from edgeprune.cli import echo_json
from edgeprune.cli.options import json_option
from edgeprune.history import DEFAULT, METRICS

db_option = click.option(
    "--db",
    default=DEFAULT,
    show_default=True,
    metavar="URL",
    help="SQLite file, or an SQLAlchemy URL such as postgresql://user@host/database.",
)


@click.group()
def command() -> None:
    """Keep results by commit; show, plot, export and import them."""


@command.command("add")
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
@db_option
@click.option(
    "--commit", "sha", metavar="SHA", help="Commit that was measured; the working folder's by default."
)
@click.option("--branch", metavar="NAME", help="Its branch; the working folder's by default.")
def add_command(paths: tuple[Path, ...], db: str, sha: str | None, branch: str | None) -> None:
    """Add the results at PATHS: files of bench or check (JSON), folders of them, or build folders."""
    from edgeprune.history.commits import commit_here
    from edgeprune.history.reading import read_entries
    from edgeprune.history.store import open_history

    commit = commit_here(sha, branch)
    entries = [entry for path in paths for entry in read_entries(path, commit)]
    with open_history(db) as history:
        new = history.add(entries)
        click.echo(
            f"{new} of {len(entries)} results were new in {history.name} ({commit.sha or 'no commit'})"
        )


@command.command("show")
@db_option
@json_option
def show_command(db: str, as_json: bool) -> None:
    """List all results, by commit."""
    from edgeprune.history.store import open_history

    with open_history(db, make=False) as history:
        entries = history.entries()
    if as_json:
        echo_json(json.dumps([entry.model_dump(exclude={"document"}) for entry in entries]))
        return
    from rich.console import Console

    from edgeprune.report.history import print_entries

    print_entries(entries, Console())


@command.command("plot")
@db_option
@click.option(
    "--metric", type=click.Choice(METRICS), default="p50", show_default=True, help="What is plotted."
)
@click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="Page to write: .html, or .svg for a single series.",
)
@click.option("--name", metavar="TEXT", help="Only series whose name holds this text.")
def plot_command(db: str, metric: str, out: Path, name: str | None) -> None:
    """Plot a metric over commits, a chart for each series, and mark where its level changed."""
    from edgeprune.history.store import open_history
    from edgeprune.report.history import curves_of, write_plot

    with open_history(db, make=False) as history:
        curves = curves_of(history.entries(), metric, name or "")  # type: ignore[arg-type]  # click checked it
    write_plot(curves, out)
    for curve in curves:
        for sentence in curve.sentences():
            click.echo(sentence)
    click.echo(f"{len(curves)} series: {out}")


@command.command("export")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@db_option
def export_command(file: Path, db: str) -> None:
    """Write all results to FILE as JSON Lines, one a line."""
    from edgeprune.artifact import write_text_atomically
    from edgeprune.history.lines import to_lines
    from edgeprune.history.store import open_history

    with open_history(db, make=False) as history:
        entries = history.entries()
    write_text_atomically(file, to_lines(entries))
    click.echo(f"{len(entries)} results: {file}")


@command.command("import")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@db_option
def import_command(file: Path, db: str) -> None:
    """Add the results of FILE (JSON Lines); those that are there already are left as they are."""
    from edgeprune.history.lines import of_lines
    from edgeprune.history.store import open_history

    entries = list(of_lines(file))
    with open_history(db) as history:
        new = history.add(entries)
        click.echo(f"{new} of {len(entries)} results were new in {history.name}")
