"""The original agrees with itself wholly; a network that decides otherwise agrees less."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeprune.adapters import agreement
from edgeprune.adapters.agreement import Reference, evaluate, finds_nothing, metric_of, nearness
from edgeprune.adapters.ultralytics import classify, detect
from edgeprune.images.dataset import Dataset
from edgeprune.images.postprocess import values
from edgeprune.models import Predict
from edgeprune.models.predictor import predictor
from made_matches import whole

ADAPTERS: dict[str, Any] = {"yolov8n": detect, "yolo26n": detect, "yolov8n-cls": classify}


def shifted(predict: Predict, by: float) -> Predict:
    return lambda images: [output + by * np.sin(np.arange(output.size)).reshape(output.shape)
                           for output in predict(images)]  # fmt: skip


@pytest.mark.parametrize("family", ADAPTERS)
def test_a_network_agrees_with_itself_and_less_with_another(
    family: str, checkpoints: dict[str, Path], classifiers: dict[str, Path], tiny: Dataset
) -> None:
    adapter = ADAPTERS[family]
    model = adapter.load((checkpoints | classifiers)[family])
    predict, post = predictor(adapter.exportable(model)), adapter.info(model).postprocess
    spec = adapter.preprocess(64)
    asked = (tiny, "val", spec, post)
    same, less = (evaluate(Reference(predict), judged, *asked) for judged in (predict, shifted(predict, 0.2)))
    assert same.metric == metric_of(post)
    if adapter is classify or not finds_nothing(Reference(predict), tiny, "val", spec, post):
        assert same.score == pytest.approx(1, abs=0.01)
        assert less.score <= same.score
        for found in (same, less):
            assert whole(found.evidence, found.images) == pytest.approx(found.score, abs=1e-9)
    assert same.others["output agreement"] == pytest.approx(1)
    assert less.others["output agreement"] < 0.999


def test_outputs_that_decide_nothing_agree_by_their_distance(tiny: Dataset) -> None:
    outputs = [np.ones((1, 4), dtype=np.float32), np.full((1, 2), 2, dtype=np.float32)]
    spec, post = detect.preprocess(32), values("embed")
    found = evaluate(
        Reference(lambda _: outputs), lambda _: [outputs[0] * 0.9, outputs[1]], tiny, "val", spec, post
    )
    assert (found.metric, found.score) == ("output agreement", pytest.approx(0.95))
    assert whole(found.evidence, found.images) == pytest.approx(found.score)
    assert nearness(outputs, [np.full((1, 4), -9), outputs[1]]) == 0


def test_the_original_is_asked_once_an_image(tiny: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def predict(_: Any) -> list[np.ndarray]:
        asked.append(1)
        return [np.ones((1, 4), dtype=np.float32)]

    reference, spec = Reference(predict), detect.preprocess(32)
    for _ in range(2):
        evaluate(reference, lambda _: [np.ones((1, 4))], tiny, "val", spec, values("embed"))
    assert len(asked) == len(tiny.images["val"])
    monkeypatch.setattr(agreement, "KEPT_BYTES", 0)  # a network whose outputs are too large to be kept
    evaluate(Reference(predict), lambda _: [np.ones((1, 4))], tiny, "test", spec, values("embed"))
    assert len(asked) == len(tiny.images["val"]) + len(tiny.images["test"])
