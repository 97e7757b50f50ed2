"""A device behind a client program such as ssh or adb: files are pushed by content, processes outlive a drop.

Everything on the device is done by requests to `onboard.py`, its own Python: the same few requests check a
hash, resume a push and follow a process, whatever the connection.
"""

from __future__ import annotations

import base64
import contextlib
import tempfile
import textwrap
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, TypeVar

from edgeprune.config.targets import resolve_targets
from edgeprune.core.artifact import digest, parts_of
from edgeprune.core.backend import get_backend
from edgeprune.core.errors import (
    ConfigError,
    DeviceError,
    DroppedError,
    LostConnectionWarning,
    how_it_ended,
    tell,
)
from edgeprune.runners import Completed
from edgeprune.runners.connection import Connection
from edgeprune.runners.local import last_line
from edgeprune.runners.shell import Shell
from edgeprune.runners.travel import write_package
from edgeprune.runners.userland import FOLDER, KEPT, SETUP, START

CACHE = "EDGEPRUNE_CACHE"  # what a process there keeps for the next one lies in the device's own folder too
SMALL_BYTES = 1 << 14  # a file up to this goes along with the request that names it
SILENCE_S = 60.0  # a device that follows a process says something every 5 s
# Seconds to wait before each new try after a drop; they count anew once the device has answered.
BACKOFF_S = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 30.0, 30.0)

T = TypeVar("T")


