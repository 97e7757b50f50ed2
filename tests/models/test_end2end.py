"""The end-to-end head, and the runtimes that cannot run it."""

from __future__ import annotations

import pytest
import torch

from conftest import build_detector
from edgeprune.adapters.ultralytics import detect as adapter
from edgeprune.core.errors import ModelError

IMAGE = torch.zeros(1, 3, 64, 64)


def test_a_network_with_both_heads_exports_either() -> None:
    model = build_detector("yolo26n")
    adapter.head_of(model).end2end = True
    assert adapter.info(model).end2end
    with torch.no_grad():
        assert adapter.exportable(model)(IMAGE).shape[-1] == 6
        assert adapter.exportable(model, end2end=False)(IMAGE).shape[1] == 4 + 3
    assert adapter.info(model).end2end  # the model itself is as it was


def test_a_head_that_fusion_has_removed_is_missed_by_name() -> None:
    model = build_detector("yolo26n")
    head = adapter.head_of(model)
    head.end2end = True
    head.cv2 = head.cv3 = None
    with pytest.raises(ModelError, match="lost its one-to-many head"):
        adapter.exportable(model, end2end=False)
