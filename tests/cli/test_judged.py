"""A figure of the user's own judges every candidate, in a process of its own; its faults are one line."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeprune.adapters import judged
from edgeprune.adapters.judged import Judged
from edgeprune.adapters.ultralytics import classify
from edgeprune.config.recipe import Recipe
from edgeprune.core.errors import ConfigError
from edgeprune.images.dataset import Dataset
from edgeprune.images.postprocess import classifier
from edgeprune.images.preprocess import Preprocess
from edgeprune.models.source import ModelSource, choose_adapter
from edgeprune.records.resampling.evidence import Means

SOUND = """
import helper

def evaluate(predict):
    assert predict.split == "val" and predict.names == ["3", "0", "1"]
    print("noise on standard output")
    scores = [predict(predict.prepare(image))[0].sum() for image in predict.images]
    return helper.mean(scores)
"""


def judge(tmp_path: Path, code: str, classifiers: dict[str, Path]) -> Judged:
    """Return the adapter with a metric of this code."""
    file = tmp_path / "my_eval.py"
    file.write_text(code)
    source = ModelSource(classifiers["yolov8n-cls"], metric=f"{file}:evaluate")
    adapter = choose_adapter(source, Recipe())
    assert isinstance(adapter, Judged)
    return adapter


def evaluate(adapter: Judged, dataset: Dataset) -> float:
    def predict(images: Any) -> list[Any]:
        return [images.mean(axis=(2, 3)), np.zeros(3)]

    found = adapter.evaluate(predict, dataset, "val", Preprocess((24, 32)), classifier(dataset.names))
    assert found.metric == "evaluate (my_eval.py)"
    return found.score


def test_its_figure_is_the_score_and_its_content_is_in_the_keys(
    classifiers: dict[str, Path], digits: Dataset, tmp_path: Path
) -> None:
    (tmp_path / "helper.py").write_text("def mean(values):\n    return sum(values) / len(values)\n")
    adapter = judge(tmp_path, SOUND, classifiers)
    first = evaluate(adapter, digits)
    assert 0 < first < 3 and evaluate(adapter, digits) == first
    model = classify.load(classifiers["yolov8n-cls"])
    assert adapter.info(model).metric == "evaluate (my_eval.py)"
    before = adapter.parts()
    adapter.file.write_text(SOUND + "\n# changed\n")
    assert adapter.parts() != before


def test_of_one_figure_an_image_the_mean_is_the_score_and_can_be_resampled(
    classifiers: dict[str, Path], digits: Dataset, tmp_path: Path
) -> None:
    adapter = judge(tmp_path, "def evaluate(predict):\n    return list(range(12))\n", classifiers)
    found = adapter.evaluate(lambda _: [], digits, "val", Preprocess(32), classifier(digits.names))
    assert found.score == 5.5
    assert isinstance(found.evidence, Means) and found.evidence.values.tolist() == list(range(12))


FAULTS = {
    "too few": ("return [0.5, 0.5]", r"it returned \[0\.5, 0\.5\]; one finite number is needed, or a list"),
    "raises": ("raise ValueError('no labels here')", r"it raised ValueError: no labels here \(line 2\)"),
    "nan": ("return float('nan')", r"it returned nan; one finite number is needed"),
    "text": ("return 'good'", r"it returned 'good'; one finite number"),
    "ends": ("import os; print('so long'); os._exit(9)", r"its process exited with code 9"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_wrong_with_it_is_one_line(
    fault: str, classifiers: dict[str, Path], digits: Dataset, tmp_path: Path
) -> None:
    body, wanted = FAULTS[fault]
    adapter = judge(tmp_path, f"def evaluate(predict):\n    {body}\n", classifiers)
    with pytest.raises(ConfigError, match=wanted) as caught:
        evaluate(adapter, digits)
    assert str(caught.value).startswith(f"--metric {tmp_path / 'my_eval.py'}:evaluate: ")
    assert "\n" not in str(caught.value)


def test_a_metric_that_hangs_is_ended(
    classifiers: dict[str, Path], digits: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judged, "SILENCE_S", 0.2)
    adapter = judge(tmp_path, "def evaluate(predict):\n    while True: pass\n", classifiers)
    with pytest.raises(ConfigError, match=r"neither asked for a prediction nor returned for 0\.2 seconds"):
        evaluate(adapter, digits)


@pytest.mark.parametrize(
    ("code", "function", "wanted"),
    [
        ("def evaluate(predict) return 1\n", "evaluate", r"my_eval\.py, line 1: no Python: "),
        ("def other(predict): ...\n", "evaluate", r"there is no function 'evaluate' in it; it has other"),
        ("", "", r"write it as FILE\.py:FUNCTION"),
    ],
)
def test_a_file_that_cannot_be_one_is_told_before_anything_is_done(
    run: Any,
    classifiers: dict[str, Path],
    digits: Dataset,
    tmp_path: Path,
    code: str,
    function: str,
    wanted: str,
) -> None:
    file = tmp_path / "my_eval.py"
    file.write_text(code)
    ended = run(
        *("build", "--model", classifiers["yolov8n-cls"], "--data", digits.source, "--target", "x86-ort"),
        *("--out", tmp_path / "out", "--metric", f"{file}:{function}"),
    )
    assert ended.code == 3 and ended.error.startswith("edgeprune: --metric ")
    assert re.search(wanted, ended.error)