class RemoteRunner:
    """Runs processes on a device that is not this machine, in a work folder that is removed at the end.

    Attributes:
        name: the address, for messages.
        machine: the device's architecture, such as ``aarch64``; known once it is entered.
        version: of the device's ``python3``, such as (3, 11); known once it is entered.
        root: the device's folder for what stays between sessions: pushed files by their sha256, the virtual
            environment of `edgeprune device setup`.
    """

    machine = ""
    version: tuple[int, ...] = ()
    emulated = False
    root = ""

    def __init__(self, address: str, folder: str, connect: Callable[[], Connection]) -> None:
        """Remember how the device is reached.

        Args:
            folder: on the device, for all that is pushed; empty for its cache folder.
            connect: makes the connection when the runner is entered.

        Raises:
            ConfigError: Python could not import from that folder.
        """
        if ":" in folder:  # which separates the paths that Python imports from
            raise ConfigError(f"--device {address!r}: name a folder without a colon in its path")
        self.name = address
        self._folder, self._connect = folder, connect
        self.connection: Connection
        self._work = ""
        self._package = ""
        self._python = ""
        self._pushed = 0

    @contextlib.contextmanager
    def shell(self) -> Iterator[Shell]:
        """Connect for scripts of the device's shell alone: it may have no Python.

        Raises:
            DeviceError: it cannot be reached.
        """
        connection = self._connect()
        try:
            yield Shell(connection)
        finally:
            connection.close()

    def __enter__(self) -> RemoteRunner:
        self.connection = self._connect()
        try:
            opened = self.connection.ask("open_work", root=self._folder)
            self.machine, self.root, self._work = opened["machine"], opened["root"], opened["work"]
            self.version = tuple(opened["version"])
            with tempfile.TemporaryDirectory() as folder:
                self._package = self.push(write_package(Path(folder) / "edgeprune.zip"))
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self._work:
                with contextlib.suppress(DeviceError):  # out of reach: the next session sweeps, days later
                    self.connection.ask("close_work", work=self._work)
        finally:
            self.connection.close()

    def python(self, *needs: str) -> str:
        """Return the interpreter there that imports numpy and the modules `needs`; asked again, the same.

        Raises:
            DeviceError: neither the one of `edgeprune device setup` nor the device's python3 does.
        """
        if needs or not self._python:
            candidates = [f"{self.root}/{FOLDER}/{START}", f"{self.root}/venv/bin/python", "python3"]
            modules = sorted({"numpy", *needs})
            found = persist(
                lambda: self.connection.ask("find_python", candidates=candidates, modules=modules)
            )
            if not found["python"]:
                others = [module for module in needs if module not in unasked(self.machine)]
                target = f" --target NAME, one that runs {' or '.join(others)}" if others else ""
                raise DeviceError(
                    f"{self.name}: no Python there has {' and '.join(modules)} ({found['reasons'][0]}): "
                    f"{SETUP.format(self.name)}{target}"
                )
            self._python = found["python"]
        return self._python

    def run(
        self, args: Sequence[str], timeout: float, on_line: Callable[[str], None] | None = None
    ) -> Completed:
        """Run a process there to its end; it goes on through a drop, and its output is collected after.

        Args:
            args: the command, never through a shell.
            timeout: seconds after which the device kills it with all its children, connected or not.

        Raises:
            DeviceError: it could not be started, timed out, was killed by a signal or exited other than 0, or
                the device could not be reached again.
        """
        command = textwrap.shorten(" ".join([Path(args[0]).name, *args[1:]]), 72, placeholder=" ...")
        job = f"{self._work}/job-{uuid.uuid4().hex}"
        variables = {"PYTHONPATH": self._package, CACHE: f"{self.root}/{KEPT}"} if self._package else {}
        request = {"job": job, "args": list(args), "variables": variables, "timeout": timeout}
        output = _Output(on_line)
        try:
            ended = persist(lambda: self._follow(request, output), lambda: output.received)
        except BaseException:
            with contextlib.suppress(DeviceError):
                self.connection.ask("stop", job=job)
            raise
        stdout, stderr = output.text("stdout"), output.text("stderr")
        if ended["error"]:
            raise DeviceError(f"{self.name}: {command}: {ended['error']}")
        if ended["timed_out"]:
            raise DeviceError(f"{self.name}: {command}: no answer within {timeout:g} s, it was stopped")
        if ended["returncode"] != 0:
            code = ended["returncode"]
            raise DeviceError.of_process(
                f"{self.name}: {command}", code, how_it_ended(code), last_line(stderr)
            )
        return Completed(tuple(args), 0, stdout, stderr)

    def push(self, local: Path) -> str:
        """Copy a file or folder to the device, checked there by sha256, and return its path there.

        What the device already has, from this or an earlier session, is not sent again; what broke off goes
        on where it stopped.

        Raises:
            DeviceError: the device has no space, or could not be reached again.
            OSError: it cannot be read here.
        """
        return self.push_all([local])[0]

    def push_all(self, paths: Sequence[Path]) -> list[str]:
        """Copy files and folders to the device as `push` does each, with as few requests as that takes."""
        hashed: list[tuple[str, str]] = []
        sources: dict[str, Path] = {}
        arrived = []
        for local in paths:
            self._pushed += 1
            arrived.append(f"{self._pushed}/{local.name or local.resolve().name}")
            for named, file in _named(local, arrived[-1]):
                hashed.append((named, digest(file)))
                sources[hashed[-1][1]] = file
        lacking = self._place(hashed, sources)
        for sha256, offset in lacking.items():
            self.send(sources[sha256], sha256, offset)
        if lacking and (lost := self._place(hashed)):
            name = next(name for name, sha256 in hashed if sha256 in lost).partition("/")[2]
            raise DeviceError(f"{self.name}: {name!r}: it arrived, but is not whole there any more")
        return [f"{self._work}/{name}" for name in arrived]

    def pull(self, remote: str, local: Path) -> Path:
        """Copy a file from the device, checked by sha256; it appears here only when it is whole.

        Raises:
            DeviceError: there is no such file, or the device could not be reached again.
        """
        aside = local.with_name(f".{uuid.uuid4().hex}")
        try:
            persist(lambda: self._fetch(remote, aside))
            aside.replace(local)
        finally:
            aside.unlink(missing_ok=True)
        return local

    def _follow(self, request: Mapping[str, Any], output: _Output) -> dict[str, Any]:
        with self.connection.open("run", **request, at=output.offsets()) as exchange:
            while "ended" not in (said := exchange.answer(SILENCE_S)):
                if said["stream"]:
                    output.add(said["stream"], base64.b64decode(said["data"]))
            ended: dict[str, Any] = said["ended"]
        return ended

    def _place(
        self, files: list[tuple[str, str]], sources: Mapping[str, Path] = MappingProxyType({})
    ) -> dict[str, int]:
        """Name files there; return what of them the device lacks, with the bytes that it has of each.

        Args:
            sources: the files by their sha256: small ones go along.
        """
        contents = {
            sha256: base64.b64encode(file.read_bytes()).decode()
            for sha256, file in sources.items()
            if file.stat().st_size <= SMALL_BYTES
        }
        request = {"root": self.root, "folder": self._work, "files": files, "contents": contents}
        lacking: dict[str, int] = persist(lambda: self.connection.ask("place", **request))["lacking"]
        return lacking

    def send(self, file: Path, sha256: str, offset: int) -> None:
        """Send the rest of a file to the device and keep it there, whole.

        Args:
            offset: bytes of it that the device has already.

        Raises:
            DeviceError: it does not arrive whole.
        """
        for start in (offset, None):
            attempt = _Push(self.connection, self.root, file, sha256, start)
            if persist(attempt, attempt.progress):
                return
            # Not the beginning of this file after all: once more from its first byte.
            persist(lambda: self.connection.ask("discard", root=self.root, sha256=sha256))
        raise DeviceError(
            f"{self.name}: {file.name!r}: what arrives there is not what is sent (sha256 differs)"
        )

    def _fetch(self, remote: str, aside: Path) -> None:
        if self.connection.fetch(remote, aside) != digest(aside):
            raise DroppedError(f"{self.name}: {remote!r}: it did not arrive whole")


