"""`edgeprune report`: the report of a finished build."""

from __future__ import annotations

import json
from pathlib import Path

import click

from edgeprune.cli import echo_json, warn
from edgeprune.cli.options import json_option
from edgeprune.cli.usage import Command


@click.command(cls=Command)
@click.argument("folder", type=click.Path(path_type=Path))
@json_option
def command(folder: Path, as_json: bool) -> None:
    """Write report.html and report.md into the build folder FOLDER."""
    from edgeprune.report.html import write_html
    from edgeprune.report.markdown import write_markdown
    from edgeprune.report.svg import no_charts

    written = {"html": str(write_html(folder)), "markdown": str(write_markdown(folder))}
    warn(no_charts())
    echo_json(json.dumps(written) if as_json else "\n".join(written.values()))
