"""Accuracies have the same keys whatever the metric; files of schema version 1 named it in their keys."""

from __future__ import annotations

import json

import pytest
from pydantic import ValidationError

from edgeprune.records.pruning import Pruning
from edgeprune.records.scores import Accuracy, with_fixed_keys


def test_the_keys_are_fixed_and_the_record_carries_its_metric() -> None:
    accuracy = Accuracy(metric="mIoU", split="val", images=3, score=0.5, others={"F1": 0.6})
    written = json.loads(accuracy.model_dump_json())
    assert list(written) == [
        "metric", "split", "images", "score", "others", "drop", "drop_interval", "chance", "per_class",
    ]  # fmt: skip
    assert Accuracy.model_validate(written) == accuracy


def test_a_classifiers_accuracy_of_schema_1_is_read() -> None:
    old = {
        "split": "val",
        "images": 12,
        "top5": 1.0,
        "top1": 0.75,
        "drop": 0.1,
        "per_class": {"a": 1, "b": 0.5},
    }
    found = Accuracy.model_validate(old)
    assert (found.metric, found.score, found.others, found.chance) == ("top-1", 0.75, {"top-5": 1.0}, 0.5)


@pytest.mark.parametrize("told", [5, "ab", None, [1]])
def test_a_damaged_accuracy_of_schema_1_is_refused(told: object) -> None:
    with pytest.raises(ValidationError):
        Accuracy.model_validate({"split": "val", "images": 1, "top1": 0.5, "per_class": told})


def test_a_detectors_accuracy_of_schema_1_is_read() -> None:
    found = Accuracy.model_validate({"split": "val", "images": 5, "map50": 0.9, "map50_95": 0.6})
    assert (found.metric, found.score, found.others, found.chance) == ("mAP50-95", 0.6, {"mAP50": 0.9}, 0)


def test_every_score_of_a_record_of_schema_1_is_renamed() -> None:
    old = {"original_map50_95": 0.5, "map50_95_after_surgery": 0.1, "map50": None, "epochs": 3}
    assert with_fixed_keys(old) == {
        "original_score": 0.5, "metric": "mAP50-95", "score_after_surgery": 0.1, "others": {}, "epochs": 3,
    }  # fmt: skip
    assert "score_after_surgery" in Pruning.model_fields


@pytest.mark.parametrize("name", ["", "two\nlines", "\x1b[31mred", "<b>", "a" * 41])
def test_a_metrics_name_is_what_every_report_can_show(name: str) -> None:
    with pytest.raises(ValidationError):
        Accuracy(metric=name, split="val", images=1, score=0.5)
