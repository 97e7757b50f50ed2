"""Sparse training in the report: a chart, a table of the epochs, in both formats; nothing without it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree

from edgeprune.records.pruning import SparseEpoch, SparseTraining
from edgeprune.report.html import write_html
from edgeprune.report.markdown import write_markdown


def test_sparse_training_is_drawn_and_every_epoch_is_listed(
    make_build: Callable[..., Path], parts: SimpleNamespace
) -> None:
    epochs = tuple(
        SparseEpoch(
            epoch=epoch,
            strength=None if epoch == 0 else 0.02 / epoch,
            quantiles=(0.1, 0.5, 1.0 - epoch / 10, 1.1, 1.5),
            share_small=epoch / 8,
            metric="mAP50-95",
            score=None if epoch == 0 else 0.5,
        )
        for epoch in range(3)
    )
    training = SparseTraining(criterion="slim", strength=0.02, epochs=epochs)
    pruning = parts.pruning().model_copy(update={"sparse": training})
    targets = {
        name: target.model_copy(update={"pruning": pruning})
        for name, target in parts.summary().targets.items()
    }
    folder = make_build(targets=targets)
    page = ElementTree.fromstring(write_html(folder).read_text(encoding="utf-8"))
    labels = [chart.get("aria-label", "") for chart in page.iter("svg")]
    assert sum("batch-norm scales over the epochs" in label for label in labels) == 1
    region = next(part for part in page.iter("div") if part.get("aria-label") == "Sparse training by epoch")
    rows = [["".join(cell.itertext()) for cell in line] for line in next(region.iter("tbody"))]
    assert rows == [
        ["0", "–", "1.0000", "0.0", "–"],
        ["1", "0.02", "0.9000", "12.5", "0.5000"],
        ["2", "0.01", "0.8000", "25.0", "0.5000"],
    ]
    assert "| 2 | 0.01 | 0.8000 | 25.0 | 0.5000 |" in write_markdown(folder).read_text(encoding="utf-8")


def test_a_build_without_it_says_nothing_of_it(make_build: Callable[..., Path]) -> None:
    folder = make_build()
    assert "Sparse training" not in write_html(folder).read_text(encoding="utf-8")
