"""`python -m benchmarks.train_shapes`: what is drawn and what its labels say."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import yaml
from benchmarks.train_shapes import CORNERS, SIDE, draw


def test_the_set_has_a_box_within_the_image_for_every_figure_and_is_drawn_alike_twice(tmp_path: Path) -> None:
    counts = {"train": 6, "val": 3}
    data = draw(tmp_path / "one", counts)
    draw(tmp_path / "two", counts)
    assert yaml.safe_load(data.read_text())["names"] == dict(enumerate(CORNERS))
    for split, count in counts.items():
        files = sorted((tmp_path / "one/images" / split).iterdir())
        assert len(files) == count
        for file in files:
            assert cv2.imread(str(file)).shape == (SIDE, SIDE, 3)
            assert file.read_bytes() == (tmp_path / "two/images" / split / file.name).read_bytes()
            lines = (tmp_path / "one/labels" / split / f"{file.stem}.txt").read_text().splitlines()
            rows = np.array([line.split() for line in lines], float)
            assert 1 <= len(rows) <= 7
            assert set(rows[:, 0]) <= set(range(len(CORNERS)))
            assert (rows[:, 3:] > 4 / SIDE).all()
            for sign in (-1, 1):
                edge = rows[:, 1:3] + sign * rows[:, 3:] / 2
                assert (edge > -1e-5).all() and (edge < 1 + 1e-5).all()


def test_no_two_images_of_two_splits_are_the_same(tmp_path: Path) -> None:
    draw(tmp_path, {"train": 4, "val": 4})
    found = {path.read_bytes() for path in (tmp_path / "images").rglob("*.jpg")}
    assert len(found) == 8
