"""Whether an engine's file is in the page cache: a start from flash and one from RAM differ by seconds."""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgeprune.core.artifact import parts_of


def drop(engine: Path) -> dict[str, Any]:
    """Ask the kernel to forget the cached pages of an engine's files; return what share it still has.

    Needs no rights: it is advice (`posix_fadvise`), which a file system in memory cannot follow. What stays
    cached in any case are the libraries of Python and of the runtime.

    Returns:
        ``before`` and ``after``, each in [0, 1], None where the kernel does not tell.
    """
    alone = _pages([engine] if engine.is_file() else [])  # first: a graph is then read for its weights
    files = parts_of(engine)
    before = _share(alone, _pages([path for path in files if path != engine]))
    for path in files:
        with path.open("rb") as file, contextlib.suppress(OSError):  # what stays is told below
            os.fdatasync(file.fileno())  # a dirty page cannot be dropped
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return {"engine_cached_before": before, "engine_cached_after": _share(_pages(files))}


def _share(*counts: tuple[int, int] | None) -> float | None:
    known = [count for count in counts if count is not None]
    present, pages = (sum(count[index] for count in known) for index in (0, 1))
    return present / pages if pages and len(known) == len(counts) else None


def _pages(files: Sequence[Path]) -> tuple[int, int] | None:
    """Return how many of the files' pages `mincore` says are in memory, and how many there are.

    None for files that this process neither owns nor may write: the kernel then says that every page is
    (`can_do_mincore` of mm/mincore.c, since Linux 5.2).
    """
    if not all(os.access(path, os.W_OK) or path.stat().st_uid == os.geteuid() for path in files):
        return None
    pages = present = 0
    page = mmap.PAGESIZE
    libc = ctypes.CDLL(None, use_errno=True)
    for path in files:
        size = path.stat().st_size
        if not size:
            continue
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY) as mapped:
            anchor = ctypes.c_char.from_buffer(mapped)  # no page is touched by taking its address
            told = (ctypes.c_ubyte * -(-size // page))()
            status = libc.mincore(ctypes.c_void_p(ctypes.addressof(anchor)), ctypes.c_size_t(size), told)
            del anchor  # or the map could not be closed
        if status:
            return None
        pages += len(told)
        present += sum(resident & 1 for resident in told)
    return present, pages
