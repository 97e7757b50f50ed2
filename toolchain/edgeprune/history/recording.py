"""Adding what a command has just measured to a history, as the commit of the working folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timezone

from edgeprune.gate.result import GateResult
from edgeprune.history.commits import commit_here
from edgeprune.history.reading import of_bench, of_check
from edgeprune.history.store import open_history
from edgeprune.records.bench_result import BenchResult
from edgeprune.records.scores import Accuracy


def require_history(place: str) -> None:
    """Open a history before a measurement that is to go into it, and bring its tables up to date.

    Raises:
        ConfigError, RuntimeMissingError: see `open_history`.
    """
    with open_history(place):
        pass


def record_bench(
    place: str, results: Sequence[BenchResult], accuracies: Mapping[str, Accuracy | None]
) -> str | None:
    """Add bench results; return why git does not tell their commit, None where it does.

    Args:
        place: SQLite file or URL, see `open_history`.
        accuracies: what a build has measured, by the engine's digest.

    Raises:
        ConfigError: the database does not answer.
    """
    commit = commit_here()
    with open_history(place) as history:
        history.add(
            [of_bench(result, commit, accuracies.get(result.artifact.sha256 or "")) for result in results]
        )
    return commit.trouble


def record_checks(place: str, results: Mapping[str, GateResult]) -> str | None:
    """Add the gate's results by target; return why git does not tell their commit, None where it does.

    Raises:
        ConfigError: the database does not answer.
    """
    commit, now = commit_here(), datetime.now(timezone.utc).isoformat(timespec="seconds")
    with open_history(place) as history:
        history.add([of_check(target, result, commit, now) for target, result in results.items()])
    return commit.trouble
