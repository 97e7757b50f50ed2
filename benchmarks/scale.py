"""Time and memory of a build, step by step, over the size of the network, of its input, and of the data set.

    python -m benchmarks.scale --out scale

One of the three is varied at a time; the first of each list is the base. Every point is `edgeprune build` as
a process of its own, on digits that are drawn for it (`edgeprune.images.demo`): half of the images are in
train, a quarter in val, a quarter in test. A point that was measured is kept; one that was killed begins
anew. yolov8n is the trained network that the package brings. Others have random weights: they find as many
objects as an evaluation takes, so theirs is the most expensive one.

Exits with 1 where a step takes more than its share of time for more images.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import psutil

from edgeprune.core.artifact import STAGES
from edgeprune.core.files import write_text_atomically
from edgeprune.images import demo
from edgeprune.worker.environment import read_resident, read_status
from edgeprune.worker.sensors.cpu import read_model

EVERY_S, LOOK_S = 0.05, 0.5
"""Between two looks at which step it is, and at the memory of all processes, which takes longer. What the
build's own process holds at most is told by the kernel, exactly."""
BEFORE, AFTER = "load", "between steps"
"""What a build does while no stage is being made: before the first one, and after it."""
PARTIAL = ".partial-"
SLACK = 1.15
"""So much more than the images may the time of a step grow: it is measured, and differs from run to run."""
LEAST_S = 2.0
"""What takes less CPU time at the largest count is not judged."""
SCORE = -2.0
"""Of every class at every place, before the sigmoid, in a network with random weights."""


@dataclass(frozen=True, order=True)
class Point:
    """A build: the network, the side of its input in pixels, and the number of images."""

    network: str
    imgsz: int
    images: int

    @property
    def name(self) -> str:
        """What its folder is called."""
        return f"{self.network}-{self.imgsz}-{self.images}"


@dataclass(frozen=True)
class Step:
    """What a step took: seconds on the clock, seconds of CPU time, and the most memory.

    Attributes:
        peak_mb: of the build's process and all that it started, pages that they share counted once (1e6
            bytes).
    """

    seconds: float = 0.0
    cpu_s: float = 0.0
    peak_mb: float = 0.0

    def then(self, other: Step) -> Step:
        """Return both together, as of one step."""
        return Step(self.seconds + other.seconds, self.cpu_s + other.cpu_s, max(self.peak_mb, other.peak_mb))


@dataclass(frozen=True)
class Found:
    """A measured point.

    Attributes:
        busy_cores: cores that other processes kept busy meanwhile, on average.
    """

    point: Point
    steps: Mapping[str, Step]
    busy_cores: float
    machine: str
    date: str

    @property
    def whole(self) -> Step:
        """All of its steps together."""
        total = Step()
        for step in self.steps.values():
            total = total.then(step)
        return total


