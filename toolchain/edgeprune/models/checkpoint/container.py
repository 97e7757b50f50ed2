"""The two file formats of `torch.save`, read within bounds: the pickle, and the numbers that lie beside it.

Since torch 1.6 a checkpoint is an archive of uncompressed records (zip); before, three short pickles, the
content's pickle and the numbers one after another. The tar of torch 0.1 is older than any ultralytics.
"""

from __future__ import annotations

import io
import struct
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, cast

from edgeprune.core import files
from edgeprune.core.errors import ModelError
from edgeprune.models.checkpoint.pickled import DamagedError, RefusedError, read_pickle
from edgeprune.models.checkpoint.tensors import Storage, parse_storage

ZIP_MAGIC = b"PK\x03\x04"
MOST_PICKLE = 64 * 2**20
"""Bytes of the pickle itself; a yolov9e's has half a million."""
MOST_DIRECTORY = 4 * 2**20
_MAGIC, _PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
_DAMAGE = (zipfile.BadZipFile, EOFError, OSError, ValueError, NotImplementedError, struct.error, UnicodeError)
_PICKLE_STARTS = (b"\x80", b"L")  # protocols 2 and later; 0 and 1 begin with torch's mark as a number
NameOf = Callable[[str], Any]


@dataclass
class Content:
    """A checkpoint's pickle as records, and its numbers.

    Attributes:
        root: what the pickle makes.
        size: of the file, in bytes; no checkpoint needs more numbers than that.
        read: gives the bytes of a storage.
    """

    root: Any
    size: int
    read: Callable[[Storage], bytearray]
    _kept: dict[str, bytearray] = field(default_factory=dict)
    _taken: int = 0

    def numbers(self, storage: Storage) -> bytearray:
        """Return the bytes of a storage, read once.

        Raises:
            RefusedError: the file's storages overlap, so that they are more than the file.
            DamagedError: they are missing or cut off.
        """
        if storage.key not in self._kept:
            self._taken += storage.nbytes
            if self._taken > self.size:
                raise RefusedError("holds more numbers than its size allows")
            with _as_damage():
                self._kept[storage.key] = self.read(storage)
        data = self._kept[storage.key]
        if len(data) != storage.nbytes:
            raise DamagedError(f"{storage.count} numbers are promised, {len(data)} bytes are there")
        return data


@contextmanager
def open_pickle(path: Path, name_of: NameOf) -> Iterator[Content]:
    """Read a checkpoint's pickle as records; its numbers can be read while the context is open.

    Raises:
        RefusedError: it holds what no checkpoint needs.
        DamagedError: it is cut off, or is no checkpoint.
        NoCheckpointError: it is empty or another kind of file.
        ModelError: it cannot be read, or is no regular file.
    """
    check_start(path)
    with files.open_regular(path, ModelError) as raw:
        stream = _Within(raw)
        is_zip = stream.read(len(ZIP_MAGIC)) == ZIP_MAGIC
        stream.seek(0)
        with _as_damage():
            content = _from_zip(stream, name_of) if is_zip else _from_legacy(stream, name_of)
        yield content


class NoCheckpointError(Exception):
    """The file does not even begin as a checkpoint does; the text completes the message."""


def check_start(path: Path) -> None:
    """Look at the first bytes of a file.

    Raises:
        NoCheckpointError: it is empty, or begins neither as an archive nor as a pickle.
        ModelError: it cannot be read, or is no regular file.
    """
    with files.open_regular(path, ModelError) as stream:
        head = stream.read(64)
    if not head:
        raise NoCheckpointError("the model file is empty")
    if not head.startswith((ZIP_MAGIC, *_PICKLE_STARTS)):
        what = "this is an ONNX file" if path.suffix.lower() == ".onnx" else "not a PyTorch checkpoint"
        raise NoCheckpointError(f"{what}; give the .pt file that training wrote")


class _Within(io.RawIOBase):
    """A file that is never asked for more than it has: a read of 4 GB would take the memory first."""

    def __init__(self, raw: IO[bytes]) -> None:
        self.raw, self.most = raw, 2**62
        self.size = raw.seek(0, io.SEEK_END)
        raw.seek(0)

    def read(self, size: int | None = -1, /) -> bytes:
        left = max(0, self.size - self.raw.tell())
        wanted = left if size is None or size < 0 else min(size, left)
        if wanted > self.most:
            raise RefusedError("lists more records than any checkpoint")
        return self.raw.read(wanted)

    def readline(self, size: int | None = -1, /) -> bytes:
        return self.raw.readline(2**20)  # the longest line of a pickle is a name or a number

    def seek(self, place: int, whence: int = io.SEEK_SET, /) -> int:
        return self.raw.seek(place, whence)

    def tell(self) -> int:
        return self.raw.tell()

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True


