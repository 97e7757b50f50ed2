"""Whether an image file can be used, and why not."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
import ultralytics  # noqa: F401  its patch of Pillow asks for another package, whatever a file is
from PIL import Image

from edgeprune.images.reading.pictures import Picture, examine
from made_data import JPEG, encoded


def gif() -> bytes:
    Image.new("RGB", (20, 20)).save(content := io.BytesIO(), "GIF")
    return content.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "fault"),
    [
        ("a.png", encoded(".png"), ""),
        ("a.png", JPEG, ""),
        ("a.png", b"", "the file is empty"),
        ("a.png", b"no image", "not a whole image: no format of images is recognised"),
        ("a.png", encoded(".png")[:-9], "not a whole image: "),
        ("a.jpg", JPEG[: len(JPEG) // 2], "not a whole image: "),
        ("a.jpg", gif(), "it is a GIF file, which ultralytics does not read"),
        ("a.png", encoded(".png", 9, 40), "40 x 9 px; ultralytics reads images of 10 px and more"),
        ("a.png", encoded(".png", 10, 10), ""),
    ],
)
def test_a_fault_is_told_by_what_is_wrong(tmp_path: Path, name: str, content: bytes, fault: str) -> None:
    (tmp_path / name).write_bytes(content)
    found = examine(tmp_path / name).fault
    assert found.startswith(fault) if fault else found == ""
    assert str(tmp_path) not in found and "pi_heif" not in found


@pytest.mark.parametrize(("tail", "is_ragged"), [(b"", False), (b"\0", True), (b"\xff\xd9", False)])
def test_a_jpeg_with_bytes_behind_its_end_is_sound_and_ragged(
    tmp_path: Path, tail: bytes, is_ragged: bool
) -> None:
    (tmp_path / "a.jpg").write_bytes(JPEG + tail)
    assert examine(tmp_path / "a.jpg") == Picture(is_ragged=is_ragged)