def main(given: Sequence[str] | None = None) -> int:
    """Measure every point that is not there yet, and print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--networks", nargs="+", default=["yolov8n", "yolov8s", "yolov8m"])
    parser.add_argument("--imgsz", nargs="+", type=int, default=[demo.IMGSZ, 320, 640])
    parser.add_argument("--images", nargs="+", type=int, default=[200, 2_000, 20_000])
    parser.add_argument("--target", default="x86-ort")
    parser.add_argument("more", nargs="*", help="further options of every build, after --")
    options = parser.parse_args(given)
    found = []
    for point in points_of(options.networks, options.imgsz, options.images):
        found.append(measured(point, options.out, options.target, options.more))
        print(f"{point.name}: {found[-1].whole.seconds:.0f} s", file=sys.stderr, flush=True)
    base = found[0].point
    along = [one for one in found if (one.point.network, one.point.imgsz) == (base.network, base.imgsz)]
    print("\n".join((*builds_table(found), "", *steps_table(along))))
    faults = faster_than_linear(along)
    print("\n" + ("; ".join(faults) if faults else "No step takes more than its share for more images."))
    return bool(faults)


def points_of(networks: Sequence[str], sizes: Sequence[int], counts: Sequence[int]) -> list[Point]:
    """Return the points: from the first of each list on, one of the three is varied at a time."""
    base = Point(networks[0], sizes[0], counts[0])
    points = [replace(base, images=count) for count in counts]
    points += [replace(base, network=name) for name in networks]
    points += [replace(base, imgsz=size) for size in sizes]
    return list(dict.fromkeys(points))


def measured(point: Point, out: Path, target: str, more: Sequence[str]) -> Found:
    """Return what is kept of a point, or build it now; of the build only its summary stays."""
    kept = out / f"{point.name}.json"
    if kept.is_file():
        return read_found(json.loads(kept.read_text()))
    build = out / point.name
    shutil.rmtree(build, ignore_errors=True)
    command = [
        *(sys.executable, "-m", "edgeprune", "build", "--model", str(network(point, out))),
        *("--data", str(data(point.images, out)), "--target", target, "--imgsz", str(point.imgsz)),
        *("--ratio", "0.3", "--epochs", "1", "--max-drop", "1", "--bench", "quick", "--out", str(build)),
        *more,
    ]
    before, started = _busy_s(), time.monotonic()
    steps = watch(command, build, out / f"{point.name}.log")
    others = _busy_s() - before - sum(step.cpu_s for step in steps.values())
    found = Found(
        point,
        steps,
        round(max(others, 0.0) / (time.monotonic() - started), 2),
        f"{read_model()}, {os.cpu_count()} cores",
        datetime.now(timezone.utc).isoformat(timespec="minutes"),
    )
    shutil.copy(build / "summary.json", out / f"{point.name}.summary.json")
    shutil.rmtree(build)
    write_text_atomically(kept, json.dumps(asdict(found), indent=1) + "\n")
    return found


def read_found(content: Mapping[str, Any]) -> Found:
    """Return a point as `measured` keeps it."""
    steps = {name: Step(**step) for name, step in content["steps"].items()}
    return Found(**{**content, "point": Point(**content["point"]), "steps": steps})


def network(point: Point, out: Path) -> Path:
    """Return the checkpoint of a point: the demo's where it is that network, else one with random weights."""
    trained = demo.digits_model()
    path = out / f"{point.network}.pt"
    if trained.stem.startswith(f"digits_{point.network}_"):
        return trained
    if not path.is_file():
        import torch
        from ultralytics.nn.tasks import DetectionModel

        from edgeprune.adapters.ultralytics.checkpoint import save

        torch.manual_seed(0)
        model = DetectionModel(f"{point.network}.yaml", nc=10, verbose=False).eval()
        for level in model.model[-1].cv3:
            torch.nn.init.constant_(level[-1].bias, SCORE)
        model.names, model.args = {index: str(index) for index in range(10)}, {"imgsz": point.imgsz}
        path.parent.mkdir(parents=True, exist_ok=True)
        save(model, path)
    return path


def data(images: int, out: Path) -> Path:
    """Return the data.yaml of a set of so many images, which is drawn if it is not there."""
    place, partial = out / "data" / str(images), out / "data" / f"{images}.partial"
    if not place.is_dir():
        shutil.rmtree(partial, ignore_errors=True)
        quarter = images // 4
        demo.render(partial, {"train": images - 2 * quarter, "val": quarter, "test": quarter})
        partial.rename(place)
    return place / "data.yaml"


def watch(command: Sequence[str], build: Path, log: Path) -> dict[str, Step]:
    """Run a build, and return what each of its steps took, by the names of `step_of`.

    Args:
        build: its folder.
        log: what it prints.

    Raises:
        SystemExit: the build failed.
    """
    steps: dict[str, Step] = {}
    seen: list[str] = []
    with log.open("wb") as stream, subprocess.Popen(command, stdout=stream, stderr=stream) as started:
        process = psutil.Process(started.pid)
        running = Running(BEFORE, process)
        while process.status() != psutil.STATUS_ZOMBIE:
            now = step_of([place.name for place in (build / STAGES).glob(f"{PARTIAL}*")], seen)
            if now != running.name:
                running.end(steps)
                running = Running(now, process)
            running.look()
            time.sleep(EVERY_S)
        running.end(steps)
    if started.returncode:
        raise SystemExit(f"{build.name}: the build ended with exit code {started.returncode}: see {log}")
    return steps


