"""One bench on one or several devices: each in a thread of its own, none loses another's results."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from edgeprune.bench.against import need_tool, with_tool
from edgeprune.bench.effort import BenchProfile
from edgeprune.bench.placing import measure_subjects
from edgeprune.bench.setup import Setup
from edgeprune.bench.subject import subjects_of
from edgeprune.core.errors import DeviceError, EdgepruneError, IncompleteError, OutputError
from edgeprune.records.bench_result import BenchResult
from edgeprune.records.scores import Accuracy
from edgeprune.runners import Runner
from edgeprune.runners.devices import LOCAL, runner_for
from edgeprune.runners.known import Place
from edgeprune.runners.recording import RecordingRunner

Notify = Callable[[str, float, str], None]


@dataclass(frozen=True)
class Request:
    """What is measured, wherever.

    Attributes:
        path: engine or build folder.
        target: profile of a lone engine; None takes the device's own, then `cpu`.
        record: folder that the runs are recorded in; None records nothing.
        against: a vendor's tool of `against.TOOLS` to run on this machine as well.
    """

    path: Path
    target: str | None
    threads: int
    profile: BenchProfile
    setup: Setup
    record: Path | None = None
    against: str | None = None


@dataclass(frozen=True)
class Outcome:
    """What one device gave.

    Attributes:
        results: all of them, or what was finished when `error` came, marked incomplete.
        accuracies: what a build has measured, by the engine's digest.
    """

    place: Place
    results: tuple[BenchResult, ...] = ()
    accuracies: tuple[tuple[str, Accuracy | None], ...] = ()
    error: EdgepruneError | None = None


def measure_on(places: Sequence[Place], request: Request, notify: Notify) -> list[Outcome]:
    """Measure on all devices at once; return what each gave, in the order of `places`.

    A single device is measured in this very thread. Of several, none starts to measure before all are
    prepared: that is work for this machine, which may be one of them.

    Args:
        notify: called with (the device's name, share done in [0, 1], a few words).
    """
    if len(places) == 1:
        return [_outcome(places[0], request, notify, lambda: None)]
    start, stopped = threading.Barrier(len(places)), threading.Event()

    def told(stage: str, share: float, text: str) -> None:
        if stopped.is_set():
            raise DeviceError(f"{stage}: interrupted")
        notify(stage, share, text)

    with ThreadPoolExecutor(len(places)) as pool:
        try:
            futures = [pool.submit(_together, place, request, told, start) for place in places]
            return [future.result() for future in futures]
        except KeyboardInterrupt:
            stopped.set()  # the next word of each device's worker ends it
            raise


def _together(place: Place, request: Request, notify: Notify, start: threading.Barrier) -> Outcome:
    waited = False

    def wait() -> None:
        nonlocal waited
        if not waited:
            waited = True
            start.wait()

    try:
        own = (
            request if request.record is None else replace(request, record=request.record / slug(place.name))
        )
        return _outcome(place, own, notify, wait)
    except OutputError as exc:  # such as a full disk here: the other devices go on
        return Outcome(place, error=DeviceError(f"{place.name}: {exc}"))
    except OSError as exc:
        return Outcome(place, error=DeviceError(f"{place.name}: {exc.filename or ''}: {exc.strerror}"))
    finally:
        wait()  # one that failed while it was prepared keeps no other waiting


def _outcome(place: Place, request: Request, notify: Notify, ready: Callable[[], None]) -> Outcome:
    accuracies: tuple[tuple[str, Accuracy | None], ...] = ()
    try:
        with _runner(place, request.record) as runner:
            here = place.address == LOCAL
            subjects = subjects_of(
                request.path, request.target or place.target, machine=None if here else runner.machine
            )
            accuracies = tuple((one.engine.sha256, one.accuracy) for one in subjects)
            if request.against:
                need_tool(request.against, subjects)
            results = measure_subjects(
                subjects,
                request.threads,
                request.profile,
                runner,
                lambda done, total, text: notify(place.name, done / max(total, 1), text),
                request.setup,
                ready,
            )
            if request.against:
                seconds = request.setup.plan(request.profile).min_seconds
                results = with_tool(
                    request.against,
                    subjects,
                    results,
                    request.threads,
                    seconds,
                    runner,
                    lambda text: notify(place.name, 1.0, text),
                )
    except IncompleteError as exc:
        return Outcome(place, _at(place, exc.results), accuracies, exc)
    except EdgepruneError as exc:
        return Outcome(place, error=exc)
    return Outcome(place, _at(place, results), accuracies)


def _runner(place: Place, record: Path | None) -> Runner:
    runner = runner_for(place.address)
    return runner if record is None else RecordingRunner(runner, record)


def _at(place: Place, results: Sequence[BenchResult]) -> tuple[BenchResult, ...]:
    return tuple(result.model_copy(update={"device": result.device or place.name}) for result in results)


def slug(device: str) -> str:
    """Return a device's name as the name of a folder."""
    return (
        "".join(char if char.isalnum() or char in "-_." else "-" for char in device).strip("-.") or "device"
    )
