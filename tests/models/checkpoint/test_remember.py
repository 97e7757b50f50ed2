"""A file is read once for as long as it stays as it is."""

from __future__ import annotations

import os
from pathlib import Path

from edgeprune.models.checkpoint.remember import remember


def test_a_file_is_read_again_when_it_has_changed(tmp_path: Path) -> None:
    seen: list[Path] = []

    @remember
    def size(path: Path) -> int:
        seen.append(path)
        return path.stat().st_size if path.exists() else 0

    path = tmp_path / "model.pt"
    assert (size(path), size(path), len(seen)) == (
        0,
        0,
        2,
    )  # there is no file
    path.write_bytes(b"one")
    assert (size(path), size(path), len(seen)) == (3, 3, 3)
    path.write_bytes(b"three")
    assert (size(path), len(seen)) == (5, 4)
    os.utime(path, ns=(1, 1))
    assert (size(path), len(seen)) == (5, 5)
