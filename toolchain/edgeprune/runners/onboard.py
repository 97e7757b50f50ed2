"""What runs on the device for `RemoteRunner`: requests over standard streams (ssh, adb), one after the other.

Nothing has to be installed there before: this source itself comes first on standard input, then a line of
JSON for each request, and data behind it. Answers are lines of JSON behind a mark, so what a login script
prints is not taken for one. It ends with its input, or after an error. Standard library only, nothing of
edgeprune, and no syntax newer than Python 3.8.
"""

from __future__ import annotations

import base64
import contextlib
import errno
import fcntl
import hashlib
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    import io

MARK = b"edgeprune-onboard: "
CHUNK = 1 << 18
FIRST_LOOK_S, LOOK_EVERY_S = 0.01, 0.2  # many a process is short
LOOK_AT_SIZE_S = 1.0
MOST_BYTES = 32 << 20  # that a process may print on one of its streams
HEARTBEAT_S = 5.0  # a process that follows a job notices by it that nobody reads any more
KEPT_DAYS = 7.0  # pushed files that no session has used for longer are removed
# In each work folder: any other `work-...` in a folder that the user names is the user's.
OURS = ".edgeprune"
PUSHED = re.compile(r"[0-9a-f]{64}(\.([0-9a-f]+\.)?partial)?")


def answer(**facts: Any) -> None:
    """Write one line to the other side."""
    sys.stdout.buffer.write(MARK + json.dumps(facts).encode() + b"\n")
    sys.stdout.buffer.flush()


def open_work(root: str) -> None:
    """Make the session's own work folder; remove what nobody has used for days."""
    place = Path(root) if root else _cache() / "edgeprune" / "device"
    store = place / "files"
    for folder in (place, store):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _require_own(folder)
    _require_own(place / "venv")
    pushed = (file for file in store.iterdir() if PUSHED.fullmatch(file.name) and file.is_file())
    for old in (*pushed, *(mark.parent for mark in place.glob(f"work-*/{OURS}"))):
        with contextlib.suppress(FileNotFoundError):  # another session is at it
            if time.time() - old.lstat().st_mtime > KEPT_DAYS * 86400:
                _clear(old) if old.is_dir() else old.unlink()
    work = tempfile.mkdtemp(prefix="work-", dir=place)
    (Path(work) / OURS).touch()
    version = list(sys.version_info[:2])
    answer(root=str(place), work=work, machine=platform.machine(), version=version)


def close_work(work: str) -> None:
    """End every job of the session and remove its folder."""
    _clear(Path(work))
    answer()


def find_stored(root: str, sha256: str) -> None:
    """Tell whether a file is there whole, checked by its content, and how much of it an earlier push left."""
    answer(whole=_is_whole(root, sha256), offset=_left(root, sha256))


def receive(root: str, sha256: str, offset: int, size: int) -> None:
    """Append `size` bytes of standard input to the `offset` bytes there from earlier pushes; keep the file if
    it is right.

    Two sessions may send the same file at once: both write the same bytes to the same places, so nothing is
    truncated, and whoever is first to have sent all of it keeps it for both.
    """
    partial = _places(root, sha256)[1]
    source = cast("io.BufferedReader", sys.stdin.buffer)
    try:
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT, 0o600), "wb") as stream:
            stream.seek(offset)
            while size and (chunk := source.read1(min(CHUNK, size))):
                size -= len(chunk)
                stream.write(chunk)
                stream.flush()  # what has arrived is not sent again, whatever happens next
            os.fsync(stream.fileno())
    except OSError as exc:
        if exc.errno in (errno.ENOSPC, errno.EDQUOT):
            partial.unlink(missing_ok=True)  # half a file would only keep the disk full
        raise OSError(exc.errno, exc.strerror, str(partial.parent)) from exc
    right = _keep(root, sha256, partial)
    if right:
        partial.unlink(missing_ok=True)  # of what another session has kept, nothing more is needed
    answer(right=right)


def keep(root: str, sha256: str, arrived: str) -> None:
    """Keep a file that adb has copied to a path of the session's own, if it is right; else remove it."""
    right = _keep(root, sha256, Path(arrived))
    Path(arrived).unlink(missing_ok=True)
    answer(right=right)


def discard(root: str, sha256: str) -> None:
    """Remove what a broken push has left: it was not the beginning of this file."""
    _places(root, sha256)[1].unlink(missing_ok=True)
    answer()


def place(root: str, folder: str, files: list[list[str]], contents: dict[str, str]) -> None:
    """Give stored files their names below `folder`; if some are lacking, tell how much of them is there.

    The names are links where the file system has them.

    Args:
        contents: in base64, small files by their sha256: they are stored first.
    """
    for sha256, content in contents.items():
        if not _is_whole(root, sha256):
            _store(root, sha256, base64.b64decode(content))
    wanted = dict.fromkeys(sha256 for _, sha256 in files)
    lacking = {sha256: _left(root, sha256) for sha256 in wanted if not _is_whole(root, sha256)}
    for name, sha256 in () if lacking else files:
        path = Path(folder) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():  # the answer to an earlier request was lost
            path.unlink()
        source = _places(root, sha256)[0]
        try:
            os.link(source, path)
        except OSError:  # FAT has none
            shutil.copyfile(source, path)
    answer(lacking=lacking)


