"""`throughput`: queries in flight at once, each answer compared: offline work, and the test of concurrency.

A thread for each query in flight, since the runtimes leave Python's lock while they compute. What the
sessions share is each backend's own matter (`Backend.load_many`).
"""

from __future__ import annotations

import itertools
import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Any

from edgeprune.worker import live
from edgeprune.worker.scenarios.block import SAY_EVERY_NS, Workbench, difference, measure_loop, say

if TYPE_CHECKING:
    from edgeprune.backends import Session
    from edgeprune.worker.scenarios.block import Array

GoesOn = Callable[[list[tuple[int, int]]], bool]
"""Given a thread's own queries so far, start and end in ns: whether it begins another."""
SAME_ENGINE = 2e-2  # the most that an engine may differ from itself, whatever its reference may differ by
SETTLING_QUERIES = 10  # for each in flight, before timing


def run(bench: Workbench) -> dict[str, Any]:
    """Keep the job's number of queries in flight until its minima are met, and compare every answer.

    ``output_ok`` is False as well when an answer beside others is not the one that its input gives alone.
    """
    job = bench.job
    alone = [[output.copy() for output in bench.sessions[0](images)] for images in bench.inputs]
    tolerance = min(job["tolerance"], SAME_ENGINE)
    with Crew(bench.sessions, bench.inputs, Answers(alone, tolerance)) as crew:

        def settle() -> int:
            return len(crew.run(SETTLING_QUERIES * len(bench.sessions), 0.0)["samples_ns"])

        def loop() -> dict[str, Any]:
            say("measure")
            return crew.run(job["min_queries"], job["min_seconds"])

        block = measure_loop(bench, loop, settle)
    if crew.answers.wrong:
        block["output_ok"] = False
    return block | {"cross_talk": crew.answers.wrong, "cross_talk_error": crew.answers.worst}


@dataclass
class Answers:
    """What each input gives when it is alone, and how many answers beside others were something else.

    Attributes:
        worst: largest relative L2 error of a wrong answer; None where it could not be compared.
    """

    alone: Sequence[Sequence[Array]]
    tolerance: float
    wrong: int = 0
    worst: float | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def compare(self, row: int, outputs: Sequence[Array]) -> None:
        """Count an answer that is wrong. The bits are compared first: most answers need no more."""
        expected = self.alone[row]
        if len(outputs) == len(expected) and all(map(_same_bits, outputs, expected)):
            return
        error = difference(outputs, expected)
        if error is None or error > self.tolerance:
            with self._lock:
                self.wrong += 1
                self.worst = None if error is None else max(error, self.worst or 0.0)


def _same_bits(one: Array, other: Array) -> bool:
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    if one.flags.c_contiguous and other.flags.c_contiguous and one.nbytes % 8 == 0:
        one, other = (array.reshape(-1).view("int64") for array in (one, other))
    return bool((one == other).all())


class Crew:
    """A thread a session. They live until the end, so that their waiting for a core can still be read."""

    def __init__(self, sessions: Sequence[Session], inputs: list[Array], answers: Answers) -> None:
        self.answers = answers
        self._inputs = inputs
        self._orders: list[queue.SimpleQueue[GoesOn | None]] = []
        self._done: queue.SimpleQueue[list[tuple[int, int]] | BaseException] = queue.SimpleQueue()
        self._next = itertools.count()  # its `next` is atomic
        self._failed = threading.Event()
        self._threads = []
        for session in sessions:
            orders: queue.SimpleQueue[GoesOn | None] = queue.SimpleQueue()
            self._orders.append(orders)
            self._threads.append(threading.Thread(target=self._serve, args=(session, orders), daemon=True))

    def __enter__(self) -> Crew:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        for orders in self._orders:
            orders.put(None)
        for thread in self._threads:
            thread.join()

    def run(self, min_queries: int, min_seconds: float) -> dict[str, Any]:
        """Keep every session busy until both minima are met; return samples, starts and elapsed time, ns."""
        clock = time.perf_counter_ns
        started = itertools.count()
        begin = told = clock()
        deadline = begin + int(min_seconds * 1e9)

        def goes_on(own: list[tuple[int, int]]) -> bool:
            nonlocal told
            now, count = clock(), next(started)
            if now - told > SAY_EVERY_NS:
                told = now
                of_time = (now - begin) / (deadline - begin) if min_seconds else 1.0
                latest = live.figures([end - start for start, end in own[-live.LATEST :]])
                done = min(1.0, of_time, count / min_queries)
                say("measure", share=done, **latest | {"n": count}, **live.temperature())
            return not self._failed.is_set() and (count < min_queries or now < deadline)

        for orders in self._orders:
            orders.put(goes_on)
        spans = []
        for _ in self._threads:
            answer = self._done.get()
            if isinstance(answer, BaseException):
                raise answer
            spans += answer
        spans.sort()
        return {
            "samples_ns": [end - start for start, end in spans],
            "starts_ns": [start - begin for start, _ in spans],
            "elapsed_ns": max(end for _, end in spans) - begin,
        }

    def _serve(self, session: Session, orders: queue.SimpleQueue[GoesOn | None]) -> None:
        while (goes_on := orders.get()) is not None:
            try:
                self._done.put(self._queries(session, goes_on))
            except BaseException as exc:
                self._failed.set()
                self._done.put(exc)

    def _queries(self, session: Session, goes_on: GoesOn) -> list[tuple[int, int]]:
        clock, n = time.perf_counter_ns, len(self._inputs)
        spans: list[tuple[int, int]] = []
        while goes_on(spans):
            row = next(self._next) % n
            start = clock()
            outputs = session(self._inputs[row])
            spans.append((start, clock()))
            self.answers.compare(row, outputs)
        return spans
