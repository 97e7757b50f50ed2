"""What a worker does with an engine that is loaded: one module a scenario, in one literal table.

Section 2 of the protocol in `docs/measurement.md`. This package travels to the device: standard library,
numpy and the runtime are all it needs. `cold` and `memory` are no loops and stand in `worker/benchmark.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from edgeprune.worker.scenarios import paced, single_stream, sustained, throughput
from edgeprune.worker.scenarios.block import Workbench

SCENARIOS: dict[str, Callable[[Workbench], dict[str, Any]]] = {
    "single_stream": single_stream.run,
    "paced": paced.run,
    "throughput": throughput.run,
    "sustained": sustained.run,
}
"""Each checks, warms up, times, and returns the fields of a `records.bench_result.Block`."""
