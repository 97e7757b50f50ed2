"""Recorded runs: a runner that writes down what it was asked and answered, and one that answers from that.

A recording is a folder: `recording.json` says what was recorded, when and where; `calls.jsonl` has a line a
process. A process is told apart by its arguments and by the job files among them, without the paths in them,
since those are others each time.
"""

from __future__ import annotations

import json
import tempfile
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType
from typing import Any

from edgeprune.core.documents import parse_record, read_json, read_record
from edgeprune.core.errors import ConfigError, DeviceError
from edgeprune.core.files import read_bytes, read_lines, write_text_atomically
from edgeprune.runners import Completed, Runner

RECORDING, CALLS = "recording.json", "calls.jsonl"
SCHEME = "replay"
_PATHS_OF_A_JOB = ("engine", "inputs", "reference", "image")


@dataclass(frozen=True)
class Recording:
    """What a recording is of.

    Attributes:
        run_id: of every result that is made from it: replayed, it is the same run.
        recorded_utc: when it began, ISO 8601.
        device: where it was measured.
        machine: that device's architecture.
    """

    run_id: str
    recorded_utc: str
    device: str
    machine: str


_MOVED = {
    "edgeprune.bench.worker": "edgeprune.worker.benchmark",
    "edgeprune.bench.turns": "edgeprune.worker.turns",
    "edgeprune.bench.telemetry": "edgeprune.worker.telemetry",
    "edgeprune.bench.answer_worker": "edgeprune.worker.answer",
    "edgeprune.bench.facts_worker": "edgeprune.worker.facts",
    "edgeprune.bench.layer_worker": "edgeprune.worker.layers",
    "edgeprune.bench.node_worker": "edgeprune.worker.nodes",
}
"""What recordings of 0.2 and before call the modules that are run on a device."""


def _by_todays_names(asked: str) -> str:
    for before, now in _MOVED.items():
        asked = asked.replace(f'"{before}"', f'"{now}"')
    return asked


@dataclass(frozen=True)
class _Call:
    """One process as it was recorded; what failed has no output."""

    asked: str
    error: str | None = None
    stdout: str = ""
    stderr: str = ""
    answers: Mapping[str, str | None] = field(default_factory=dict)


class _Asked:
    """Turns the arguments of a process into what stays the same from one session to the next."""

    def __init__(self) -> None:
        self._pushed: dict[str, Any] = {}

    def push(self, local: Path, remote: str) -> None:
        self._pushed[remote] = _content(local)

    def outputs(self, args: Sequence[str]) -> list[str]:
        """Return the arguments that name files beside a pushed one: what the process is to write."""
        return [arg for arg in args if isinstance(self._told(arg), dict) and arg not in self._pushed]

    def key(self, args: Sequence[str]) -> str:
        # The interpreter is another on each device, and says nothing of the request.
        return json.dumps([self._told(arg) for arg in args[1:]], sort_keys=True)

    def _told(self, arg: str) -> Any:
        if arg in self._pushed:
            return self._pushed[arg]
        beside = next((remote for remote in self._pushed if arg.startswith(remote)), None)
        return arg if beside is None else {"output": arg[len(beside) :]}


def _content(local: Path) -> Any:
    """Return what a pushed file asks for: a job without its paths; of any other file its name."""
    if local.suffix == ".json":
        data = read_json(local, ConfigError)
        if isinstance(data, dict):
            return {key: value for key, value in data.items() if key not in _PATHS_OF_A_JOB}
    return {"file": local.name}


