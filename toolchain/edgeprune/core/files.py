"""Files: only regular ones are read, within a bound; texts are written whole, and never in place of a device.

Standard library only: this file travels to the device with the benchmark worker.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from edgeprune.core.errors import EdgepruneError, OutputError

DOCUMENT_BYTES = 256 << 20
"""Largest document that is read whole: a result with the samples of hours stays far below it."""
ENGINE_BYTES = 2 << 30
"""Largest file of an engine or a graph: what protobuf and flatbuffers can address."""
LITTLE_SPACE = 1 << 20
"""Bytes: with fewer a disk counts as full."""
LINE_BYTES = 64 << 20
"""Longest line of a file that is read line by line."""
_CHUNK = 1 << 20
_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}

_MEANT = {
    errno.ENOSPC: "the disk is full",
    errno.EEXIST: "a part of the path is a file, not a folder",
    errno.ENOTDIR: "a part of the path is a file, not a folder",
    errno.ENXIO: "nobody reads the FIFO or socket",
}


@contextmanager
def open_regular(path: Path, error: type[EdgepruneError], limit: int | None = None) -> Iterator[BinaryIO]:
    """Open a regular file to read its bytes; it never waits, whatever lies at the path.

    Args:
        error: class of the error that a failure is told by.
        limit: largest size in bytes; None where the caller reads it in parts.

    Raises:
        error: no such file, no permission, a FIFO, socket, device or folder, larger than `limit`; also when
            reading it fails in the middle.
    """
    with _open_regular(path, error, limit) as stream:
        try:
            yield stream
        except OSError as exc:
            raise error(f"{path}: cannot be read: {reason(exc)}") from exc


def read_bytes(path: Path, error: type[EdgepruneError], limit: int = DOCUMENT_BYTES) -> bytes:
    """Return the content of a regular file of at most `limit` bytes.

    Raises:
        error: see `opened`.
    """
    with open_regular(path, error, limit) as stream:
        # The files of /proc have no size, and some of them no end.
        content = stream.read(limit + 1)
    if content is None:
        raise error(f"{path}: cannot be read: it gives nothing without waiting")
    if len(content) > limit:
        raise error(f"{path}: cannot be read: {_too_large(limit)}")
    return content


def read_text(path: Path, error: type[EdgepruneError], limit: int = DOCUMENT_BYTES) -> str:
    """Return the text of a regular UTF-8 file, without a byte order mark.

    Raises:
        error: see `opened`; or it is not UTF-8.
    """
    return to_text(read_bytes(path, error, limit), str(path), error)


def to_text(content: bytes, where: str, error: type[EdgepruneError]) -> str:
    """Return UTF-8 bytes as text, without a byte order mark and with ``\\n`` at the ends of lines.

    Raises:
        error: they are not UTF-8; UTF-16 is named, since editors on Windows write it.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        wide = content[:2] in (b"\xff\xfe", b"\xfe\xff")
        what = "UTF-16" if wide else f"byte {exc.start} is {content[exc.start]:#04x}"
        raise error(f"{where}: not a UTF-8 text ({what}): save it as UTF-8") from exc
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_lines(path: Path, error: type[EdgepruneError]) -> Iterator[str]:
    """Yield the lines of a regular UTF-8 file of any size, each without its end.

    Raises:
        error: see `opened`; or a line is not UTF-8 or longer than `LINE_BYTES`. The line is named.
    """
    with open_regular(path, error) as stream:
        for number, line in enumerate(iter(lambda: stream.readline(LINE_BYTES + 1), b""), 1):
            if len(line) > LINE_BYTES:
                raise error(f"{path}:{number}: cannot be read: the line is {_too_large(LINE_BYTES)}")
            yield to_text(line, f"{path}:{number}", error).rstrip("\n")


def size_of(path: Path, error: type[EdgepruneError]) -> int:
    """Return the bytes of a regular file.

    Raises:
        error: see `opened`.
    """
    with open_regular(path, error) as stream:
        return os.fstat(stream.fileno()).st_size


def read_parts(path: Path, error: type[EdgepruneError]) -> Iterator[bytes]:
    """Yield the content of a regular file of any size in parts of at most 1 MiB.

    Raises:
        error: see `opened`.
    """
    with open_regular(path, error) as stream:
        while chunk := stream.read(_CHUNK):
            yield chunk