@contextmanager
def _as_damage() -> Iterator[None]:
    try:
        yield
    except _DAMAGE as exc:
        raise DamagedError(str(exc).partition("\n")[0][:120]) from exc


def list_records(path: Path) -> frozenset[str]:
    """Return the names of the records of an archive, without its first folder; none of another file."""
    with suppress(ModelError, RefusedError, *_DAMAGE), files.open_regular(path, ModelError) as raw:
        return frozenset(_records(_archive(_Within(raw))))
    return frozenset()


def _archive(stream: _Within) -> zipfile.ZipFile:
    stream.most = MOST_DIRECTORY
    archive = zipfile.ZipFile(cast(IO[bytes], stream))
    stream.most = 2**62
    return archive


def _records(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    return {info.filename.partition("/")[2]: info for info in archive.infolist()}


def _from_zip(stream: _Within, name_of: NameOf) -> Content:
    archive = _archive(stream)
    records = _records(archive)
    if "constants.pkl" in records:
        raise RefusedError("is a TorchScript program, which holds code and no model that can be pruned")
    if "data.pkl" not in records:
        raise DamagedError("no data.pkl is in the archive")

    def read(name: str) -> bytes:
        info = records.get(name)
        if info is None:
            raise DamagedError(f"the record {name[:40]} is missing")
        if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
            raise RefusedError("holds compressed records, which torch.save does not write")
        return archive.read(info)

    if records["data.pkl"].file_size > MOST_PICKLE:
        raise RefusedError("holds a pickle that is larger than any checkpoint's")
    order = read("byteorder") if "byteorder" in records else b"little"
    swapped = order.decode("ascii", "replace") != sys.byteorder

    def numbers(storage: Storage) -> bytearray:
        data = bytearray(read(f"data/{storage.key}"))
        return _swap(data, storage) if swapped else data

    root = read_pickle(io.BytesIO(read("data.pkl")), name_of, parse_storage)
    return Content(root, stream.size, numbers)


def _swap(data: bytearray, storage: Storage) -> bytearray:
    size = storage.dtype.itemsize
    return bytearray(b"".join(bytes(data[at : at + size][::-1]) for at in range(0, len(data), size)))


def _from_legacy(stream: _Within, name_of: NameOf) -> Content:
    file = cast(IO[bytes], stream)
    magic = read_pickle(file, name_of, parse_storage)
    if magic != _MAGIC or read_pickle(file, name_of, parse_storage) != _PROTOCOL:
        raise DamagedError("it is a pickle, but not one of torch.save")
    read_pickle(file, name_of, parse_storage)  # the byte order and sizes of the machine that wrote it
    sizes: dict[str, Storage] = {}

    def seen(pid: Any) -> Any:
        record = parse_storage(pid)
        if isinstance(record, Storage):
            sizes[record.key] = record
        return record

    root = read_pickle(file, name_of, seen)
    keys = read_pickle(file, name_of, parse_storage)
    if not isinstance(keys, list):
        raise DamagedError("the list of its numbers is missing")
    places = _places(stream, [str(key) for key in keys], sizes)

    def numbers(storage: Storage) -> bytearray:
        stream.seek(places.get(storage.key, stream.size))
        return bytearray(stream.read(storage.nbytes))

    return Content(root, stream.size, numbers)


def _places(stream: _Within, keys: list[str], sizes: dict[str, Storage]) -> dict[str, int]:
    """Return where the numbers of each storage begin, by its key; each has its count in front."""
    places: dict[str, int] = {}
    for key in keys:
        if key not in sizes:
            raise DamagedError("it lists numbers that nothing uses")
        (count,) = struct.unpack("<q", stream.read(8))
        if count != sizes[key].count:
            raise DamagedError(f"{sizes[key].count} numbers are promised, {count} are there")
        places[key] = stream.tell()
        stream.seek(sizes[key].nbytes, io.SEEK_CUR)
    return places
