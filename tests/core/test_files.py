"""Only regular files are read, within a bound, without waiting; what is no regular file is never replaced."""

from __future__ import annotations

import errno
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from edgeprune.core.errors import DataError, OutputError
from edgeprune.core.files import (
    read_bytes,
    read_lines,
    read_parts,
    read_text,
    write_text_atomically,
)


def _fifo(path: Path) -> Path:
    os.mkfifo(path)
    return path


def _socket(path: Path) -> Path:
    with socket.socket(socket.AF_UNIX) as served:
        served.bind(str(path))
    return path


def _sparse(path: Path) -> Path:
    with path.open("wb") as stream:
        stream.truncate(10 << 30)
    return path


NO_FILES: dict[str, tuple[Callable[[Path], Path], str]] = {
    "fifo": (_fifo, "it is a FIFO"),
    "socket": (_socket, "it is a socket"),
    "zero": (lambda _: Path("/dev/zero"), "it is a device"),
    "stdin": (lambda _: Path("/dev/null"), "it is a device"),
    "folder": (lambda path: path.parent, "it is a folder"),
    "nothing": (lambda path: path, "No such file"),
    "below a file": (lambda _: Path(__file__) / "x", "a part of the path is a file"),
    "nul": (lambda path: Path(f"{path}\0"), "null byte"),
    "long name": (lambda path: path.with_name("n" * 300), "File name too long"),
}


@pytest.mark.parametrize(("made", "said"), NO_FILES.values(), ids=NO_FILES)
@pytest.mark.parametrize("read", [read_bytes, read_text, read_lines, read_parts])
def test_what_is_no_regular_file_is_told_in_one_line_without_waiting(
    tmp_path: Path, read: Callable[..., object], made: Callable[[Path], Path], said: str
) -> None:
    path = made(tmp_path / "given")
    with pytest.raises(DataError) as told:
        list(read(path, DataError))  # type: ignore[call-overload]
    assert said in str(told.value)
    assert str(told.value).startswith(f"{path}: cannot be read")
    assert "\n" not in str(told.value)


def test_a_huge_file_is_refused_before_its_first_byte_and_read_in_parts(tmp_path: Path) -> None:
    path = _sparse(tmp_path / "huge")
    with pytest.raises(DataError, match="huge: cannot be read: larger than the 256 MiB that are read"):
        read_bytes(path, DataError)
    with pytest.raises(DataError, match="huge:1: cannot be read: the line is larger than the 64 MiB"):
        next(read_lines(path, DataError))
    assert len(next(iter(read_parts(path, DataError)))) == 1 << 20


def test_a_file_without_a_size_has_the_same_bound() -> None:
    assert b"Name:" in read_bytes(Path("/proc/self/status"), DataError)
    with pytest.raises(DataError, match="larger than the 10 bytes"):
        read_bytes(Path("/proc/self/status"), DataError, 10)


def test_a_text_is_read_without_its_mark_and_with_the_ends_of_lines_of_any_system(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_bytes("\ufeffgrün\r\nb\rc\n".encode())
    assert read_text(path, DataError) == "grün\nb\nc\n"
    path.write_bytes("grün".encode("utf-16"))
    with pytest.raises(DataError, match=r"text: not a UTF-8 text \(UTF-16\): save it as UTF-8"):
        read_text(path, DataError)
    path.write_bytes(b"a\nb\xe4\n")
    lines = read_lines(path, DataError)
    assert next(lines) == "a"
    with pytest.raises(DataError, match=r"text:2: not a UTF-8 text \(byte 1 is 0xe4\)"):
        next(lines)


def test_a_text_is_replaced_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "new" / "summary.json"
    write_text_atomically(path, "first µ\n")
    assert path.read_text(encoding="utf-8") == "first µ\n"
    assert path.stat().st_mode & 0o777 == 0o644

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match=r"summary.json: cannot be written: the disk is full"):
        write_text_atomically(path, "second\n")
    assert path.read_text(encoding="utf-8") == "first µ\n"
    assert list(path.parent.iterdir()) == [path]


def test_a_file_keeps_its_mode_and_a_long_name_is_no_matter(tmp_path: Path) -> None:
    path = tmp_path / ("ü" * 127)
    path.write_text("before")
    path.chmod(0o600)
    write_text_atomically(path, "after")
    assert (path.read_text(), path.stat().st_mode & 0o777) == ("after", 0o600)


def test_a_link_stays_and_what_it_points_to_is_written(tmp_path: Path) -> None:
    target, link, far = tmp_path / "place" / "target", tmp_path / "link", tmp_path / "far"
    target.parent.mkdir()
    link.symlink_to("place/target")
    far.symlink_to(link)
    for text in ("made", "replaced"):
        write_text_atomically(far, text)
        assert target.read_text() == text
        assert far.is_symlink()
        assert link.is_symlink()
    assert [entry.name for entry in target.parent.iterdir()] == ["target"]
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    with pytest.raises(OutputError, match="loop: cannot be written: Too many levels of symbolic links"):
        write_text_atomically(loop, "text")


def test_a_device_is_written_through_and_stays(tmp_path: Path) -> None:
    write_text_atomically(Path("/dev/null"), "text")
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)
    with pytest.raises(OutputError, match="/dev/full: cannot be written: the disk is full"):
        write_text_atomically(Path("/dev/full"), "text")
    assert stat.S_ISCHR(Path("/dev/full").stat().st_mode)
    with pytest.raises(OutputError, match="cannot be written: Is a directory"):
        write_text_atomically(tmp_path, "text")


def test_a_fifo_gets_the_text_and_without_a_reader_it_is_told(tmp_path: Path) -> None:
    path = _fifo(tmp_path / "fifo")
    with pytest.raises(OutputError, match="fifo: cannot be written: nobody reads the FIFO or socket"):
        write_text_atomically(path, "text")
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    write_text_atomically(path, ["te", "xt"])
    assert os.read(reader, 100) == b"text"
    os.close(reader)
    assert stat.S_ISFIFO(path.stat().st_mode)


@pytest.mark.parametrize("place", ["/dev/stdout", "log"])
def test_what_is_written_to_the_standard_output_goes_between_what_is_printed(
    tmp_path: Path, place: str
) -> None:
    code = (
        "from pathlib import Path\nfrom edgeprune.core.files import write_text_atomically\n"
        f"print('before')\nwrite_text_atomically(Path({place!r}), 'text\\n')\nprint('after')"
    )
    with (tmp_path / "log").open("wb") as log:
        subprocess.run([sys.executable, "-c", code], stdout=log, cwd=tmp_path, check=True, timeout=60)
    assert (tmp_path / "log").read_text() == "before\ntext\nafter\n"
