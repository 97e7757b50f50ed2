"""One rule for reading a data set, and it is ultralytics': the same images and boxes, or a word about it."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ultralytics.data.dataset import YOLODataset
from ultralytics.data.utils import check_det_dataset

from edgeprune.adapters.ultralytics.reading import without_fonts
from edgeprune.images.dataset import Dataset, load_dataset
from edgeprune.images.reading.inspection import inspect_images
from made_data import Tree, inside, trees


def ours(tree: Tree) -> Dataset:
    """Read a data set, what cannot be used left out: ultralytics does so without a word."""
    return inspect_images(load_dataset(tree.source), skip=True, say=lambda share, text: None)


def theirs(tree: Tree) -> dict[str, dict[str, Any]]:
    """Return the boxes that ultralytics' own loader has, by split and image."""
    with without_fonts():
        config = check_det_dataset(str(tree.source), autodownload=False)
    found = {}
    for split in ("train", "val", "test"):
        if config.get(split) and all(Path(place).exists() for place in np.atleast_1d(config[split])):
            loaded = YOLODataset(config[split], imgsz=32, augment=split == "train", data=config)
            found[split] = {
                label["im_file"]: np.concatenate([label["cls"], label["bboxes"]], axis=1)
                for label in loaded.labels
            }
    return found


@settings(deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_a_data_set_is_read_as_ultralytics_reads_it(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        tree = data.draw(trees(Path(folder).resolve()))
        with inside(tree.cwd):
            mine, told = ours(tree), theirs(tree)
        if "test" in told and "test" not in mine.images:
            assert not any(len(boxes) for boxes in told["test"].values())
            assert "split_left_out" in {note.code for note in mine.notes}
            del told["test"]
        assert set(mine.images) == set(told)
        for split, images in mine.images.items():
            assert [str(image) for image in images] == sorted(told[split])
            for image in images:
                np.testing.assert_array_equal(mine.boxes(image), told[split][str(image)])
        is_partial = any(note.code == "images_skipped" for note in mine.notes)
        assert is_partial == any(load_dataset_whole(tree, split) > len(told[split]) for split in told)


def load_dataset_whole(tree: Tree, split: str) -> int:
    """Count the images of a split before any is left out."""
    with inside(tree.cwd):
        return len(load_dataset(tree.source).images[split])