def _named(local: Path, name: str) -> Iterator[tuple[str, Path]]:
    """Yield the files of a file with what lies beside it, or of a folder, each behind its name there."""
    for file in parts_of(local):
        if local.is_dir():
            yield f"{name}/{file.relative_to(local).as_posix()}", file
        else:
            yield f"{name.partition('/')[0]}/{file.relative_to(local.parent).as_posix()}", file


def unasked(machine: str) -> set[str]:
    """Return the modules that `SETUP` installs without a target: of the runtimes of `cpu` on that machine."""
    with contextlib.suppress(ConfigError):
        return {get_backend(profile.backend).MODULE for profile in resolve_targets(("cpu",), machine)}
    return set()


def persist(ask: Callable[[], T], progress: Callable[[], int] = lambda: 0) -> T:
    """Ask until the connection holds; give up when the device is out of reach for two minutes.

    Args:
        progress: a number that grows while the device answers, and lets the waiting times begin anew.
    """
    waits = iter(BACKOFF_S)
    before = progress()
    while True:
        try:
            return ask()
        except DroppedError as exc:
            if progress() > before:
                waits, before = iter(BACKOFF_S), progress()
            wait = next(waits, None)
            if wait is None:
                raise DeviceError(f"{exc}; {len(BACKOFF_S)} more tries failed") from exc
            if wait == BACKOFF_S[0]:
                tell(LostConnectionWarning(f"{exc}; it is tried again for {sum(BACKOFF_S):.0f} s"))
        time.sleep(wait)


class _Push:
    """One file on its way; called, and called again after a drop, it sends what the device lacks of it."""

    def __init__(
        self, connection: Connection, root: str, file: Path, sha256: str, offset: int | None
    ) -> None:
        self.connection, self._file, self._offset = connection, file, offset
        self._which = {"root": root, "sha256": sha256}
        self._arrived = 0

    def progress(self) -> int:
        """Return the bytes that were there when it last went on."""
        return self._arrived

    def __call__(self) -> bool:
        """Return whether the file is whole and right there."""
        offset, self._offset = self._offset, None  # after a drop it has to be asked for
        if offset is None:
            state = self.connection.ask("find_stored", **self._which)
            if state["whole"]:
                return True
            offset = int(state["offset"])
        self._arrived = offset
        return self.connection.send(self._file, offset=offset, **self._which)


class _Output:
    """What a process has written so far, and its whole lines as they come."""

    def __init__(self, on_line: Callable[[str], None] | None) -> None:
        self._streams = {"stdout": bytearray(), "stderr": bytearray()}
        self._on_line = on_line
        self._told = 0

    @property
    def received(self) -> int:
        return sum(self.offsets().values())

    def offsets(self) -> dict[str, int]:
        return {name: len(data) for name, data in self._streams.items()}

    def text(self, name: str) -> str:
        return self._streams[name].decode(errors="replace")

    def add(self, name: str, data: bytes) -> None:
        self._streams[name] += data
        if name != "stdout" or not self._on_line:
            return
        stdout = self._streams["stdout"]
        while (end := stdout.find(b"\n", self._told)) >= 0:
            line, self._told = bytes(stdout[self._told : end]), end + 1
            self._on_line(line.decode(errors="replace"))
