"""Whether the harness tells the truth: its p50 beside other stopwatches, interleaved in one run.

    python -m benchmarks.agreement --build build --ort-headers /usr/include/onnxruntime --out rounds.jsonl

Each unpruned fp32 and int8 row of the build on ONNX Runtime and OpenVINO is timed by two processes on one and
the same core: a worker of `edgeprune bench`, and the other stopwatch. That is OpenVINO's own `benchmark_app`
(sync, same threads, same precision hint; `app_in_turns.py`), or `ort_loop.c`, a C loop around the library of
the onnxruntime wheel. Its headers are in Debian's libonnxruntime-dev (trixie and later); those of an older
version will do, since the interface only grows. Both take turns of four queries: what the machine does to one
it does to both. Still no two processes are equally fast, so there are many rounds, each of fresh ones. The
file keeps them: the same command goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.gate import read
from scipy.stats import quantile_test

from edgeprune.bench.against import as_a_worker
from edgeprune.bench.protocol import TURN_QUERIES, blocks_of
from edgeprune.bench.statistics import median_ms
from edgeprune.bench.subject import Subject, make_job, subjects_of
from edgeprune.cli.progress import stage_progress
from edgeprune.core.backend import vendor_tools
from edgeprune.core.errors import CompileError, ConfigError, EdgepruneError
from edgeprune.records.bench_result import Block, Job, WorkerReport
from edgeprune.worker.turns import said_by

GOAL = 0.03
COST_GOAL_US = 20.0
PRECISIONS = ("fp32", "int8")
OUT = "report.json"
APP = Path(__file__).with_name("app_in_turns.py")
STOPWATCH = {"onnxruntime": "C loop", "openvino": "benchmark_app"}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the rounds that are missing and print the table; exit 1 where it is beyond a bound."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--build", type=Path, required=True, help="folder of a finished build")
    parser.add_argument("--ort-headers", type=Path, default=Path("/usr/include/onnxruntime"))
    parser.add_argument("--out", type=Path, required=True, help="file of the rounds, JSON Lines")
    parser.add_argument("--rounds", type=int, default=40, help="of each row, those in the file included")
    parser.add_argument("--turns", type=int, default=24, help="of four queries, a round and stopwatch")
    options = parser.parse_args(arguments)
    subjects = [
        subject
        for subject in subjects_of(options.build)
        if "original" in subject.name
        and subject.engine.precision in PRECISIONS
        and subject.profile.backend in STOPWATCH
    ]
    if not subjects:
        raise ConfigError(f"{options.build}: no unpruned row of {' or '.join(STOPWATCH)} was measured in it")
    with tempfile.TemporaryDirectory() as name, stage_progress() as notify:
        folder = Path(name)
        loop = built_loop(options.ort_headers, folder)
        jobs = {}
        for index, subject in enumerate(subjects):
            place = folder / str(index)
            place.mkdir()
            jobs[subject.name] = make_job(subject, 1, place)
        for round_ in range(options.rounds):
            for index, subject in enumerate(subjects):
                rounds = read(options.out)
                if sum(one["row"] == subject.name for one in rounds) > round_:
                    continue
                share = (round_ + index / len(subjects)) / options.rounds
                notify("agreement", share, f"round {round_ + 1}: {subject.name}")
                found = compared(subject, jobs[subject.name], loop, options.turns, folder / str(index))
                with options.out.open("a", encoding="utf-8") as stream:
                    stream.write(json.dumps(found) + "\n")
        notify("agreement", 1.0, "done")
    rounds = read(options.out)
    rows = [summed([one for one in rounds if one["row"] == subject.name]) for subject in subjects]
    print(f"{rounds[0]['started_utc']} to {rounds[-1]['started_utc']}\n\n{table(rows)}")
    beyond = [one["row"] for one in rows if abs(one["difference"]) > GOAL or one["cost_us"] > COST_GOAL_US]
    print(f"\nBeyond {GOAL:.0%} or {COST_GOAL_US:.0f} us: {', '.join(beyond) or 'none'}")
    sys.exit(bool(beyond))


def compared(subject: Subject, job: Job, loop: Path, turns: int, folder: Path) -> dict[str, Any]:
    """Time one row once by both stopwatches, in turns, each in a fresh process."""
    started = datetime.now(timezone.utc).isoformat(timespec="seconds")
    worker = worker_command(job, turns, folder)
    if job.backend == "onnxruntime":
        _, said = in_turns([worker, loop_command(job, loop, folder)], job, turns)
        theirs = int(said[-1].split()[0]) / 1e6
    else:
        _, said = in_turns([worker, app_command(subject, job, turns, folder)], job, turns)
        p50 = vendor_tools()["benchmark_app"][1].read("".join(said)).p50
        if p50 is None:
            raise CompileError("benchmark_app: no median is in what it printed")
        theirs = p50
    report = WorkerReport.model_validate_json((folder / OUT).read_text(encoding="utf-8"))
    (ours,) = blocks_of([report])
    return {
        "row": subject.name,
        "stopwatch": STOPWATCH[job.backend],
        "started_utc": started,
        "ours_ms": median_ms(ours),
        "theirs_ms": theirs,
        "cost_us": cost_us(ours),
    }


def summed(rounds: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the medians over a row's rounds; that of the ratio with its 95 % interval (order statistics)."""
    ratios = [one["ours_ms"] / one["theirs_ms"] for one in rounds]
    interval = quantile_test(ratios, p=0.5).confidence_interval(0.95)
    return {
        "row": rounds[0]["row"],
        "stopwatch": rounds[0]["stopwatch"],
        "rounds": len(rounds),
        **{key: statistics.median(one[key] for one in rounds) for key in ("ours_ms", "theirs_ms", "cost_us")},
        "difference": statistics.median(ratios) - 1,
        "interval": (interval.low - 1, interval.high - 1),
    }


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Return what `summed` told of each row as a Markdown table."""
    lines = [
        "| row | other stopwatch | rounds | its p50 ms | p50 ms of `edgeprune bench` | difference | "
        "95 % interval | harness us |",
        "|---|---|--:|--:|--:|--:|---|--:|",
    ]
    for one in rows:
        low, high = one["interval"]
        lines.append(
            f"| {one['row']} | {one['stopwatch']} | {one['rounds']} | {one['theirs_ms']:.3f} | "
            f"{one['ours_ms']:.3f} | {one['difference']:+.1%} | {low:+.1%} to {high:+.1%} | "
            f"{one['cost_us']:.1f} |"
        )
    return "\n".join(lines)


def in_turns(commands: Sequence[Sequence[str]], job: Job, turns: int) -> list[list[str]]:
    """Run the commands on the core that a worker takes, in turns; return the lines that each printed.

    Each tells the phase ``ready`` when it is warm, then waits for a line on standard input before each turn
    and tells the phase ``turn`` after it.

    Raises:
        CompileError: one of them failed.
    """
    with contextlib.ExitStack() as stack:
        stopwatches = [Stopwatch(command, job, stack) for command in commands]
        for stopwatch in stopwatches:  # one at a time: a warm-up beside another is none
            stopwatch.until("ready")
        for turn in range(turns):
            for stopwatch in stopwatches[:: -1 if turn % 2 else 1]:
                stopwatch.turn()
        return [stopwatch.end() for stopwatch in stopwatches]


class Stopwatch:
    """A process that times queries when it is told to."""

    def __init__(self, command: Sequence[str], job: Job, stack: contextlib.ExitStack) -> None:
        self.name, self.lines = Path(command[1 if command[0] == sys.executable else 0]).name, list[str]()
        pipe = subprocess.PIPE
        self.process = stack.enter_context(
            subprocess.Popen(
                as_a_worker(command, job.threads, job.environment),
                stdin=pipe,
                stdout=pipe,
                stderr=subprocess.STDOUT,
                text=True,
            )
        )
        stack.callback(self.process.kill)

    def until(self, phase: str) -> None:
        """Read what it says up to a phase."""
        for line in self.process.stdout or ():
            self.lines.append(line)
            if said_by(line).get("phase") == phase:
                return
        self.end()
        raise CompileError(f"{self.name} ended before its time")

    def turn(self) -> None:
        """Let it time a few queries."""
        assert self.process.stdin
        self.process.stdin.write("turn\n")
        self.process.stdin.flush()
        self.until("turn")

    def end(self) -> list[str]:
        """Let it end, and return all that it printed."""
        assert self.process.stdin
        self.process.stdin.close()
        self.lines += self.process.stdout or ()
        if self.process.wait():
            last = next((line.strip() for line in reversed(self.lines) if line.strip()), "nothing")
            raise CompileError(f"{self.name} exited with {self.process.returncode}: {last}")
        return self.lines


def cost_us(block: Block) -> float:
    """Return what the harness itself took per iteration: the loop's time that no sample holds."""
    return (block.elapsed_ns - sum(block.samples_ns)) / len(block.samples_ns) / 1e3


