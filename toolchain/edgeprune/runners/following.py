"""Read what a process prints until it ends, within bounds of time and size."""

from __future__ import annotations

import contextlib
import os
import selectors
import subprocess
import time
from collections.abc import Callable

MOST_BYTES = 32 << 20
"""What a process may print on one of its streams; a runtime that warns of every query stays far below."""
_LOOK_EVERY_S = 0.5  # whether it has ended: a helper that it left may hold its streams
_CHUNK = 1 << 16


class Followed:
    """What a process printed.

    Attributes:
        stopped: why it was not followed to its own end, such as ``no answer within 5 s``; else empty.
    """

    def __init__(self, on_line: Callable[[str], None] | None = None) -> None:
        self.stopped = ""
        self._on_line = on_line
        self._said = {"stdout": bytearray(), "stderr": bytearray()}
        self._told = 0

    @property
    def stdout(self) -> str:
        """Its standard output so far."""
        return _text(self._said["stdout"])

    @property
    def stderr(self) -> str:
        """Its standard error so far."""
        return _text(self._said["stderr"])

    def to_the_end(self, process: subprocess.Popen[bytes], timeout: float) -> None:
        """Read both streams, opened with PIPE, until the process ends or must not go on; it is not killed."""
        deadline = time.monotonic() + timeout
        with contextlib.ExitStack() as stack:
            selector = stack.enter_context(selectors.DefaultSelector())
            for name, stream in (("stdout", process.stdout), ("stderr", process.stderr)):
                if stream is not None:
                    selector.register(stack.enter_context(stream), selectors.EVENT_READ, name)
            while selector.get_map() and not self.stopped:
                over = process.poll() is not None
                left = deadline - time.monotonic()
                if left <= 0:
                    self.stopped = f"no answer within {timeout:g} s"
                    return
                ready = selector.select(0 if over else min(left, _LOOK_EVERY_S))
                if over and not ready:
                    return
                for key, _ in ready:
                    chunk = os.read(key.fd, _CHUNK)
                    if not chunk:
                        selector.unregister(key.fileobj)
                    self._take(key.data, chunk)
        try:
            process.wait(max(0.0, deadline - time.monotonic()) if not self.stopped else 0)
        except subprocess.TimeoutExpired:
            self.stopped = self.stopped or f"no answer within {timeout:g} s"

    def _take(self, name: str, chunk: bytes) -> None:
        said = self._said[name]
        said += chunk
        if len(said) > MOST_BYTES:
            self.stopped = f"it printed more than {MOST_BYTES >> 20} MB"
        if name != "stdout" or not self._on_line:
            return
        while (end := said.find(b"\n", self._told)) >= 0:
            line, self._told = bytes(said[self._told : end]), end + 1
            self._on_line(line.decode(errors="replace").rstrip("\r"))


def _text(said: bytearray) -> str:
    return said.decode(errors="replace").replace("\r\n", "\n").replace("\r", "\n")
