"""One gate result in the formats that terminals, CI systems and trackers read: one file each, one table."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from edgeprune.core.errors import ConfigError, did_you_mean
from edgeprune.core.files import write_text_atomically
from edgeprune.gate.result import Failure, GateResult
from edgeprune.report.gate.action_benchmark import render_action_benchmark
from edgeprune.report.gate.annotations import render_annotations
from edgeprune.report.gate.bencher import render_bencher
from edgeprune.report.gate.junit import render_junit
from edgeprune.report.gate.markdown import render_markdown
from edgeprune.report.gate.table import render_table

Results = Mapping[str, GateResult]


def render_json(results: Results, failure: Failure | None = None) -> str:
    """Return every result with every pair, as one JSON object by target; a failure is its key ``error``."""
    shown = {name: result.model_dump(mode="json") for name, result in results.items()}
    return json.dumps(shown if failure is None else {"error": failure.model_dump(mode="json")} | shown)


FORMATS: Final[dict[str, Callable[[Results, Failure | None], str]]] = {
    "table": render_table,
    "json": render_json,
    "junit": render_junit,
    "markdown": render_markdown,
    "github": render_annotations,
    # Trackers plot numbers: of a check that failed they get those of the targets that it had judged.
    "github-action-benchmark": lambda results, failure: render_action_benchmark(results),
    "bencher": lambda results, failure: render_bencher(results),
}


def parse_report(text: str) -> tuple[str, Path]:
    """Read ``FORMAT=FILE``.

    Raises:
        ConfigError: there is no such format, or no file is named.
    """
    name, _, file = text.partition("=")
    if name not in FORMATS:
        raise ConfigError(
            f"--report {text!r}: {name!r} is not one of {', '.join(FORMATS)}{did_you_mean(name, FORMATS)}"
        )
    if not file:
        raise ConfigError(f"--report {text!r}: no file; write {name}=FILE")
    return name, Path(file)


def render(name: str, results: Results, failure: Failure | None = None) -> str:
    """Return the results by target, and what ended the check before its verdict, in a format of `FORMATS`."""
    return FORMATS[name](results, failure)


def write_reports(
    places: Sequence[tuple[str, Path]], results: Results, failure: Failure | None = None
) -> None:
    """Write the results to each (format, file), atomically.

    Raises:
        OutputError: a file cannot be written.
    """
    for name, path in places:
        write_text_atomically(path, render(name, results, failure).rstrip("\n") + "\n")
