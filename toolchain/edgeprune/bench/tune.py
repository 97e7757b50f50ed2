"""Which environment a runtime is fastest in, by measurement on the target.

oneDNN picks the newest instruction set a CPU reports. That is not always the fastest: on a virtual machine
with AMX an int8 yolov8n took 18 ms with AMX tiles and 12 ms with AVX512-VNNI, at 320 px on one thread.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from edgeprune.bench.effort import BenchProfile
from edgeprune.bench.protocol import measure
from edgeprune.bench.side_by_side import speedup
from edgeprune.records.bench_result import Job

if TYPE_CHECKING:
    from edgeprune.runners import Runner

WORTH_IT = 1.03  # a special environment has to gain at least 3 % to be worth asking the user for


def fastest_environment(
    job: Job, choices: Sequence[Mapping[str, str]], runner: Runner, plan: BenchProfile
) -> dict[str, str]:
    """Measure a job plain and under each set of environment variables, in turns; return the fastest set.

    Returns:
        The variables, or an empty dictionary when none of the sets is proven faster than none, by 3 %.
    """
    jobs = [job] + [
        job.model_copy(update={"name": f"{job.name} {index}", "environment": dict(choice)})
        for index, choice in enumerate(choices)
    ]
    plain, *others = measure(jobs, plan, runner)
    gains = [speedup(plain, other) for other in others]
    best = max(zip(gains, jobs[1:], strict=True), key=lambda entry: entry[0].times if entry[0] else 0.0)
    return dict(best[1].environment) if best[0] and best[0].proven and best[0].times > WORTH_IT else {}
