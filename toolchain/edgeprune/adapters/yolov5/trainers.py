"""Trainers of classic YOLOv5: those of ultralytics' detectors, with this network's own loss.

Images are augmented by ultralytics, whose mosaic, colours and flips are YOLOv5's, with the numbers that the
checkpoint was trained with.
"""

from __future__ import annotations

from edgeprune.adapters.ultralytics.aware import Aware
from edgeprune.adapters.ultralytics.finetune import KeptShapeTrainer
from edgeprune.adapters.ultralytics.sparse import Regularised


class AnchorTrainer(KeptShapeTrainer):
    """The trainer of a recovery."""

    adapter = "yolov5"


class SparseAnchorTrainer(Regularised, AnchorTrainer):
    """The trainer of a sparse training."""


class AwareAnchorTrainer(Aware, AnchorTrainer):
    """The trainer of a training for int8."""
