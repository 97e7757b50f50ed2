"""A device behind adb for the tests: its side of adb's transport protocol on loopback, for the real client.

After its description in AOSP (packages/modules/adb: protocol.txt, SYNC.TXT, shell_protocol.h): ``CNXN``,
``AUTH``, ``OPEN``, ``OKAY``, ``WRTE`` and ``CLSE`` at version 0x01000001, the services ``shell,v2,raw:`` and
``sync:`` (version 1). Commands run on this machine; where a mount namespace is allowed, they see a folder of
the test as ``/data``, and so do files by ``sync:``.
"""

from __future__ import annotations

import contextlib
import os
import queue
import shutil
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

ADB = shutil.which("adb")
VERSION, MAX_PAYLOAD = 0x01000001, 1 << 18
BANNER = b"%s::ro.product.name=test;ro.product.model=Test_Board;ro.product.device=test;features=%s"
FEATURES = "shell_v2"
TOKEN, PUBLIC_KEY = 1, 3
STDIN, STDOUT, STDERR, EXIT, CLOSE_STDIN = range(5)
PLACE = "/data/local/tmp"


class HungUpError(Exception):
    """The client or the transport is gone."""


class Stream:
    """One service that the client has opened."""

    def __init__(self, transport: Transport, own: int, theirs: int) -> None:
        self._transport, self._own, self._theirs = transport, own, theirs
        self._chunks: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._rest = b""
        self._may_write = threading.Semaphore(0)
        self.closed = self._stalled = False

    def feed(self, data: bytes) -> None:
        self._chunks.put(data)
        self._transport.send(b"OKAY", self._own, self._theirs)

    def acknowledged(self) -> None:
        self._may_write.release()

    def stall(self) -> None:
        """Send nothing any more, and stay open."""
        self._stalled = True

    def hang_up(self) -> None:
        self.closed = True
        self._chunks.put(None)
        self._may_write.release()

    def accept(self) -> None:
        self._transport.send(b"OKAY", self._own, self._theirs)
        self._may_write.release()

    def close(self) -> None:
        if self._stalled:
            return
        self._transport.send(b"CLSE", self._own, self._theirs)

    def read(self, size: int) -> bytes:
        while len(self._rest) < size:
            chunk = self._chunks.get()
            if chunk is None:
                self._chunks.put(None)
                raise HungUpError
            self._rest += chunk
        data, self._rest = self._rest[:size], self._rest[size:]
        return data

    def write(self, data: bytes) -> None:
        for start in range(0, len(data), self._transport.most):
            self._may_write.acquire()
            if self.closed:
                self._may_write.release()
                raise HungUpError
            if self._stalled:
                raise HungUpError
            piece = data[start : start + self._transport.most]
            self._transport.send(b"WRTE", self._own, self._theirs, piece)


