"""The vendors' own stopwatches, run beside ours: what each was asked, what it said, what of that compares.

They see the same engine, threads, precision and cores as our worker; what they feed it and how they count is
theirs (section 5 of the protocol names the pitfalls).
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from edgeprune.backends import options_for
from edgeprune.bench.subject import Subject
from edgeprune.core.backend import vendor_tools
from edgeprune.core.errors import ConfigError, DeviceError, IncompleteError, RuntimeMissingError
from edgeprune.records.bench_result import BenchResult
from edgeprune.runners import Runner
from edgeprune.worker.affinity import best_cores

_TIMEOUT_S = 600.0  # beside twice the time that a tool was given: to load, to compile, to warm up
# Keeps a tool to the cores that our worker keeps to, in the environment that the row is run in.
_START = """
import json, os, sys
cores, variables = json.loads(sys.argv[1])
os.sched_setaffinity(0, cores)
os.environ.update(variables)
os.execv(sys.argv[2], sys.argv[2:])
"""


def found_tool(name: str) -> str:
    """Return the path of a tool: on the PATH, or beside this Python.

    Raises:
        RuntimeMissingError: it is not here; the message says how to get it.
    """
    places = os.pathsep.join([os.environ.get("PATH", ""), str(Path(sys.executable).parent)])
    path = shutil.which(name, path=places)
    if path is None:
        raise RuntimeMissingError(
            f"--against {name}: it is not installed here: {vendor_tools()[name][1].get}"
        )
    return path


def need_tool(name: str, subjects: Sequence[Subject]) -> None:
    """Check, before anything is measured, that a tool is here and has something to measure.

    Raises:
        RuntimeMissingError: it is not here.
        ConfigError: none of the subjects runs in its runtime.
    """
    backend = vendor_tools()[name][0]
    if not any(subject.profile.backend == backend for subject in subjects):
        others = ", ".join(sorted({subject.profile.backend for subject in subjects}))
        raise ConfigError(f"--against {name}: it measures {backend}, and here is only {others}")
    found_tool(name)


def with_tool(
    name: str,
    subjects: Sequence[Subject],
    results: Sequence[BenchResult],
    threads: int,
    seconds: float,
    runner: Runner,
    say: Callable[[str], None],
) -> list[BenchResult]:
    """Run a tool on each subject of its runtime; return the results with what it said in `against`.

    Args:
        results: of the subjects, in their order.
        seconds: about how long it is to measure each.
        runner: this machine.
        say: called with what runs next, in a few words.

    Raises:
        IncompleteError: it failed, or said nothing that could be read; it has the results.
    """
    told, backend = list(results), vendor_tools()[name][0]
    for index, (subject, result) in enumerate(zip(subjects, results, strict=True)):
        if subject.profile.backend != backend:
            continue
        say(f"{name}, {subject.name}")
        try:
            told[index] = result.model_copy(
                update={"against": _said_by(name, subject, threads, seconds, runner)}
            )
        except DeviceError as exc:
            raise IncompleteError(f"--against {name}: {exc}", told) from exc
    return told


def as_a_worker(command: Sequence[str], threads: int, environment: Mapping[str, str]) -> list[str]:
    """Return the command line that runs a program, named by its path, where and as our worker runs a row."""
    cores = sorted(best_cores(threads, os.sched_getaffinity(0)))
    # A tool of OpenVINO's is Python, and reports to Intel unless it runs in CI.
    variables = {"CI": "true", **environment}
    return [sys.executable, "-I", "-c", _START, json.dumps([cores, variables]), *command]


def _said_by(name: str, subject: Subject, threads: int, seconds: float, runner: Runner) -> dict[str, Any]:
    """Return ``tool``, its ``path``, ``options`` and ``figures`` (ms, 1/s; None: not told), ``compares``."""
    tool, path = vendor_tools()[name][1], found_tool(name)
    given = options_for(subject.profile, subject.engine.precision)
    options = tool.options(subject.engine.path, given, threads, seconds)
    command = as_a_worker((path, *options), threads, subject.environment)
    done = runner.run(command, _TIMEOUT_S + 2 * seconds)
    figures = tool.read(done.stdout + done.stderr)
    if figures.p50 is None and figures.mean is None:
        raise DeviceError(
            f"{subject.name}: no latency is in what it printed: it failed, or is of another version"
        )
    said: dict[str, Any] = {"tool": name, "path": path, "options": options}
    return said | {"figures": asdict(figures), "compares": tool.compares}
