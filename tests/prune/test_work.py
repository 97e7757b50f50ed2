"""The knapsack over multiply-accumulates: what it predicts is what is counted, and the budget is kept."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from edgeprune.adapters.ultralytics import detect as adapter
from edgeprune.prune.groups import count_macs, find_groups, trace
from edgeprune.prune.surgery import cut_to
from edgeprune.prune.work import widths_within, work_by_width

EXAMPLE = torch.zeros(1, 3, 64, 64)


@pytest.fixture(scope="module")
def model(checkpoints: dict[str, Path]) -> nn.Module:
    return adapter.prunable(adapter.load(checkpoints["yolov8n"]))


def test_the_work_at_other_widths_is_that_of_the_network_that_is_cut_to_them(model: nn.Module) -> None:
    fixed = adapter.unprunable(model)
    groups = find_groups(trace(model, EXAMPLE, fixed), model, fixed)
    predicted = work_by_width(model, EXAMPLE, groups)
    assert predicted is not None
    keep = {group.name: group.width // 2 for group in groups}
    scores = {group.name: torch.arange(float(group.width)) for group in groups}
    cut = cut_to(model, adapter.unprunable, EXAMPLE, (), scores, keep)
    assert predicted({}) == count_macs(model, EXAMPLE)[0]
    assert predicted(keep) == pytest.approx(count_macs(cut, EXAMPLE)[0], rel=0.02)  # norms and biases are few


def test_less_is_asked_for_where_a_cut_network_computes_more_than_was_predicted() -> None:
    scores = {"wide": torch.arange(32.0), "narrow": torch.arange(16.0) * 10}
    options = {"wide": [8, 16, 24, 32], "narrow": [8, 16]}

    def total(keep: dict[str, int]) -> float:
        return float(sum(keep.values()))

    keep = widths_within(total, lambda keep: 1.2 * total(keep), scores, options, 40.0)
    assert keep is not None and keep["narrow"] == 16  # what matters more stays
    assert 1.2 * total(keep) <= 40
    assert widths_within(total, total, scores, options, 10.0) is None
