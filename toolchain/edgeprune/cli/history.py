"""`edgeprune history`: keep results by commit, show them, plot them with their change points."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgeprune.cli import echo, echo_json, warn
from edgeprune.cli.options import json_option
from edgeprune.cli.outputs import require_apart
from edgeprune.cli.usage import Group
from edgeprune.history import DEFAULT, METRICS

if TYPE_CHECKING:
    from edgeprune.history.entry import Point

db_option = click.option(
    "--db",
    default=DEFAULT,
    show_default=True,
    metavar="URL",
    help="SQLite file, or an SQLAlchemy URL such as postgresql://user@host/database.",
)
series_option = click.option(
    "--series", multiple=True, metavar="TEXT", help="Only series that hold this text; all texts, if repeated."
)
branch_option = click.option("--branch", metavar="NAME", help="Only results of this branch.")


@click.group(cls=Group)
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
        echo(f"{new} of {len(entries)} results were new in {history.name} ({commit.sha or 'no commit'})")
    warn(commit.trouble)


@command.command("show")
@db_option
@series_option
@branch_option
@json_option
def show_command(db: str, series: tuple[str, ...], branch: str | None, as_json: bool) -> None:
    """List the results of each series, by commit."""
    points = _points(db, series, branch)
    if as_json:
        echo_json(json.dumps([point.model_dump() for point in points]))
        return

    from edgeprune.report.console import terminal
    from edgeprune.report.history import print_points

    print_points(points, terminal())


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
@series_option
@branch_option
@json_option
def plot_command(
    db: str, metric: str, out: Path, series: tuple[str, ...], branch: str | None, as_json: bool
) -> None:
    """Plot a metric over commits, a chart for each series, and mark where its level changed."""
    from edgeprune.report.history import curves_of, write_plot
    from edgeprune.report.svg import no_charts

    require_apart([out], [db])
    curves = curves_of(_points(db, series, branch), metric)  # type: ignore[arg-type]  # click checked it
    write_plot(curves, out)
    warn(no_charts())
    if as_json:
        echo_json(json.dumps([curve.described() for curve in curves]))
        return
    for curve in curves:
        for sentence in curve.sentences():
            echo(f"{curve.title()}: {sentence}")
    echo(f"{len(curves)} series: {out}")


@command.command("export")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@db_option
def export_command(file: Path, db: str) -> None:
    """Write all results to FILE as JSON Lines, one a line."""
    from edgeprune.history.lines import write_lines
    from edgeprune.history.store import reading_history

    require_apart([file], [db])
    with reading_history(db) as history:
        count = write_lines(file, history.entries())
    echo(f"{count} results: {file}")


@command.command("import")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@db_option
def import_command(file: Path, db: str) -> None:
    """Add the results of FILE (JSON Lines); those that are there already are left as they are."""
    from edgeprune.history.lines import of_lines
    from edgeprune.history.store import open_history

    count = sum(1 for _ in of_lines(file))  # a damaged file ends here, before the database is locked
    with open_history(db) as history:
        new = history.add(of_lines(file))
        echo(f"{new} of {count} results were new in {history.name}")


def _points(db: str, series: tuple[str, ...], branch: str | None) -> list[Point]:
    from edgeprune.core.errors import DataError
    from edgeprune.history.entry import select_points
    from edgeprune.history.store import reading_history

    with reading_history(db) as history:
        points = history.points()
    found = select_points(points, series, branch)
    if points and not found:
        asked = [*(f"--series {text}" for text in series), *([f"--branch {branch}"] if branch else [])]
        raise DataError(f"{history.name}: none of {len(points)} results is of {', '.join(asked)}")
    return found