def describe(path: str) -> None:
    """Tell a file's size and sha256."""
    file = Path(path)
    answer(size=file.stat().st_size, sha256=_sha256(file))


def fetch(path: str) -> None:
    """Send a file: its size and sha256 in the answer, its content after that."""
    with Path(path).open("rb") as stream:
        left = os.fstat(stream.fileno()).st_size
        answer(size=left, sha256=_sha256(Path(path)))
        while left and (chunk := stream.read(min(CHUNK, left))):
            left -= len(chunk)
            sys.stdout.buffer.write(chunk)
    sys.stdout.buffer.flush()
    if left:  # it was cut meanwhile: the other side sees it by the end
        sys.exit(1)


def find_python(candidates: list[str], modules: list[str]) -> None:
    """Name the first interpreter that imports all the modules; if there is none, what those there say."""
    wants = "import sys\nif sys.version_info < (3, 10): sys.exit('it is older than Python 3.10')\n"
    wants += f"import {', '.join(modules)}"
    reasons = []
    for python in candidates:
        if "/" in python and not Path(python).exists():
            continue
        try:
            # There, since a `numpy.py` in the user's folder would be taken for numpy.
            done = subprocess.run(
                [python, "-c", wants],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                check=False,
                timeout=120,
                cwd="/",
            )
        except (OSError, subprocess.TimeoutExpired) as exc:
            reasons.append(f"{python}: {exc}")
            continue
        if done.returncode == 0:
            answer(python=shutil.which(python) or python)
            return
        said = done.stderr.decode(errors="replace").strip().splitlines()
        reasons.append(f"{python}: {said[-1] if said else f'ended with {done.returncode}'}")
    answer(python=None, reasons=reasons)


def run(job: str, args: list[str], variables: dict[str, str], timeout: float, at: dict[str, int]) -> None:
    """Start a process that the end of this connection does not end, and follow it, see `follow`.

    Asked again after a drop, it follows the process that was started.
    """
    folder = Path(job)
    try:
        folder.mkdir()
    except FileExistsError:
        follow(job, at)
        return
    lock = _locked(folder)
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        os.close(lock)  # it is the supervisor's
        follow(job, at)
        return
    os.setsid()
    if os.fork():
        os._exit(0)
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in range(3):  # sshd waits for its streams, and must not wait for us
        os.dup2(nothing, stream)
    try:
        _supervise(folder, args, variables, timeout)
    finally:
        os.close(lock)
        os._exit(0)


def _supervise(folder: Path, args: list[str], variables: dict[str, str], timeout: float) -> None:
    ended: dict[str, Any] = {"returncode": None, "timed_out": False, "error": None}
    with (folder / "stdout").open("wb") as stdout, (folder / "stderr").open("wb") as stderr:
        try:
            process = subprocess.Popen(
                args,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                cwd=folder,
                env={**os.environ, "TMPDIR": str(folder), **variables},
                start_new_session=True,
            )
        except OSError as exc:
            ended["error"] = f"cannot be started: {exc.strerror}"
        else:
            _write(folder / "group", str(process.pid))
            ended.update(_watch(process, (folder / "stdout", folder / "stderr"), timeout))
            _kill_group(process.pid)
            ended["returncode"] = process.wait()
    _write(folder / "ended", json.dumps(ended))


def _watch(process: subprocess.Popen[bytes], printed: tuple[Path, ...], timeout: float) -> dict[str, Any]:
    """Wait until a process ends, or must not go on; tell which, in the words of the file `ended`."""
    deadline = time.monotonic() + timeout
    while True:
        try:
            process.wait(max(0.0, min(LOOK_AT_SIZE_S, deadline - time.monotonic())))
            return {}
        except subprocess.TimeoutExpired:
            if any(file.stat().st_size > MOST_BYTES for file in printed):
                return {"error": f"it printed more than {MOST_BYTES >> 20} MB, it was stopped"}
            if time.monotonic() >= deadline:
                return {"timed_out": True}


def follow(job: str, at: dict[str, int]) -> None:
    """Send what a job has written since the offsets `at`, until it has ended and all is sent."""
    folder = Path(job)
    told, pause = time.monotonic(), FIRST_LOOK_S
    while True:
        over = not _is_alive(folder)  # looked at before the last read: nothing is written after it
        sent = False
        for name, offset in at.items():
            chunk = _chunk(folder / name, offset)
            if chunk:
                at[name] += len(chunk)
                answer(stream=name, data=base64.b64encode(chunk).decode())
                sent = True
        if over and not sent:
            break
        if not sent:
            time.sleep(pause)
            pause = min(2 * pause, LOOK_EVERY_S)
            if time.monotonic() - told > HEARTBEAT_S:
                told = time.monotonic()
                answer(stream=None)
    try:
        answer(ended=json.loads((folder / "ended").read_text()))
    except FileNotFoundError:
        gone = "left no status: the device was restarted, or its disk is full"
        answer(ended={"returncode": None, "timed_out": False, "error": gone})


