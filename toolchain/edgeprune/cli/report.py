"""`edgeprune report`: the report of a finished build, or one page for many devices."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgeprune.cli import echo, echo_json, warn
from edgeprune.cli.options import json_option
from edgeprune.cli.outputs import require_apart
from edgeprune.cli.usage import Command

if TYPE_CHECKING:
    from edgeprune.history.entry import Point


@click.command(cls=Command)
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for the pages; the build's own for one build, needed for several paths.",
)
@click.option(
    "--history", metavar="URL", help="Of several paths: show the history of their rows, from this database."
)
@json_option
def command(paths: tuple[Path, ...], out: Path | None, history: str | None, as_json: bool) -> None:
    """Write report.html and report.md of the build at PATHS, or one page for the devices of several.

    Each of several PATHS is a build folder or its summary.json, a result of bench (JSON), or a folder of
    results.
    """
    from edgeprune.core.artifact import SUMMARY
    from edgeprune.report.svg import no_charts

    paths = tuple(path.parent if path.name == SUMMARY and path.is_file() else path for path in paths)
    one = len(paths) == 1 and history is None and not _holds_results(paths[0])
    written, said = _of_build(paths[0], out) if one else _of_devices(paths, out, history)
    warn(no_charts())
    if as_json:
        echo_json(json.dumps(written))
        return
    for line in said:
        echo(line)
    echo_json("\n".join(written.values()))


def _holds_results(path: Path) -> bool:
    """Whether a path that is no build may be of results: a file, or a folder with JSON in it."""
    from edgeprune.core.artifact import STAGES, SUMMARY

    if (path / SUMMARY).exists() or (path / STAGES).exists():
        return False
    return path.is_file() or any((*path.glob("*.json"), *path.glob("*/*.json")))


def _of_build(folder: Path, out: Path | None) -> tuple[dict[str, str], list[str]]:
    from edgeprune.report import html, markdown

    pages = {"html": out and out / html.PAGE, "markdown": out and out / markdown.PAGE}
    require_apart(pages.values(), [folder])
    return {
        "html": str(html.write_html(folder, pages["html"])),
        "markdown": str(markdown.write_markdown(folder, pages["markdown"])),
    }, []


def _of_devices(
    paths: tuple[Path, ...], out: Path | None, history: str | None
) -> tuple[dict[str, str], list[str]]:
    from edgeprune.report.devices.entries import load_lines
    from edgeprune.report.devices.pages import HTML, MARKDOWN, in_words, write_pages

    if out is None:
        raise click.UsageError("the page of several devices needs a folder of its own: --out FOLDER")
    require_apart([out / HTML, out / MARKDOWN], [*paths, history])
    lines = load_lines(paths)
    return write_pages(lines, _points(history), out), in_words(lines)


def _points(history: str | None) -> list[Point] | None:
    from edgeprune.history.store import reading_history

    if history is None:
        return None
    with reading_history(history) as store:
        return store.points()
