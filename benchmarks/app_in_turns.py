"""OpenVINO's own `benchmark_app` (Python), made to wait for its turn between queries.

    python benchmarks/app_in_turns.py QUERIES OPTIONS...

Of its synchronous loop the request is wrapped, nothing else: before each turn of so many queries it waits for
a line on standard input and runs one query that its clock does not see. What is timed, how, and what is
printed of it stay the tool's.
"""

from __future__ import annotations

import sys
from typing import Any

from openvino.tools.benchmark.benchmark import Benchmark
from openvino.tools.benchmark.main import main

from edgeprune.worker.scenarios.block import say


class Waiting:
    """A request whose `infer` waits for its turn."""

    def __init__(self, request: Any, queries: int) -> None:
        self.request, self.queries, self.left = request, queries, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.request, name)

    def infer(self) -> None:
        """Run one query, the first of a turn after another one without a clock."""
        if not self.left:
            sys.stdin.readline()
            self.request.infer()
            self.left = self.queries
        self.request.infer()
        self.left -= 1
        if not self.left:
            say("turn")


if __name__ == "__main__":
    queries = int(sys.argv.pop(1))
    plain = Benchmark.sync_inference

    def in_turns(self: Benchmark, request: Any, data_queue: Any) -> Any:
        """Run the tool's own loop with a request that waits."""
        say("ready")
        return plain(self, Waiting(request, queries), data_queue)

    Benchmark.sync_inference = in_turns
    sys.exit(main())