class RecordingRunner:
    """Passes everything on to another runner, and writes every process with its answers into a folder."""

    def __init__(self, inner: Runner, folder: Path) -> None:
        self.name, self.emulated = inner.name, inner.emulated
        self.machine = ""
        self.recording: Recording
        self._inner, self._folder, self._asked = inner, folder, _Asked()

    def __enter__(self) -> RecordingRunner:
        if (self._folder / RECORDING).exists():
            raise ConfigError(f"{self._folder}: a recording is here already: name another folder")
        write_text_atomically(self._folder / CALLS, "")  # a folder that cannot be written to ends it here
        self._inner.__enter__()
        self.machine = self._inner.machine
        now = datetime.now(timezone.utc).isoformat(timespec="seconds")
        self.recording = Recording(uuid.uuid4().hex, now, self.name, self.machine)
        write_text_atomically(self._folder / RECORDING, json.dumps(asdict(self.recording)) + "\n")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._inner.__exit__(kind, value, trace)

    def python(self, *needs: str) -> str:
        """Return the interpreter of the device; see `Runner`."""
        return self._inner.python(*needs)

    def push(self, local: Path) -> str:
        """Copy a file or folder to the device; see `Runner`."""
        return self.push_all([local])[0]

    def push_all(self, paths: Sequence[Path]) -> list[str]:
        """Copy files and folders to the device; see `Runner`."""
        remotes = self._inner.push_all(paths)
        for local, remote in zip(paths, remotes, strict=True):
            self._asked.push(local, remote)
        return remotes

    def pull(self, remote: str, local: Path) -> Path:
        """Copy a file from the device; see `Runner`."""
        return self._inner.pull(remote, local)

    def run(
        self, args: Sequence[str], timeout: float, on_line: Callable[[str], None] | None = None
    ) -> Completed:
        """Run a process on the device and record it with its answers, also when it fails; see `Runner`."""
        call: dict[str, Any] = {"asked": self._asked.key(args), "error": None, "answers": {}}
        try:
            completed = self._inner.run(args, timeout, on_line)
        except DeviceError as exc:
            self._write(call | {"error": str(exc)})
            raise
        answers = [self._answer(remote) for remote in self._asked.outputs(args)]
        said = {"stdout": completed.stdout, "stderr": completed.stderr}
        self._write(call | said | {"answers": dict(enumerate(answers))})
        return completed

    def _write(self, call: dict[str, Any]) -> None:
        with (self._folder / CALLS).open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(call) + "\n")

    def _answer(self, remote: str) -> str | None:
        with tempfile.TemporaryDirectory() as folder:
            try:
                answer = self._inner.pull(remote, Path(folder) / "answer")
                return read_bytes(answer, DeviceError).decode(errors="replace")
            except DeviceError:
                return None


class ReplayRunner:
    """Answers from a recording; nothing is run, so nothing that it answers is a new measurement."""

    def __init__(self, address: str) -> None:
        self.name, self.emulated = address, False
        self.machine = ""
        self.recording: Recording
        self._folder = Path(address.partition("://")[2])
        self._asked = _Asked()
        self._left: dict[str, list[_Call]] = {}
        self._files: dict[str, str | None] = {}
        self._pushed = 0

    def __enter__(self) -> ReplayRunner:
        if not (self._folder / RECORDING).is_file():
            raise ConfigError(f"{self._folder}: no recording of `bench --record` is here")
        self.recording = read_record(Recording, self._folder / RECORDING, ConfigError)
        for number, line in enumerate(read_lines(self._folder / CALLS, ConfigError), 1):
            call = parse_record(_Call, line, f"{self._folder / CALLS}:{number}", ConfigError)
            self._left.setdefault(_by_todays_names(call.asked), []).append(call)
        self.machine = self.recording.machine
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def python(self, *needs: str) -> str:
        """Return a name in place of the interpreter: none is run."""
        return "python"

    def push(self, local: Path) -> str:
        """Return a path that stands for a file here."""
        self._pushed += 1
        remote = f"{self.name}/{self._pushed}/{local.name}"
        self._asked.push(local, remote)
        return remote

    def push_all(self, paths: Sequence[Path]) -> list[str]:
        """Return paths that stand for files here."""
        return [self.push(path) for path in paths]

    def run(
        self, args: Sequence[str], timeout: float, on_line: Callable[[str], None] | None = None
    ) -> Completed:
        """Answer as the process was answered when it was recorded, each call once.

        Raises:
            DeviceError: the one that was recorded, or this was not recorded so often.
        """
        calls = self._left.get(self._asked.key(args))
        if not calls:
            raise DeviceError(
                f"{self.name}: this was not recorded{'' if calls is None else ' so often'}: same engine, "
                "scenario, profile and threads as then, or record it anew by --record"
            )
        call = calls.pop(0)
        if call.error is not None:
            raise DeviceError(call.error)
        for line in call.stdout.splitlines() if on_line else ():
            on_line(line)  # type: ignore[misc]
        for index, remote in enumerate(self._asked.outputs(args)):
            self._files[remote] = call.answers.get(str(index))
        return Completed(tuple(args), 0, call.stdout, call.stderr)

    def pull(self, remote: str, local: Path) -> Path:
        """Write the recorded answer.

        Raises:
            DeviceError: there was none.
        """
        text = self._files.get(remote)
        if text is None:
            raise DeviceError(f"{self.name}: {remote}: cannot be read: No such file or directory")
        local.write_text(text)
        return local