class Transport:
    """One connection of an adb server."""

    def __init__(self, device: AdbDevice, connection: socket.socket) -> None:
        self._device, self._socket = device, connection
        self._lock = threading.Lock()
        self._streams: dict[int, Stream] = {}
        self.most = MAX_PAYLOAD

    def send(self, command: bytes, first: int, second: int, data: bytes = b"") -> None:
        number = int.from_bytes(command, "little")
        numbers = (first, second, len(data), sum(data) & 0xFFFFFFFF, number ^ 0xFFFFFFFF)
        header = struct.pack("<4sIIIII", command, *numbers)
        with self._lock, contextlib.suppress(OSError):
            self._socket.sendall(header + data)
        self._device.sends(len(data))

    def stall(self) -> None:
        for stream in list(self._streams.values()):
            stream.stall()

    def hang_up(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def serve(self) -> None:
        try:
            with self._socket:
                while True:
                    command, first, second, size, _, _ = struct.unpack("<4sIIIII", self._receive(24))
                    self._take(command, first, second, self._receive(size))
        except (HungUpError, OSError):
            pass
        finally:
            self._device.transports.discard(self)
            for stream in list(self._streams.values()):
                stream.hang_up()

    def _receive(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            chunk = self._socket.recv(size - len(data))
            if not chunk or self._device.counts(len(chunk)):
                raise HungUpError
            data += chunk
        return bytes(data)

    def _take(self, command: bytes, first: int, second: int, data: bytes) -> None:
        stream = self._streams.get(second)
        if command == b"AUTH" and first == PUBLIC_KEY:
            return  # the user would be asked now
        if command in (b"CNXN", b"AUTH") and not self._device.trusts:
            self.send(b"AUTH", TOKEN, 0, os.urandom(20))  # no signature is that of a known key
        elif command == b"CNXN":
            self.most = min(MAX_PAYLOAD, second)
            words = (self._device.state.encode(), self._device.features.encode())
            self.send(b"CNXN", VERSION, MAX_PAYLOAD, BANNER % words)
        elif command == b"OPEN":
            own = max(self._streams, default=0) + 1
            self._streams[own] = opened = Stream(self, own, first)
            service = data.rstrip(b"\0").decode()
            threading.Thread(target=self._device.serve, args=(service, opened), daemon=True).start()
        elif stream and command == b"OKAY":
            stream.acknowledged()
        elif stream and command == b"WRTE":
            stream.feed(data)
        elif stream and command == b"CLSE":
            stream.hang_up()
            del self._streams[second]


@dataclass(eq=False)
class AdbDevice:
    """A device on a port of loopback.

    Its `python3` is the interpreter of the tests until `python_is` says otherwise.

    Attributes:
        root: its files below ``/data`` lie here.
        holder: the process in whose mount namespace `root` is ``/data``; None: addresses name a folder.
        namespaces: those of `holder` that its commands enter.
        environment: of its commands; by default this machine's programs are found.
        state: what it says that it is: a device, or its recovery system.
        trusts: whether it lets this machine in.
        spoils: whether a bit of each file that is sent to it is lost.
        received: bytes that have arrived.
        cuts: how often `cut_after` or `cut_after_sending` have ended a connection.
    """

    root: Path
    namespaces: tuple[str, ...] = ("--mount",)
    environment: dict[str, str] | None = None
    state: str = "device"
    features: str = FEATURES
    holder: subprocess.Popen[bytes] | None = None
    trusts: bool = True
    spoils: bool = False
    received: int = 0
    cuts: int = 0
    port: int = 0
    transports: set[Transport] = field(default_factory=set)
    _cut_at: float = float("inf")
    _cut_after_sending: float = float("inf")
    _stays_away: bool = False
    _listener: socket.socket | None = None

    @property
    def serial(self) -> str:
        return f"127.0.0.1:{self.port}"

    def address(self, folder: Path | str = "") -> str:
        default = "" if self.holder else self.here(f"{PLACE}/edgeprune")
        return f"adb://{self.serial}{folder or default}"

    def here(self, path: str) -> Path:
        """Return where a path of the device lies on this machine."""
        inside = path.removeprefix("/data/")
        return self.root / inside if inside != path else Path(path)

    @property
    def cache(self) -> Path:
        return self.here(f"{PLACE}/edgeprune")

    def python_is(self, script: str) -> None:
        """Make the device's `python3` a shell script."""
        path = self.root / "bin" / "python3"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def own_python(self) -> None:
        self.python_is(f'exec "{sys.executable}" "$@"')

    # Coming and going

    def arrive(self) -> None:
        """Listen, at the same port as before."""
        self._cut_at, self._stays_away = float("inf"), False
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def leave(self) -> None:
        """Be gone: no connection is left, none can be made."""
        if self._listener:
            with contextlib.suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None
        self.drop()

    def drop(self) -> int:
        """End every connection, not what it has started; return how many there were."""
        transports = list(self.transports)
        for transport in transports:
            transport.hang_up()
        return len(transports)

    def stall(self) -> None:
        """Be silent on all that is open now."""
        for transport in list(self.transports):
            transport.stall()

    def cut_after(self, size: int, stay_away: bool = False) -> None:
        """End the connection once, after so many more bytes from the client."""
        self._cut_at, self._stays_away = self.received + size, stay_away

    def cut_after_sending(self, size: int) -> None:
        """End the connection once, after so many more bytes to the client."""
        self._cut_after_sending = size

    def sends(self, size: int) -> None:
        """Count what is sent; end the connections when it is enough."""
        self._cut_after_sending -= size
        if self._cut_after_sending <= 0:
            self._cut_after_sending = float("inf")
            self.cuts += 1
            self.drop()

    def counts(self, size: int) -> bool:
        """Count what arrives; return whether the connection ends here."""
        self.received += size
        if self.received < self._cut_at:
            return False
        self._cut_at = float("inf")
        self.cuts += 1
        if self._stays_away:
            self.leave()
        return True

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                transport = Transport(self, listener.accept()[0])
                self.transports.add(transport)
                threading.Thread(target=transport.serve, daemon=True).start()

    # Services

    def serve(self, service: str, stream: Stream) -> None:
        kind, _, rest = service.partition(":")
        words = kind.split(",")
        with contextlib.suppress(HungUpError):
            if words[0] == "shell" and {"v2", "raw"} <= {*words}:
                stream.accept()
                self._shell(rest, stream)
            elif service == "sync:":
                stream.accept()
                self._sync(stream)
        stream.close()

    def inside(self, *command: str) -> list[str]:
        """Return a command that runs in the device's mount namespace."""
        if not self.holder:
            return [*command]
        return [
            shutil.which("nsenter") or "nsenter",
            f"--target={self.holder.pid}",
            *self.namespaces,
            "--root",
            "--wd",
            "--",
            *command,
        ]

    def _own_environment(self) -> dict[str, str]:
        return {"PATH": f"{self.root}/bin:/usr/bin:/bin", "HOME": "/", "LANG": "C.UTF-8"}

    def _shell(self, command: str, stream: Stream) -> None:
        process = subprocess.Popen(
            self.inside("sh", "-c", command),
            env=self.environment or self._own_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            cwd="/",
        )
        pumps = [
            threading.Thread(target=_pump, args=(number, source, stream), daemon=True)
            for number, source in ((STDOUT, process.stdout), (STDERR, process.stderr))
        ]
        for pump in pumps:
            pump.start()
        threading.Thread(target=_feed, args=(stream, process), daemon=True).start()
        for pump in pumps:
            pump.join()
        code = process.wait()
        stream.write(_packet(EXIT, bytes([128 - code if code < 0 else code])))

    def _sync(self, stream: Stream) -> None:
        while True:
            request, size = struct.unpack("<4sI", stream.read(8))
            words = stream.read(size)
            if request == b"QUIT":
                return
            try:
                self._answer(request, words, stream)
            except OSError as exc:
                reason = (exc.strerror or "failed").encode()
                stream.write(struct.pack("<4sI", b"FAIL", len(reason)) + reason)

    def _answer(self, request: bytes, words: bytes, stream: Stream) -> None:
        if request == b"SEND":
            self._save(words.decode(), stream)
            return
        path = self.here(words.decode())
        if request == b"STAT":
            stream.write(b"STAT" + _stat(path))
        elif request == b"LIST":
            for entry in path.iterdir() if path.is_dir() else ():
                name = entry.name.encode()
                stream.write(b"DENT" + _stat(entry) + struct.pack("<I", len(name)) + name)
            stream.write(b"DONE" + bytes(16))
        elif request == b"RECV":
            with path.open("rb") as source:
                while chunk := source.read(1 << 16):
                    stream.write(struct.pack("<4sI", b"DATA", len(chunk)) + chunk)
            stream.write(struct.pack("<4sI", b"DONE", 0))

    def _save(self, words: str, stream: Stream) -> None:
        path, _, mode = words.rpartition(",")
        place, failure = self.here(path), None
        with contextlib.ExitStack() as stack:
            try:
                place.unlink(missing_ok=True)
                sink = stack.enter_context(place.open("wb", buffering=0))
            except OSError as exc:
                failure = exc
            while (header := struct.unpack("<4sI", stream.read(8)))[0] != b"DONE":
                chunk = stream.read(header[1])  # to the end, also when there is no place for it
                try:
                    if not failure:
                        sink.write(bytes([chunk[0] ^ 1]) + chunk[1:] if self.spoils else chunk)
                except OSError as exc:
                    failure = exc
        if failure:
            with contextlib.suppress(OSError):
                place.unlink()
            raise failure
        place.chmod(int(mode) & 0o777)
        stream.write(struct.pack("<4sI", b"OKAY", 0))


def _stat(path: Path) -> bytes:
    try:
        found = path.lstat()
    except OSError:
        return bytes(12)
    return struct.pack("<III", found.st_mode, found.st_size & 0xFFFFFFFF, int(found.st_mtime))


def _packet(number: int, data: bytes) -> bytes:
    return struct.pack("<BI", number, len(data)) + data


def _pump(number: int, source: IO[bytes], stream: Stream) -> None:
    with source, contextlib.suppress(HungUpError):
        while chunk := os.read(source.fileno(), 1 << 15):
            stream.write(_packet(number, chunk))


def _feed(stream: Stream, process: subprocess.Popen[bytes]) -> None:
    assert process.stdin
    with contextlib.suppress(HungUpError, BrokenPipeError), process.stdin:
        while True:
            number, size = struct.unpack("<BI", stream.read(5))
            data = stream.read(size)
            if number == CLOSE_STDIN:
                return
            if number == STDIN:
                process.stdin.write(data)
                process.stdin.flush()


# Everything of this machine, bound below a new root, with `/data` beside it.
_NAMESPACE = """
set -e
mount -t tmpfs none "$1"
for entry in /*; do
  case $entry in "$1"|/data) continue;; esac
  if [ -L "$entry" ]; then cp -P "$entry" "$1$entry"; continue; fi
  if [ -d "$entry" ]; then mkdir "$1$entry"; mount --rbind "$entry" "$1$entry"; fi
done
mkdir "$1/data"
mount --bind "$2" "$1/data"
echo ready
exec chroot "$1" sleep infinity
"""


def _namespace(root: Path, folder: Path) -> subprocess.Popen[bytes] | None:
    """Return a process in a mount namespace where `root` is ``/data``; None where that is not allowed."""
    place = folder / "newroot"
    place.mkdir()
    if os.getuid() or not (shutil.which("unshare") and shutil.which("nsenter")):
        return None
    holder = subprocess.Popen(
        ["unshare", "--mount", "sh", "-c", _NAMESPACE, "sh", place, root],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert holder.stdout
    if holder.stdout.readline() == b"ready\n":
        return holder
    holder.stdout.close()
    holder.wait()
    return None


@contextlib.contextmanager
def running(folder: Path, whole: bool = True) -> Iterator[AdbDevice]:
    """Start a device in a temporary folder.

    Args:
        whole: try to have a ``/data``.
    """
    root = folder / "data"
    (root / "local" / "tmp").mkdir(parents=True)
    device = AdbDevice(root, holder=_namespace(root, folder) if whole else None)
    device.own_python()
    device.arrive()
    try:
        yield device
    finally:
        device.leave()
        if device.holder:
            device.holder.kill()
            device.holder.wait()
            assert device.holder.stdout
            device.holder.stdout.close()


@contextlib.contextmanager
def server(folder: Path) -> Iterator[str]:
    """Start an adb server with keys of its own, for the client's `ANDROID_ADB_SERVER_PORT`; end it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    ours = {**os.environ, "HOME": str(folder), "ANDROID_ADB_SERVER_PORT": port}
    ours.pop("ANDROID_SDK_HOME", None)
    subprocess.run([str(ADB), "start-server"], env=ours, check=True, capture_output=True, timeout=60)
    try:
        yield port
    finally:
        subprocess.run([str(ADB), "kill-server"], env=ours, check=True, capture_output=True, timeout=60)


def forget(device: AdbDevice) -> None:
    """Let the adb server of this process forget a device."""
    subprocess.run([str(ADB), "disconnect", device.serial], check=False, capture_output=True, timeout=60)