def step_of(unfinished: Sequence[str], seen: list[str]) -> str:
    """Return which step a build is at: the stage in whose folder it began to work last.

    Args:
        unfinished: names of the folders of stages that are being made, and of the view of the data set that
            ultralytics reads: `.partial-NAME-` and a random word.
        seen: those that were there before, in order; new ones are added.
    """
    seen += sorted(set(unfinished) - set(seen))
    names = {folder: folder.removeprefix(PARTIAL).rpartition("-")[0] for folder in seen}
    here = [folder for folder in seen if folder in unfinished]
    if here:
        return names[here[-1]]
    return AFTER if set(names.values()) - {"view"} else BEFORE


class Running:
    """A step while it runs: what its process and all below it hold, looked at now and then."""

    def __init__(self, name: str, process: psutil.Process) -> None:
        self.name, self._process, self._peak_mb, self._next = name, process, 0.0, 0.0
        self._clock, self._cpu_s = time.monotonic(), _cpu_s(process)
        with contextlib.suppress(OSError):  # where it is forbidden, a peak holds for the steps behind as well
            Path(f"/proc/{process.pid}/clear_refs").write_text("5")

    def look(self) -> None:
        """Add up the memory of the processes, if that was not done just before."""
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + LOOK_S
        below = self._process.children(recursive=True)
        held = [read_resident(one.pid) for one in (self._process, *below)]
        kilobytes = sum(one.pss_kb or one.rss_kb for one in held if one)
        self._peak_mb = max(self._peak_mb, kilobytes * 1024 / 1e6)

    def end(self, steps: dict[str, Step]) -> None:
        """Add what it took to the step of its name."""
        exact = (read_status("VmHWM", self._process.pid) or 0) * 1024 / 1e6
        taken = Step(
            time.monotonic() - self._clock,
            _cpu_s(self._process) - self._cpu_s,
            max(self._peak_mb, exact),
        )
        steps[self.name] = steps.get(self.name, Step()).then(taken)


def _cpu_s(process: psutil.Process) -> float:
    """Return the CPU time of a process and of those below it that have ended, in seconds."""
    return float(sum(process.cpu_times()[:4]))


def _busy_s() -> float:
    """Return the CPU time of all processes of the machine, in seconds."""
    times = psutil.cpu_times()
    return float(times.user + times.nice + times.system)


def faster_than_linear(found: Sequence[Found]) -> list[str]:
    """Return the steps whose CPU time grows faster than the images, from the last count but one to the last.

    Args:
        found: points that differ in the number of images.
    """
    faults = []
    for before, after in list(itertools.pairwise(sorted(found, key=lambda one: one.point.images)))[-1:]:
        more = after.point.images / before.point.images
        for name, step in after.steps.items():
            times = step.cpu_s / max(before.steps.get(name, Step()).cpu_s, 0.01)
            if name in before.steps and step.cpu_s >= LEAST_S and times > SLACK * more:
                faults.append(f"{name}: {times:.1f} times the CPU time for {more:g} times the images")
    return faults


def builds_table(found: Iterable[Found]) -> list[str]:
    """Return a line for each build, in Markdown."""
    heads = ("network", "input px", "images", "min", "CPU min", "peak MB", "other cores busy", "date (UTC)")
    lines = [f"| {' | '.join(heads)} |", "|---|" + "--:|" * (len(heads) - 1)]
    for one in found:
        whole, point = one.whole, one.point
        cells = (
            *(point.network, f"{point.imgsz}", f"{point.images:,}"),
            *(f"{whole.seconds / 60:.1f}", f"{whole.cpu_s / 60:.1f}", f"{whole.peak_mb:,.0f}"),
            *(f"{one.busy_cores:.1f}", one.date.partition("+")[0]),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return [*lines, "", f"Machine: {'; '.join(sorted({one.machine for one in found}))}."]


def steps_table(found: Sequence[Found]) -> list[str]:
    """Return a line for each step, in Markdown: CPU seconds and peak MB by the number of images."""
    heads = [f"{one.point.images:,}: {what}" for one in found for what in ("CPU s", "peak MB")]
    lines = [f"| step | {' | '.join(heads)} |", "|---|" + "--:|" * len(heads)]
    for name in dict.fromkeys(name for one in found for name in one.steps):
        told = [one.steps.get(name) for one in found]
        cells = [cell for step in told for cell in (_cells(step) if step else ("–", "–"))]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def _cells(step: Step) -> tuple[str, str]:
    return f"{step.cpu_s:.1f}", f"{step.peak_mb:,.0f}"


if __name__ == "__main__":
    sys.exit(main())
