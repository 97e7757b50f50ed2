"""Whether the harness tells the truth: its p50 beside other stopwatches, interleaved in one run.

    python -m benchmarks.agreement --build build --ort-headers /usr/include/onnxruntime --out rounds.jsonl

Each unpruned fp32 and int8 row of the build on ONNX Runtime and OpenVINO is timed by two processes on one and
the same core: a worker of `edgeprune bench`, and the other stopwatch. That is OpenVINO's own `benchmark_app`
(sync, same threads, same precision hint), or `ort_loop.c`, a C loop around the library of the onnxruntime
wheel. Its headers are in Debian's libonnxruntime-dev (trixie and later); those of an older version will do,
since the interface only grows. Every fifth of a second the one is stopped (SIGSTOP) and the other goes on:
what the machine does to one it does to both. The one query of a turn that the stop cuts moves no median.
Still no two processes are equally fast, so there are many rounds, each of fresh ones. The file keeps them:
the same command goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import signal
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


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the rounds that are missing and print the table; exit 1 where it is beyond a bound."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--build", type=Path, required=True, help="folder of a finished build")
    parser.add_argument("--ort-headers", type=Path, default=Path("/usr/include/onnxruntime"))
    parser.add_argument("--out", type=Path, required=True, help="file of the rounds, JSON Lines")
    parser.add_argument("--rounds", type=int, default=40, help="of each row, those in the file included")
    parser.add_argument("--seconds", type=float, default=2.0, help="of timing a round and stopwatch")
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
                found = compared(subject, jobs[subject.name], loop, options.seconds, folder / str(index))
                with options.out.open("a", encoding="utf-8") as stream:
                    stream.write(json.dumps(found) + "\n")
        notify("agreement", 1.0, "done")
    rounds = read(options.out)
    rows = [summed([one for one in rounds if one["row"] == subject.name]) for subject in subjects]
    print(f"{rounds[0]['started_utc']} to {rounds[-1]['started_utc']}\n\n{table(rows)}")
    beyond = [one["row"] for one in rows if abs(one["difference"]) > GOAL or one["cost_us"] > COST_GOAL_US]
    print(f"\nBeyond {GOAL:.0%} or {COST_GOAL_US:.0f} us: {', '.join(beyond) or 'none'}")
    sys.exit(bool(beyond))


def compared(subject: Subject, job: Job, loop: Path, seconds: float, folder: Path) -> dict[str, Any]:
    """Time one row once by both stopwatches, in turns, each in a fresh process."""
    started = datetime.now(timezone.utc).isoformat(timespec="seconds")
    worker = worker_command(job, seconds, folder)
    if job.backend == "onnxruntime":
        _, said = in_turns([worker, loop_command(job, loop, seconds, folder)], job)
        theirs = int(said.split()[0]) / 1e6
    else:
        tool = TOOLS["benchmark_app"]
        _, said = in_turns(
            [worker, [found_tool("benchmark_app"), *tool.options(subject, job.threads, seconds * 2)]], job
        )
        p50 = tool.read(said).p50
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