def worker_command(job: Job, turns: int, folder: Path) -> list[str]:
    """Return the command of a worker of `edgeprune bench`, whose report is the file `OUT`."""
    asked = job.model_copy(
        update={"min_seconds": 0.0, "min_queries": turns * TURN_QUERIES, "turn_queries": TURN_QUERIES}
    )
    (folder / "job.json").write_text(asked.model_dump_json(), encoding="utf-8")
    return [sys.executable, "-m", "edgeprune.worker.benchmark", str(folder / "job.json"), str(folder / OUT)]


def loop_command(job: Job, loop: Path, folder: Path) -> list[str]:
    """Return the command of the C loop; the last line that it prints begins with its median in ns."""
    tensors = np.load(job.inputs)
    raw = folder / "tensors.raw"
    if not raw.exists():  # written in each round, it would still be on its way to the disk beside the clock
        tensors.tofile(raw)
    return [str(loop), job.engine, str(raw), str(tensors.shape[-1]), str(job.threads), str(TURN_QUERIES)]


def app_command(subject: Subject, job: Job, turns: int, folder: Path) -> list[str]:
    """Return the command of OpenVINO's `benchmark_app` in turns, fed with the worker's inputs in rotation.

    By itself it asks for one random tensor again and again, which then lies in the cache.
    """
    inputs = folder / "inputs"
    if not inputs.exists():
        inputs.mkdir()
        for index, tensor in enumerate(np.load(job.inputs)):
            np.save(inputs / f"{index:02}.npy", tensor[None])
    options = vendor_tools()["benchmark_app"][1].options(subject.engine.path, job.options, job.threads, 1)
    fed = ["-i", str(inputs), "-inference_only", "False", "-niter", str(turns * TURN_QUERIES)]
    return [sys.executable, str(APP), str(TURN_QUERIES), *options, *fed]


