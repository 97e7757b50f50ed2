"""What an engine answers, computed in a process of its own: a file from anywhere may crash or never end."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from edgeprune.bench.ask import ask
from edgeprune.core.documents import read_json, read_record
from edgeprune.core.errors import CompileError, DeviceError, EdgepruneError, ModelError
from edgeprune.records.bench_result import Job
from edgeprune.runners import Runner
from edgeprune.runners.local import LocalRunner
from edgeprune.worker.turns import said_by

Array = np.ndarray[Any, Any]

FIRST_S = 300.0  # for loading and the first answer: a large network on a small board takes a minute
REFERENCE_S = 60.0  # after which no further input is asked for: a slow engine is compared on fewer
_ERRORS = {error.exit_code: error for error in (ModelError, CompileError)}


class Answer(BaseModel):
    """What ran.

    Attributes:
        actual: what the session says it really uses (`Session.actual`).
        quantized_ops: convolutions that run in integers, of an int8 engine; None where nothing tells.
        irregular: why its outputs were not kept, such as a shape that changes; None for arrays that were.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    machine: str
    version: str | None
    actual: dict[str, Any]
    quantized_ops: int | None
    irregular: str | None = None


def ask_engine(
    job: Job, runner: Runner, folder: Path, timeout_s: float, say: Callable[[Mapping[str, Any]], None]
) -> tuple[Answer, list[Array]]:
    """Return what an engine answers on a device to all inputs of a job: arrays (n, ...), one an output.

    Args:
        say: called with what the worker says: ``phase`` and ``share``.

    Raises:
        DeviceError: the worker crashed, hung, or answered with garbage; the message names the job.
        ModelError: its outputs have no regular shape.
    """
    request = _request(job, runner)
    try:
        file = ask(runner, "answer", request, folder, timeout_s, lambda line: say(said_by(line)), [".npz"])
    except DeviceError as exc:
        raise DeviceError(f"{job.name}: {exc}") from exc
    answer = _read(file, job, runner)
    if answer.irregular:
        raise ModelError(f"{job.name}: {answer.irregular}: there is nothing to compare")
    try:
        with np.load(f"{file}.npz", allow_pickle=False) as stored:
            return answer, [stored[f"out{index}"] for index in range(len(stored.files))]
    except Exception as exc:  # numpy raises what zip files, headers and sizes lead it to
        raise _garbage(job, runner) from exc


def reference_of(job: Job, folder: Path) -> Path | None:
    """Return a file with what an engine answers here to the inputs of a job; None where its shapes change.

    Of an engine that is slow, or whose outputs are large, the file holds fewer answers, at least one.

    Raises:
        CompileError: the runtime cannot load it.
        ModelError: its outputs are beyond what is kept.
        DeviceError: it crashed, or gave no answer within five minutes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    runner = LocalRunner()
    request = _request(job, runner) | {"seconds": REFERENCE_S}
    try:
        file = ask(runner, "answer", request, folder, FIRST_S + REFERENCE_S, beside=[".npz"])
    except DeviceError as exc:
        raise _here(job.name, job.backend, exc) from exc
    return None if _read(file, job, runner).irregular else Path(f"{file}.npz")


@dataclass(frozen=True)
class Facts:
    """What a runtime tells of a file that only it can read.

    Attributes:
        input_shape: as `Backend.input_shape` tells it.
        precision: int8 where convolutions are in integers, else fp32, in which fp16 weights are run as well.
    """

    input_shape: list[int]
    precision: str


def facts_of(backend: str, engine: Path) -> Facts:
    """Ask a runtime for the facts of a file, in a process of its own.

    Raises:
        CompileError: the runtime cannot load it, or is not installed.
        DeviceError: it crashed, or gave no answer within five minutes.
    """
    found = engine.resolve().stat()
    return _facts(backend, engine.resolve(), (found.st_size, found.st_mtime_ns))


@functools.lru_cache(maxsize=64)
def _facts(backend: str, engine: Path, content: tuple[int, int]) -> Facts:
    request = {"backend": backend, "engine": str(engine)}
    with tempfile.TemporaryDirectory() as folder:
        try:
            file = ask(LocalRunner(), "engine", request, Path(folder), FIRST_S)
        except DeviceError as exc:
            raise _here(str(engine), backend, exc) from exc
        told = read_json(file, DeviceError)
    return Facts(told["input_shape"], "int8" if told["quantized_ops"] else "fp32")


def _request(job: Job, runner: Runner) -> dict[str, Any]:
    """Return what the worker is told, with the paths that the device knows."""
    engine, inputs = runner.push_all([Path(job.engine), Path(job.inputs)])
    return job.model_copy(update={"engine": engine, "inputs": inputs}).model_dump(mode="json")


def _read(file: Path, job: Job, runner: Runner) -> Answer:
    try:
        return read_record(Answer, file, DeviceError)
    except DeviceError as exc:
        raise _garbage(job, runner) from exc


def _garbage(job: Job, runner: Runner) -> DeviceError:
    return DeviceError(f"{job.name}: the worker on {runner.name} answered with garbage")


def _here(name: str, backend: str, exc: DeviceError) -> EdgepruneError:
    """Return the worker's own error where it ended with one, else that the engine cannot be run."""
    if exc.returncode in _ERRORS:
        return _ERRORS[exc.returncode](exc.said)
    return DeviceError(f"{name}: it cannot be run in {backend} here: {exc.how or exc}")