def inside(folder: Path, name: str, error: type[EdgepruneError]) -> Path:
    """Return the path that a document in `folder` gives as `name`, which has to lie in that folder.

    Raises:
        error: it is absolute, leads out of the folder, also by a link, or is no name of a file.
    """
    try:
        path, root = (folder / name).resolve(), folder.resolve()
    except (OSError, ValueError, RuntimeError) as exc:  # a NUL, a loop of links
        raise error(f"{folder}: {name!a}: no path inside this folder: {reason(exc)}") from exc
    if root not in path.parents:
        raise error(f"{folder}: {name!a}: a path inside this folder is expected")
    return folder / name


def write_text_atomically(path: Path, text: str | Iterable[str]) -> None:
    """Write a text, or its parts, aside and rename it into place, so that no reader ever sees half of it.

    A link stays one: what it points to is replaced. A device, a FIFO and this process's own output are
    written through, as there is nothing to rename.

    Raises:
        OutputError: the place cannot be written: permissions, a full disk, a folder, a FIFO without a reader.
    """
    parts = [text] if isinstance(text, str) else text
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        found = _status(path)
        if (own := _own_output(found)) is not None:
            _write_through(os.dup(own), parts)
        elif found is not None and not stat.S_ISREG(found.st_mode):
            _write_through(os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC), parts)
        else:
            _replace(Path(os.path.realpath(path)), parts, stat.S_IMODE(found.st_mode) if found else 0o644)
    except (OSError, ValueError) as exc:
        raise OutputError(f"{path}: cannot be written: {reason(exc)}") from exc


def reason(exc: BaseException) -> str:
    """Return what an error of the system says, without its number and path."""
    if isinstance(exc, OSError) and exc.errno in _MEANT:
        return _MEANT[exc.errno]
    said = exc.strerror if isinstance(exc, OSError) else None
    return said or (str(exc).splitlines() or [type(exc).__name__])[0]


def _open_regular(path: Path, error: type[EdgepruneError], limit: int | None) -> BinaryIO:
    handle = None
    try:
        # Looked at before it is opened: opening alone has effects on some devices.
        _require_regular(path.stat(), limit)
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        _require_regular(os.fstat(handle), limit)
        return os.fdopen(handle, "rb")
    except (OSError, ValueError) as exc:  # a name may hold a NUL
        if handle is not None:
            os.close(handle)
        raise error(f"{path}: cannot be read: {reason(exc)}") from exc


def _require_regular(found: os.stat_result, limit: int | None) -> None:
    if not stat.S_ISREG(found.st_mode):
        kind = _KINDS.get(stat.S_IFMT(found.st_mode), "no file")
        raise ValueError(f"it is {kind}, not a regular file")
    if limit is not None and found.st_size > limit:
        raise ValueError(_too_large(limit))


def _too_large(limit: int) -> str:
    size = f"{limit >> 20} MiB" if limit >= 1 << 20 else f"{limit} bytes"
    return f"larger than the {size} that are read"


def _status(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except FileNotFoundError:
        return None


def _own_output(found: os.stat_result | None) -> int | None:
    """Return this process's standard output or error where that is the file, such as of ``/dev/stdout``."""
    for stream in (sys.stdout, sys.stderr) if found else ():
        try:
            handle = stream.fileno()
            if os.path.samestat(os.fstat(handle), found):  # type: ignore[arg-type]  # not reached with None
                stream.flush()
                return handle
        except (OSError, ValueError, AttributeError):  # closed, or replaced by what has no file
            continue
    return None


def _write_through(handle: int, parts: Iterable[str]) -> None:
    os.set_blocking(handle, True)
    with os.fdopen(handle, "w", encoding="utf-8") as stream:
        stream.writelines(parts)


def _replace(path: Path, parts: Iterable[str], mode: int) -> None:
    if path.is_symlink():
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
    handle, name = tempfile.mkstemp(prefix=".edgeprune-", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.writelines(parts)
            stream.flush()
            os.fsync(stream.fileno())
        Path(name).chmod(mode)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def full_place(words: Iterable[str]) -> str | None:
    """Return which folder's disk has no space left: that of temporary files, or of a path.

    Args:
        words: of a command line, any of which may be a path or end in ``=PATH``.
    """
    for path in (Path(tempfile.gettempdir()), Path(), *(Path(word.rpartition("=")[2]) for word in words)):
        with suppress(OSError, ValueError, StopIteration):
            place = next(one for one in (path, *path.parents) if one.is_dir())
            if shutil.disk_usage(place).free < LITTLE_SPACE:
                return str(place.resolve())
    return None


def is_stream(path: Path) -> bool:
    """Whether what is written there goes through at once: a device, a FIFO, this process's own output."""
    found = _status(path)
    return found is not None and (not stat.S_ISREG(found.st_mode) or _own_output(found) is not None)