def built_loop(headers: Path, folder: Path) -> Path:
    """Compile the C loop against the library that the onnxruntime wheel brings."""
    import onnxruntime

    if not (headers / "onnxruntime_c_api.h").is_file():
        raise ConfigError(
            f"{headers}: no onnxruntime_c_api.h there; "
            "--ort-headers names its folder (Debian: libonnxruntime-dev)"
        )
    libraries = sorted((Path(onnxruntime.__file__).parent / "capi").glob("libonnxruntime.so*"))
    if not libraries:
        raise ConfigError("this onnxruntime wheel has no libonnxruntime.so to link with")
    # The program looks for the library by its own name in the ELF header.
    for soname in ("libonnxruntime.so", "libonnxruntime.so.1"):
        (folder / soname).symlink_to(libraries[0])
    loop = folder / "ort_loop"
    source = Path(__file__).with_name("ort_loop.c")
    command = ["cc", "-O2", "-o", str(loop), str(source), f"-I{headers}", str(libraries[0])]
    built = subprocess.run(
        [*command, f"-Wl,-rpath,{folder}:{libraries[0].parent}"], capture_output=True, text=True, check=False
    )
    if built.returncode:
        raise CompileError(f"cc: {(built.stderr.splitlines() or ['failed'])[0]}")
    return loop


if __name__ == "__main__":
    try:
        main()
    except EdgepruneError as exc:
        print(f"agreement: {exc}", file=sys.stderr)
        sys.exit(exc.exit_code)
