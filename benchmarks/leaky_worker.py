"""A worker whose sessions keep a megabyte a minute, for `leak.py`. It imports no more than the real one."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from edgeprune.backends import get_backend
from edgeprune.worker import benchmark as worker

MB_PER_MINUTE = 1.0
_CHUNK = 16384  # bytes, small enough to come from the heap as an application's leaks do


class Leaking:
    """A session that keeps memory at a rate.

    Attributes:
        rate: MB of 1e6 bytes a minute of `clock`, which counts nanoseconds.
    """

    def __init__(
        self, session: Any, rate: float = MB_PER_MINUTE, clock: Callable[[], int] = time.perf_counter_ns
    ) -> None:
        self.actual, self.compile_ms = session.actual, session.compile_ms
        self._session, self._rate, self._clock = session, rate, clock
        self._began = clock()
        self._kept: list[bytes] = []

    def __call__(self, images: Any) -> Any:
        """Run the session, and keep what the time so far asks for."""
        due = self._rate * 1e6 * (self._clock() - self._began) / 60e9
        while len(self._kept) * _CHUNK < due:
            self._kept.append(bytes([len(self._kept) % 255 + 1]) * _CHUNK)  # not zero: the pages are written
        return self._session(images)


def main(argv: Sequence[str]) -> int:
    """Be a worker whose sessions leak."""
    backend: Any = get_backend(json.loads(Path(argv[0]).read_text())["backend"])
    load = backend.load
    backend.load = lambda *how: Leaking(load(*how))
    return worker.main(argv)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
