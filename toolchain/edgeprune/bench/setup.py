"""Which scenario `bench` is to run, and what goes with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from edgeprune.bench.effort import BenchProfile
from edgeprune.core.errors import ConfigError
from edgeprune.records.bench_result import Job, Scenario

CAMERA_RATES: Final = (30.0, 10.0, 5.0)
# What makes a runtime keep compiled models between processes. Without these none does.
_MODEL_CACHES: Final = (
    "CACHE_DIR",
    "provider.trt_engine_cache_enable",
    "provider.trt_timing_cache_enable",
    "provider.cache_dir",
    "ORT_TENSORRT_ENGINE_CACHE_ENABLE",
    "ORT_TENSORRT_TIMING_CACHE_ENABLE",
    "OV_CACHE_DIR",
)


@dataclass(frozen=True)
class Setup:
    """A scenario with its settings.

    Attributes:
        fps: camera rates of `paced`, one run each.
        in_flight: queries at once of `throughput`.
        seconds: how long to measure instead of the profile's least queries and seconds.
    """

    scenario: Scenario = "single_stream"
    fps: tuple[float, ...] = CAMERA_RATES
    in_flight: int = 1
    seconds: float | None = None

    def jobs(self, jobs: Sequence[Job]) -> list[Job]:
        """Return a job for each run: of `paced` one a rate, with names that tell them apart.

        Raises:
            ConfigError: `paced` for an engine that takes several images at once.
        """
        match self.scenario:
            case "single_stream":
                return list(jobs)
            case "paced":
                if several := next((job for job in jobs if job.batch > 1), None):
                    raise ConfigError(
                        f"{several.name}: it takes {several.batch} images at once, but a camera's frames "
                        "come one by one: --scenario paced measures engines of one image"
                    )
                return [
                    _named(job, f"paced {fps:g} FPS", {"scenario": "paced", "fps": fps})
                    for job in jobs
                    for fps in self.fps
                ]
            case "throughput":
                more = {"scenario": "throughput", "in_flight": self.in_flight}
                return [_named(job, f"throughput x{self.in_flight}", more) for job in jobs]
            case "cold":
                return [_named(without_model_cache(job), "cold", {"scenario": "cold"}) for job in jobs]
            case _:
                return [_named(job, self.scenario, {"scenario": self.scenario}) for job in jobs]

    def plan(self, plan: BenchProfile) -> BenchProfile:
        """Return how much to measure: the profile's, or so many seconds."""
        if self.scenario == "cold":
            plan = replace(plan, blocks=plan.cold_runs)
        if self.seconds is None:
            return plan
        return replace(
            plan,
            min_queries=plan.blocks,
            min_seconds=self.seconds,
            timeout_s=plan.timeout_s + 2 * self.seconds,
        )


def without_model_cache(job: Job) -> Job:
    """Return a job whose runtime compiles the model in each process, as a first start does."""

    def kept(settings: Mapping[str, str]) -> dict[str, str]:
        return {key: value for key, value in settings.items() if key not in _MODEL_CACHES}

    return job.model_copy(update={"options": kept(job.options), "environment": kept(job.environment)})


def _named(job: Job, what: str, update: Mapping[str, object]) -> Job:
    return job.model_copy(update={**update, "name": f"{job.name} {what}"})