def stop(job: str) -> None:
    """Kill a job with all its children."""
    _kill(Path(job))
    answer()


def _clear(work: Path) -> None:
    for job in work.glob("job-*"):
        _kill(job)
    shutil.rmtree(work, ignore_errors=True)


def _cache() -> Path:
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser())
    except RuntimeError:  # no HOME, and no entry in passwd
        raise OSError(errno.ENOENT, "it has no home folder: name a folder in the address") from None


def _require_own(folder: Path) -> None:
    """Refuse a folder of another user, who could change what is run from it; root may use anyone's."""
    me = os.geteuid()
    if me and folder.exists() and folder.stat().st_uid not in (me, 0):
        raise PermissionError(errno.EPERM, "it belongs to another user: name another folder", str(folder))


def _is_whole(root: str, sha256: str) -> bool:
    file = _places(root, sha256)[0]
    with contextlib.suppress(FileNotFoundError):  # also when another session has just removed it
        if _sha256(file) == sha256:
            os.utime(file)
            return True
        file.unlink()
    return False


def _keep(root: str, sha256: str, arrived: Path) -> bool:
    """Give a file that has arrived its place if it is right; tell whether it is there, whoever sent it."""
    file = _places(root, sha256)[0]
    with contextlib.suppress(FileNotFoundError):  # another session has just kept it
        if _sha256(arrived) == sha256:
            arrived.replace(file)
            with contextlib.suppress(PermissionError):  # FAT has no such rights
                file.chmod(0o444)
            return True
    return _is_whole(root, sha256)


def _store(root: str, sha256: str, content: bytes) -> None:
    arrived = _places(root, sha256)[0].with_name(f"{sha256}.{os.getpid():x}.partial")
    try:
        arrived.write_bytes(content)
        _keep(root, sha256, arrived)
    except OSError as exc:
        raise OSError(exc.errno, exc.strerror, str(arrived.parent)) from exc
    finally:
        with contextlib.suppress(FileNotFoundError):
            arrived.unlink()


def _left(root: str, sha256: str) -> int:
    try:
        return _places(root, sha256)[1].stat().st_size
    except FileNotFoundError:
        return 0


def _chunk(file: Path, offset: int) -> bytes:
    try:
        with file.open("rb") as stream:
            stream.seek(offset)
            return stream.read(CHUNK)
    except FileNotFoundError:
        return b""


def _locked(folder: Path) -> int:
    """Hold a job's lock: it lives exactly as long as the process that supervises the job."""
    handle = os.open(folder / "lock", os.O_CREAT | os.O_RDWR)
    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return handle


def _is_alive(folder: Path) -> bool:
    try:
        os.close(_locked(folder))
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _kill(folder: Path) -> None:
    """Kill the group of a job that is supervised: until its supervisor ends, its number is no one else's."""
    while _is_alive(folder):
        with contextlib.suppress(OSError, ValueError):  # it is just being started
            _kill_group(int((folder / "group").read_text()))
        time.sleep(0.01)


def _kill_group(group: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)


def _places(root: str, sha256: str) -> tuple[Path, Path]:
    store = Path(root) / "files"
    return store / sha256, store / f"{sha256}.partial"


def _sha256(file: Path) -> str:
    total = hashlib.sha256()
    with file.open("rb") as stream:
        while chunk := stream.read(CHUNK):
            total.update(chunk)
    return total.hexdigest()


def _write(file: Path, text: str) -> None:
    aside = file.with_name(f".{file.name}")
    aside.write_text(text)
    aside.replace(file)


VERBS = {
    verb.__name__: verb
    for verb in (
        open_work,
        close_work,
        find_stored,
        receive,
        keep,
        discard,
        place,
        describe,
        fetch,
        find_python,
        run,
        stop,
    )
}


def main() -> None:
    """Do what the lines on standard input ask for."""
    sys.stdout.buffer.write(b"\n")  # a login script may have left its line open: a window's title, say
    sys.stdout.buffer.flush()  # no process that is forked has it as well
    for line in iter(sys.stdin.buffer.readline, b""):
        request = json.loads(line)
        try:
            VERBS[request.pop("verb")](**request)
        except BrokenPipeError:
            os._exit(1)  # nobody reads any more
        except OSError as exc:
            answer(error=exc.strerror or str(exc), path=str(exc.filename or ""), errno=exc.errno)
            return  # data that was not read may follow


if __name__ == "__main__":
    main()
