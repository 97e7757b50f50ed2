"""Label files: what ultralytics accepts is read, what it would leave out is a fault with its line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgeprune.core.errors import DataError
from edgeprune.images.reading.labels import Labelling, Labels, Shows, Skeleton, label_path, read_labels

PLAIN = Labelling(classes=3)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """Return the path of an image whose label file a test may write."""
    (tmp_path / "labels").mkdir()
    return tmp_path / "images" / "one.png"


def complaint(image: Path, content: str | bytes, labelling: Labelling = PLAIN) -> str:
    content = content.encode() if isinstance(content, str) else content
    label_path(image).write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_labels(image, labelling)
    assert str(caught.value).startswith(f"{label_path(image)}:")
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("0 0.5 0.5 0.2", "'class x y w h' with coordinates"),
        ("0 0.5 0.5 0.2 0.2 0.9", "'class x y w h' with coordinates"),
        ("0 0.5 0.5 0.2 wide", "in numbers, not '0 0.5 0.5 0.2 wide'"),
        ("0 0.5 0.5 0.2 1.5", "coordinates in [0, 1]"),
        ("0 0.5 0.5 0.2 -0.1", "coordinates in [0, 1]"),
        ("0 -0.02 0.5 0.2 0.1", "coordinates in [0, 1]"),
        ("0 0.5 0.5 0.2 nan", "coordinates in [0, 1]"),
        ("3 0.5 0.5 0.2 0.2", "class 3 is not one of the model's 3 classes"),
        ("-1 0.5 0.5 0.2 0.2", "class -1 is not one of"),
        ("0.5 0.5 0.5 0.2 0.2", "class 0.5 is not one of"),
        ("nan 0.5 0.5 0.2 0.2", "class nan is not one of"),
        ("inf 0.5 0.5 0.2 0.2", "class inf is not one of"),
        ("1e99 0.5 0.5 0.2 0.2", "class 1e99 is not one of"),
    ],
)
def test_a_bad_label_is_named_by_file_and_line(image: Path, line: str, expected: str) -> None:
    message = complaint(image, f"0 0.5 0.5 0.1 0.1\n{line}\n")
    assert message.startswith(f"{label_path(image)}:2: ")
    assert expected in message


def test_a_file_that_mixes_boxes_and_polygons_is_a_fault_since_a_training_would_leave_it_out(
    image: Path,
) -> None:
    message = complaint(image, "0 0.1 0.1 0.5 0.1 0.4 0.7\n\n0 0.5 0.5 0.1 0.1\n")
    assert message.startswith(f"{label_path(image)}:3: the file mixes boxes and polygons")


@pytest.mark.parametrize("content", [b"\xff\xfe\x00\x01", b"0 0.5 \x80"])
def test_a_label_file_that_is_not_text_is_named(image: Path, content: bytes) -> None:
    assert "not a UTF-8 text" in complaint(image, content)


def test_a_mark_of_byte_order_windows_lines_and_a_hair_outside_are_read(image: Path) -> None:
    content = "\ufeff0 -0.0004 0.5 0.2 0.2\r\n\r\n2 0.5 1.005 0.2 0.2"
    label_path(image).write_bytes(content.encode())
    boxes = read_labels(image, PLAIN).boxes
    np.testing.assert_allclose(boxes, [[0, -0.0004, 0.5, 0.2, 0.2], [2, 0.5, 1.005, 0.2, 0.2]], rtol=1e-6)


def test_a_polygon_becomes_the_box_around_it_and_keeps_its_points(image: Path) -> None:
    label_path(image).write_text("2 0.2 0.3 0.6 0.3 0.6 0.7 0.4 0.5\n")
    found = read_labels(image, PLAIN)
    np.testing.assert_allclose(found.boxes, [[2, 0.4, 0.5, 0.4, 0.4]], rtol=1e-6)
    np.testing.assert_allclose(found.polygons[0], [[0.2, 0.3], [0.6, 0.3], [0.6, 0.7], [0.4, 0.5]])


def test_an_image_without_labels_is_background_and_duplicates_count_once(image: Path) -> None:
    assert read_labels(image, PLAIN).boxes.shape == (0, 5)
    label_path(image).write_text("0 0.5 0.5 0.1 0.1\n\n0 0.5 0.5 0.1 0.1\n1 0.5 0.5 0.1 0.1\n")
    boxes = read_labels(image, PLAIN).boxes
    assert (boxes.shape, boxes.dtype) == ((2, 5), np.float32)


def test_classes_become_those_of_the_model(image: Path) -> None:
    label_path(image).write_text("0 0.5 0.5 0.1 0.1\n2 0.4 0.5 0.1 0.1\n")
    assert read_labels(image, Labelling(3, order=(1, 2, 0))).boxes[:, 0].tolist() == [1, 0]
    assert read_labels(image, Labelling(3, is_single=True)).boxes[:, 0].tolist() == [0, 0]


def test_a_row_with_keypoints_is_read_as_its_box(image: Path) -> None:
    label_path(image).write_text("0 0.5 0.5 0.1 0.1 0.5 0.5 2\n")
    assert read_labels(image, Labelling(3, skeleton=Skeleton(1, 3))).boxes.shape == (1, 5)
    assert "polygon" in complaint(image, "0 0.5 0.5 0.1 0.1 0.5 0.5 2\n")


def asked(shows: Shows) -> Labelling:
    return Labelling(3, skeleton=Skeleton(2, 3) if shows == "keypoints" else None, shows=shows)


@pytest.mark.parametrize(
    ("shows", "row", "said"),
    [
        ("polygons", "0 0.5 0.5 0.2 0.2", "masks are learnt from polygons, 'class x1 y1 x2 y2 x3 y3 ...'"),
        ("rotated", "0 0.5 0.5 0.2 0.2", "rotated boxes are learnt from their corners"),
        ("rotated", "0 1.1 0.1 1.3 0.1 1.3 0.2 1.1 0.2", "a rotated box lies outside the image"),
        ("rotated", "0 -0.4 0.1 -0.2 0.1 -0.2 0.2 -0.4 0.2", "a rotated box lies outside the image"),
        ("polygons", "0 0.1 0.1 0.5 0.1 0.4 0.7 0.2", "a polygon is 'class x1 y1 x2 y2 ...'"),
        ("keypoints", "0 0.5 0.5 0.2 0.2", "5 numbers, and 11 are needed: class, box and 2 keypoints of 3"),
        ("keypoints", "0 0.5 0.5 0.2 0.2 0.5 0.5 2", "8 numbers, and 11 are needed"),
        ("keypoints", "0 0.5 0.5 0.2 0.2 0.5 1.5 2 0.5 0.5 2", "keypoints has coordinates in [0, 1]"),
        ("keypoints", "0 0.5 0.5 0.2 0.2 0.5 nan 2 0.5 0.5 2", "keypoints has coordinates in [0, 1]"),
        ("keypoints", "3 0.5 0.5 0.2 0.2 0.5 0.5 2 0.5 0.5 2", "class 3 is not one of the model's 3 classes"),
    ],
)
def test_what_a_task_cannot_learn_from_is_named_with_its_line(
    image: Path, shows: Shows, row: str, said: str
) -> None:
    message = complaint(image, f"\n{row}\n", asked(shows))
    assert message.startswith(f"{label_path(image)}:2: ")
    assert said in message


def read(image: Path, content: str, labelling: Labelling) -> Labels:
    label_path(image).write_text(content)
    return read_labels(image, labelling)


def test_corners_of_a_rotated_box_may_stand_out_of_the_image(image: Path) -> None:
    found = read(image, "0 0.9 0.4 1.05 0.5 0.95 0.6 0.8 0.5\n", asked("rotated"))
    np.testing.assert_allclose(found.polygons[0], [[0.9, 0.4], [1.05, 0.5], [0.95, 0.6], [0.8, 0.5]])


def test_keypoints_come_with_their_boxes_and_duplicates_count_once(image: Path) -> None:
    row = "2 0.5 0.5 0.2 0.2 0.4 0.45 2 0 0 0\n"
    found = read(image, row + row, asked("keypoints"))
    np.testing.assert_allclose(found.boxes, [[2, 0.5, 0.5, 0.2, 0.2]])
    assert found.keypoints is not None
    np.testing.assert_allclose(found.keypoints, [[[0.4, 0.45, 2], [0, 0, 0]]])
    nothing = read(image, "", asked("keypoints"))
    assert nothing.keypoints is not None and nothing.keypoints.shape == (0, 2, 3)


def test_what_is_learnt_beside_boxes_tells_labels_apart(image: Path) -> None:
    rows = ("0 0.1 0.1 0.5 0.1 0.4 0.7\n", "0 0.1 0.1 0.5 0.2 0.4 0.7\n")
    one, other = (read(image, row, asked("polygons")) for row in rows)
    assert np.array_equal(one.boxes, other.boxes) and one.outlines() != other.outlines()


def test_only_the_last_images_folder_becomes_labels() -> None:
    assert label_path(Path("/images/set/images/a/b.jpg")) == Path("/images/set/labels/a/b.txt")
