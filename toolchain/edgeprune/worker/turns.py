"""Several workers side by side on the device: each is loaded and warm, and they take short turns at timing.

``python -m edgeprune.worker.turns JOB.json OUT.json [JOB.json OUT.json ...]``. A machine that others share
changes its speed by tens of per cent from one second to the next: a neighbour on the same physical core shows
in no counter. Measured one after the other, two runs of one engine on such a machine differed by 20 %
(standard deviation); in turns of four queries, by 1 %. Standard library only, like the worker.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from edgeprune.core.documents import parse_json, read_json
from edgeprune.core.errors import DeviceError, how_it_ended
from edgeprune.core.processes import own_python
from edgeprune.worker import affinity, live, telemetry
from edgeprune.worker.sensors import contention

_TOLD_EVERY_S = 1.0
_CALM = 0.05  # of the time of the cores in use, taken by others: below it nobody is in the way
_LOOKED_S = 1.0
_KEPT_BYTES = 1 << 16  # of what a worker prints: a runtime may print without end


def said_by(line: str) -> dict[str, Any]:
    """Return what a worker's line of output says, nothing for a line that its runtime printed."""
    with contextlib.suppress(DeviceError):
        said = parse_json(line, "a worker", DeviceError)
        if isinstance(said, dict) and "phase" in said:
            return said
    return {}


class _WorkerEndedError(Exception):
    """A worker stopped before its time; the text names its job and says why."""


class _Worker:
    """One worker process that measures when it is told to."""

    def __init__(self, job_path: str, out_path: str) -> None:
        self.told: dict[str, Any] = {}
        self.job: dict[str, Any] = read_json(Path(job_path), DeviceError)
        self.errors = b""  # the end of what it printed there
        self.process = subprocess.Popen(
            own_python("edgeprune.worker.benchmark", job_path, out_path),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self.lines = self._lines()

    def until(self, phase: str) -> dict[str, Any]:
        """Read what it says up to a phase and return that line."""
        for line in self.lines:
            said = said_by(line)
            if said.get("phase") == phase:
                return said
            if said:
                _say(said["phase"], job=self.job["name"])
        raise self._ended()

    def turn(self) -> float:
        """Let it measure for one turn; return the share of its minima that it has reached."""
        assert self.process.stdin
        with contextlib.suppress(BrokenPipeError):  # `until` tells why
            self.process.stdin.write(b"turn\n")
            self.process.stdin.flush()
        said = self.until("turn")
        self.told = {key: said[key] for key in ("n", "p50_ms") if key in said}
        return float(said["share"])

    def finish(self) -> None:
        """Let it write its report."""
        assert self.process.stdin
        self.process.stdin.close()
        for _ in self.lines:
            pass
        if self.process.wait():
            raise self._ended()

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            with contextlib.suppress(OSError):  # what was not read any more
                stream.close()  # type: ignore[union-attr]  # all are opened with PIPE

    def _lines(self) -> Iterator[str]:
        """Yield its lines to the last; one that is silent for the job's `patience_s` has hung."""
        assert self.process.stdout and self.process.stderr
        out, errors = self.process.stdout.fileno(), self.process.stderr.fileno()
        open_, unread = {out, errors}, b""
        while out in open_:
            ready = select.select(list(open_), [], [], self.job["patience_s"] or None)[0]
            if not ready:
                raise _WorkerEndedError(
                    f"{self.job['name']}: it hangs: silent for {self.job['patience_s']:g} s"
                )
            for pipe in ready:
                said = os.read(pipe, 1 << 16)
                if not said:
                    open_.discard(pipe)
                elif pipe == errors:
                    self.errors = (self.errors + said)[-_KEPT_BYTES:]
                else:
                    *lines, unread = (unread + said).split(b"\n")
                    unread = unread[-_KEPT_BYTES:]
                    yield from (line.decode(errors="replace") for line in lines)

    def _ended(self) -> _WorkerEndedError:
        assert self.process.stderr
        how = how_it_ended(self.process.wait())
        self.errors += self.process.stderr.read() or b""
        lines = [line.strip() for line in self.errors.decode(errors="replace").splitlines() if line.strip()]
        return _WorkerEndedError(
            f"{self.job['name']}: {how}: {lines[-1] if lines else 'nothing on standard error'}"
        )


def main(argv: Sequence[str]) -> int:
    """Run the workers of the job files in turns, with telemetry beside them; return the exit status."""
    with telemetry.beside(argv[1]) as watch:
        return _take_turns(argv, watch)


def _take_turns(argv: Sequence[str], watch: telemetry.Beside) -> int:
    """Run them until each has measured enough."""
    workers: list[_Worker] = []
    try:
        for job_path, out_path in zip(argv[::2], argv[1::2], strict=True):
            workers.append(_Worker(job_path, out_path))
            watch.watch(workers[-1].process.pid)
            workers[-1].until("ready")  # one at a time: a warm-up beside another is none
        _until_calm(workers[0].job)
        told = time.monotonic()
        while (least := min([worker.turn() for worker in workers])) < 1:
            if time.monotonic() - told > _TOLD_EVERY_S:
                told = time.monotonic()
                rows = {worker.job["name"]: worker.told for worker in workers}
                _say("measure", share=least, rows=rows, **live.temperature())
        for worker in workers:
            worker.finish()
    except _WorkerEndedError as exc:
        print(exc, file=sys.stderr)
        return 1
    finally:
        for worker in workers:
            worker.stop()
    return 0


def _until_calm(job: dict[str, Any]) -> None:
    """Wait until others leave the workers' cores, for the job's `calm_s` at most; the workers are idle."""
    if not job.get("calm_s"):
        return
    cores = affinity.best_cores(job["threads"], os.sched_getaffinity(0))
    deadline = time.monotonic() + job["calm_s"]
    while time.monotonic() < deadline:
        before, since = contention.read_busy_s(cores), time.monotonic()
        time.sleep(_LOOKED_S)
        after = contention.read_busy_s(cores)
        if before is None or after is None:
            return
        if after - before < _CALM * len(cores) * (time.monotonic() - since):
            return


def _say(phase: str, **more: Any) -> None:
    print(json.dumps({"phase": phase, **more}), flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
