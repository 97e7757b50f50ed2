"""Whether the harness tells the truth: its p50 beside other stopwatches, interleaved in one run.

    python -m benchmarks.agreement --build build --ort-headers /usr/include/onnxruntime

Each unpruned fp32 and int8 row of the build on ONNX Runtime and OpenVINO is timed by two processes on one and
the same core: a worker of `edgeprune bench`, and the other stopwatch. That is OpenVINO's own `benchmark_app`
(sync, same threads, same precision hint), or `ort_loop.c`, a C loop around the library of the onnxruntime
wheel. Its headers are in Debian's libonnxruntime-dev (trixie and later); those of an older version will do,
since the interface only grows. Every fifth of a second the one is stopped (SIGSTOP) and the other goes on:
what the machine does to one it does to both. The one query of a turn that the stop cuts moves no median.
"""

from __future__ import annotations

import argparse
import contextlib
import signal
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from edgeprune.bench.against import TOOLS, as_a_worker, found_tool
from edgeprune.bench.protocol import blocks_of
from edgeprune.bench.result import Block, Job, WorkerReport
from edgeprune.bench.statistics import median_ms
from edgeprune.bench.subject import Subject, make_job, subjects_of
from edgeprune.cli.progress import stage_progress
from edgeprune.errors import CompileError, ConfigError, EdgepruneError

GOAL = 0.03
COST_GOAL_US = 20.0
PRECISIONS = ("fp32", "int8")
TURN_S = 0.2
OUT = "report.json"
STOPWATCH = {"onnxruntime": "C loop", "openvino": "benchmark_app"}


class Line(NamedTuple):
    """One row's answer: the medians of all rounds in ms, and of the rounds' relative differences."""

    row: str
    stopwatch: str
    ours_ms: float
    theirs_ms: float
    difference: float
    cost_us: float


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table; exit 1 where a difference or a cost is beyond its bound."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--build", type=Path, required=True, help="folder of a finished build")
    parser.add_argument("--ort-headers", type=Path, default=Path("/usr/include/onnxruntime"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0, help="of timing a round and stopwatch")
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
        lines = []
        for index, subject in enumerate(subjects):
            notify("agreement", index / len(subjects), subject.name)
            place = folder / str(index)
            place.mkdir()
            lines.append(compared(subject, loop, options.rounds, options.seconds, place))
        notify("agreement", 1.0, "done")
    print("| row | other stopwatch | its p50 ms | p50 ms of `edgeprune bench` | difference | harness us |")
    print("|---|---|--:|--:|--:|--:|")
    for line in lines:
        print(
            f"| {line.row} | {line.stopwatch} | {line.theirs_ms:.3f} | {line.ours_ms:.3f} | "
            f"{line.difference:+.1%} | {line.cost_us:.1f} |"
        )
    beyond = [one.row for one in lines if abs(one.difference) > GOAL or one.cost_us > COST_GOAL_US]
    print(f"\nBeyond {GOAL:.0%} or {COST_GOAL_US:.0f} us: {', '.join(beyond) or 'none'}")
    sys.exit(bool(beyond))


def compared(subject: Subject, loop: Path, rounds: int, seconds: float, folder: Path) -> Line:
    """Time one row by both stopwatches, in turns, in fresh processes each round."""
    job = make_job(subject, 1, folder)
    ours: list[Block] = []
    theirs: list[float] = []
    for _ in range(rounds):
        worker = worker_command(job, seconds, folder)
        if job.backend == "onnxruntime":
            _, said = in_turns([worker, loop_command(job, loop, seconds, folder)], job)
            theirs.append(int(said.split()[0]) / 1e6)
        else:
            tool = TOOLS["benchmark_app"]
            app = [found_tool("benchmark_app"), *tool.options(subject, job.threads, seconds * 2)]
            _, said = in_turns([worker, app], job)
            p50 = tool.read(said).p50
            if p50 is None:
                raise CompileError("benchmark_app: no median is in what it printed")
            theirs.append(p50)
        report = WorkerReport.model_validate_json((folder / OUT).read_text(encoding="utf-8"))
        ours += blocks_of([report])
    medians = [median_ms(block) for block in ours]
    return Line(
        row=subject.name,
        stopwatch=STOPWATCH[job.backend],
        ours_ms=statistics.median(medians),
        theirs_ms=statistics.median(theirs),
        difference=statistics.median(one / other for one, other in zip(medians, theirs, strict=True)) - 1,
        cost_us=statistics.median(cost_us(block) for block in ours),
    )


def in_turns(commands: Sequence[Sequence[str]], job: Job) -> list[str]:
    """Run the commands on the core that a worker takes, one at a time, a turn each; return what they printed.

    Raises:
        CompileError: one of them failed.
    """
    with contextlib.ExitStack() as stack:
        processes = []
        for command in commands:
            output = stack.enter_context(tempfile.TemporaryFile("w+"))
            started = as_a_worker(command, job.threads, job.environment)
            process = subprocess.Popen(started, stdout=output, stderr=subprocess.STDOUT)
            stack.callback(process.wait)
            stack.callback(process.kill)
            process.send_signal(signal.SIGSTOP)
            processes.append((process, output))
        while any(process.poll() is None for process, _ in processes):
            for process, _ in processes:
                process.send_signal(signal.SIGCONT)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(TURN_S)
                process.send_signal(signal.SIGSTOP)
        texts = []
        for _, output in processes:
            output.seek(0)
            texts.append(output.read())
    for (process, _), text, command in zip(processes, texts, commands, strict=True):
        if process.returncode:
            last = (text.strip() or "nothing").splitlines()[-1]
            raise CompileError(f"{Path(command[0]).name} exited with {process.returncode}: {last}")
    return texts


def cost_us(block: Block) -> float:
    """Return what the harness itself took per iteration: the loop's time that no sample holds."""
    return (block.elapsed_ns - sum(block.samples_ns)) / len(block.samples_ns) / 1e3


def worker_command(job: Job, seconds: float, folder: Path) -> list[str]:
    """Return the command of a worker of `edgeprune bench`, whose report is the file `OUT`."""
    asked = job.model_copy(update={"min_seconds": seconds * 2, "min_queries": 64})
    (folder / "job.json").write_text(asked.model_dump_json(), encoding="utf-8")
    return [sys.executable, "-m", "edgeprune.bench.worker", str(folder / "job.json"), str(folder / OUT)]


def loop_command(job: Job, loop: Path, seconds: float, folder: Path) -> list[str]:
    """Return the command of the C loop; it prints its median in ns."""
    tensors = np.load(job.inputs)
    raw = folder / "tensors.raw"
    tensors.tofile(raw)
    return [str(loop), job.engine, str(raw), str(tensors.shape[-1]), str(job.threads), str(seconds * 2)]


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
