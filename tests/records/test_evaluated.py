"""What an evaluation leaves in its folder tells the drop from another one, with its interval."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgeprune.core.errors import OutputError
from edgeprune.records.evaluated import Drop, drop_between, read_accuracy, write_accuracy
from edgeprune.records.resampling.evidence import Means
from edgeprune.records.scores import Accuracy

DIGESTS = [f"{index:03}" for index in range(60)]


def written(folder: Path, right: np.ndarray, images: list[str] = DIGESTS) -> Path:
    folder.mkdir()
    score = float(right.mean())
    found = Accuracy(metric="top-1", split="val", images=len(images), score=score).made_of(Means(right))
    write_accuracy(found.with_resampled(found.resample(images)), folder)
    return folder


def test_two_folders_tell_the_drop_and_how_sure_it_is(tmp_path: Path) -> None:
    right = np.arange(60) % 10 != 0
    one = written(tmp_path / "one", right)
    other = written(tmp_path / "other", right & (np.arange(60) % 7 != 0))
    found = drop_between(one, other, "val")
    assert found.low is not None and found.high is not None
    assert found.drop == pytest.approx(8 / 60)
    assert 0 <= found.low < found.drop < found.high < 0.3
    assert drop_between(one, one, "val") == Drop(0, 0, 0)


def test_a_drop_is_the_same_when_it_is_read_again(tmp_path: Path) -> None:
    found = read_accuracy(written(tmp_path / "one", np.arange(60) % 10 != 0), "val")
    told = found.dropped_from(found)
    assert found.resampled is not None and told.drop_interval == (0, 0)
    assert Accuracy.model_validate_json(told.model_dump_json()) == told


def test_images_in_another_order_are_paired_and_other_images_are_not(tmp_path: Path) -> None:
    right = np.arange(60) % 10 != 0
    one = written(tmp_path / "one", right)
    turned = written(tmp_path / "turned", right[::-1], DIGESTS[::-1])
    assert drop_between(one, turned, "val") == Drop(0, 0, 0)
    strange = written(tmp_path / "strange", right, [f"x{digest}" for digest in DIGESTS])
    assert drop_between(one, strange, "val") == Drop(0, None, None)


def test_a_metric_that_is_not_known_image_by_image_has_no_interval(tmp_path: Path) -> None:
    found = Accuracy(metric="mine", split="val", images=3, score=0.5)
    assert found.resample(DIGESTS[:3]) is None
    write_accuracy(found, tmp_path)
    assert read_accuracy(tmp_path, "val").resampled is None
    assert drop_between(tmp_path, tmp_path, "val") == Drop(0, None, None)


@pytest.mark.parametrize("content", ["", "{}", '{"key": "a", "images": 3, "scores": [0.5]}'])
def test_damaged_resamples_are_refused(tmp_path: Path, content: str) -> None:
    folder = written(tmp_path / "one", np.ones(60))
    (folder / "val.resampled.json").write_text(content)
    with pytest.raises(OutputError, match=r"val\.resampled"):
        drop_between(folder, folder, "val")
