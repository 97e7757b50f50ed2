"""TensorRT's own program `trtexec`: it times engines, and builds them where Python's TensorRT is missing.

Standard library only: it travels to the device. Its options are those that its help prints, of TensorRT 8.5
(JetPack 5) to 11; it was never run here.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from edgeprune.core.backend_types import Figures, Tool
from edgeprune.core.errors import CompileError, how_it_ended, shorten

PLACES = "/usr/src/tensorrt/bin"
TIMEOUT_S = 2 * 3600.0
_RUNNING = re.compile(r"\[TensorRT v(\d{4,6})\]")
_ERROR = re.compile(r"\[E\] (.*)$", re.MULTILINE)


def find_trtexec() -> Path | None:
    """Return the program from the PATH, or from where JetPack puts it."""
    found = shutil.which("trtexec") or shutil.which("trtexec", path=PLACES)
    return Path(found) if found else None


def version_of(program: Path) -> str | None:
    """Return the version of TensorRT that the program is of, such as ``10.3.0``; None where it tells none."""
    try:
        said = _run([str(program), "--help"], 60.0).stdout
    except CompileError:
        return None
    found = _RUNNING.search(said)
    return parse_version(found[1]) if found else None


def parse_version(digits: str) -> str:
    """Return a version from the number that trtexec prints: 8502 is 8.5.2, 100300 is 10.3.0."""
    number = int(digits)
    # Up to 8.6 it is 1000 a major version; from 10 on it is 10000, so that both parts have two digits.
    major, rest = divmod(number, 10_000 if number >= 10_000 else 1000)
    return f"{major}.{rest // 100}.{rest % 100}"


def precision_flags(precision: str, version: str) -> tuple[str, ...]:
    """Return what allows the precisions of a graph: strong typing from TensorRT 10 on, flags before it."""
    if int(version.partition(".")[0]) >= 10:
        return ("--stronglyTyped",)
    return ("--fp16", "--int8") if precision == "int8" else ("--fp16",) if precision == "fp16" else ()


def build(program: Path, model: Path, engine: Path, flags: Sequence[str]) -> None:
    """Build an engine of an ONNX file without timing it.

    Raises:
        CompileError: the program refuses the graph, or ends otherwise.
    """
    version = version_of(program) or "10.0"
    skip = "--buildOnly" if tuple(map(int, version.split(".")[:2])) < (8, 6) else "--skipInference"
    command = [str(program), f"--onnx={model}", f"--saveEngine={engine}", skip, *flags]
    done = _run(command, TIMEOUT_S)
    if done.returncode or not engine.is_file():
        errors = _ERROR.findall(done.stdout + done.stderr)
        why = shorten(errors[0]) if errors else how_it_ended(done.returncode)
        raise CompileError(f"{model}: trtexec {version} cannot build this graph: {why}")


def _run(command: Sequence[str], timeout: float) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=timeout, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise CompileError(f"{command[0]}: it cannot be run: {shorten(exc)}") from exc


def _options(engine: Path, options: Mapping[str, str], threads: int, seconds: float) -> list[str]:
    return [f"--loadEngine={engine}", "--warmUp=2000", f"--duration={max(1, round(seconds))}"]


def _read(text: str) -> Figures:
    line = re.search(r"\] Latency: (.*)$", text, re.MULTILINE)
    found = dict(re.findall(r"([\w()%]+) = ([\d.]+) ms", line[1])) if line else {}
    fps = re.search(r"Throughput: ([\d.]+) qps", text)
    ms = {name: float(value) for name, value in found.items()}
    return Figures(
        p50=ms.get("median"),
        p90=ms.get("percentile(90%)"),
        p99=ms.get("percentile(99%)"),
        mean=ms.get("mean"),
        min=ms.get("min"),
        max=ms.get("max"),
        fps=float(fps[1]) if fps else None,
    )


TOOL = Tool(
    "trtexec",
    "it comes with TensorRT (/usr/src/tensorrt/bin): put it on the PATH",
    _options,
    _read,
    "its latency is the sum of transfers and GPU time by CUDA's clock, ours is by the host's, with "
    "launch and sync; trtexec 11 leaves the transfers off unless asked",
)
