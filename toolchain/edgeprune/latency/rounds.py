"""Rounds of latency: many networks visited in turns by one worker process, and what their rounds say."""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgeprune.backends import get_backend
from edgeprune.bench.ask import ask
from edgeprune.bench.effort import TablePlan
from edgeprune.core.artifact import Artifact
from edgeprune.core.documents import read_record
from edgeprune.core.errors import DeviceError
from edgeprune.images.size import sides
from edgeprune.latency.micronet import Micronet, write_micronet
from edgeprune.latency.shipped import ProfiledNetwork
from edgeprune.quantize.half import to_fp16, wants_fp16
from edgeprune.records.latency_table import TableKey
from edgeprune.runners import Runner, require_timed
from edgeprune.worker.turns import said_by

COMPILING = 4
"""How many times as long a device may take that compiles each network itself, some seconds apiece."""


def measured_rounds(
    nets: Sequence[Micronet],
    wholes: Mapping[str, Artifact],
    subject: ProfiledNetwork,
    key: TableKey,
    plan: TablePlan,
    runner: Runner,
    say: Callable[[float], None],
) -> tuple[dict[str, list[float]], float]:
    """Measure networks in one worker process; return the rounds of each, in ms, by name.

    Beside them it returns the share of a core's time that others took; 0 where the kernel does not tell.

    Args:
        nets: layers of the subject, with their surroundings.
        wholes: engines of whole networks, visited in the same rounds.
        key: under which options and environment it is measured.
        say: called with the share that is done, in [0, 1].

    Raises:
        DeviceError: the worker crashed, hung or answered with garbage, or the device is emulated.
    """
    require_timed(runner)
    profile = subject.profile
    half = wants_fp16(subject.precision, profile.scheme, get_backend(profile.backend).HALF_GRAPH)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        entries = []
        with zipfile.ZipFile(folder / "nets.zip", "w") as archive:
            for index, net in enumerate(nets):
                path = folder / f"{index}.onnx"
                write_micronet(net, subject.precision, profile.scheme, path, subject.batch)
                archive.write(_in_fp16(path, subject.precision) if half else path, path.name)
                entries.append({"name": net.name, "engine": path.name, "size": [net.height, net.width]})
        for whole, engine in wholes.items():
            size = list(sides(subject.imgsz))
            entries.append({"name": whole, "engine": runner.push(engine.path), "size": size})
        job = {
            "backend": profile.backend,
            "precision": subject.precision,
            "threads": subject.threads,
            "options": key.options,
            "environment": key.environment,
            "nets": entries,
            "batch": subject.batch,
            "compiles": profile.compile_on == "device",
            "archive": runner.push(folder / "nets.zip"),
            "rounds": plan.rounds,
            "queries": plan.queries,
            "seconds": plan.seconds,
        }

        def follow(line: str) -> None:
            said = said_by(line)
            if "share" in said:  # loading takes about as long as a third of the rounds
                say(0.25 * said["share"] if said["phase"] == "load" else 0.25 + 0.75 * said["share"])

        patience = plan.timeout_s * (COMPILING if job["compiles"] else 1)
        answer = ask(runner, "layers", job, folder, patience, follow)
        rounds, foreign = _rounds(answer, {entry["name"] for entry in entries}, plan.rounds)
    return {name: [ns / 1e6 for ns in values] for name, values in rounds.items()}, foreign


def _in_fp16(path: Path, precision: str) -> Path:
    """Return a network with fp16 in place of float32, as the whole one ships."""
    folder = path.with_suffix("")
    folder.mkdir()
    return to_fp16(Artifact.of(path, "onnx", precision), folder).path


@dataclass(frozen=True)
class _Answer:
    """What the layers' worker answers; see `worker/layers.py`."""

    rounds_ns: dict[str, list[float]]
    foreign: float | None
    version: str | None = None


def _rounds(path: Path, names: set[Any], rounds: int) -> tuple[dict[str, list[float]], float]:
    garbage = "the layers' worker answered with garbage; the same command tries again"
    try:
        answer = read_record(_Answer, path, DeviceError)
    except DeviceError as exc:
        raise DeviceError(garbage) from exc
    found = answer.rounds_ns
    if set(found) != names or any(len(values) != rounds for values in found.values()):
        raise DeviceError(garbage)
    return found, answer.foreign or 0.0


def cost(times: Mapping[str, Sequence[float]], net: Micronet) -> list[float]:
    """Return what the layer alone took in each round, in ms: with it less without it, never below zero."""
    before, after = (times[around.name] for around in net.around)
    rounds = zip(times[net.name], before, after, strict=True)
    return [max(0.0, whole - (left + right) / 2) for whole, left, right in rounds]


def at_one_pace(times: Mapping[str, Sequence[float]]) -> dict[str, list[float]]:
    """Take the machine's moods out of the rounds: each is divided by how slow all networks were in it."""
    table = np.array(list(times.values()))
    pace = np.median(table / np.median(table, axis=1, keepdims=True), axis=0)
    return {name: list(map(float, row)) for name, row in zip(times, table / pace, strict=True)}


def summary(rounds: Sequence[float]) -> dict[str, Any]:
    """Return the median, the distance between the quartiles and the count, by their names in the table."""
    low, median, high = (float(value) for value in np.quantile(rounds, (0.25, 0.5, 0.75)))
    return {"ms": median, "iqr_ms": high - low, "n": len(rounds)}
