"""`python -m benchmarks.train_bccd`: the polygons that stand in for BCCD's masks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml
from benchmarks.train_bccd import with_ellipses


def test_a_copy_has_an_ellipse_within_each_box_and_the_data_is_left_alone(tmp_path: Path) -> None:
    own = tmp_path / "own"
    for folder in ("images/train", "labels/train"):
        (own / folder).mkdir(parents=True)
    (own / "data.yaml").write_text("train: images/train\nval: images/train\nnames: {0: cell}\n")
    (own / "images/train/a.jpg").write_bytes(b"a picture")
    label = own / "labels/train/a.txt"
    label.write_text("2 0.5 0.25 0.4 0.2\n0 0.95 0.5 0.2 0.2\n")
    data = with_ellipses(own / "data.yaml", tmp_path / "copy")
    assert yaml.safe_load(data.read_text())["train"] == "images/train"
    assert (data.parent / "images/train/a.jpg").resolve().is_relative_to(data.parent)
    inner, edge = (line.split() for line in (data.parent / "labels/train/a.txt").read_text().splitlines())
    points = np.array(inner[1:], float).reshape(-1, 2)
    assert inner[0] == "2"
    assert [*points.min(0), *points.max(0)] == pytest.approx([0.3, 0.15, 0.7, 0.35], abs=1e-6)
    np.testing.assert_allclose((((points - [0.5, 0.25]) / [0.2, 0.1]) ** 2).sum(1), 1, atol=1e-3)
    assert max(map(float, edge[1::2])) == 1.0, "what lies outside of the image is cut off"
    assert label.read_text() == "2 0.5 0.25 0.4 0.2\n0 0.95 0.5 0.2 0.2\n"
    assert with_ellipses(own / "data.yaml", tmp_path / "copy") == data, "the same folder again"
