"""The scales of batch norms, as the record of a sparse training has them."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from edgeprune.prune.scales import RECORD, describe_scales, gammas, scale_names, write_training
from edgeprune.prune.sparse import Coupled, Part
from edgeprune.records.pruning import SparseTraining


def test_the_scales_of_coupled_batch_norms_are_described_and_kept(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.BatchNorm2d(4))
    with torch.no_grad():
        model[1].weight.copy_(torch.tensor([0.0, -0.005, 1.0, -3.0]))
    places = torch.arange(4)
    parts = tuple(Part(layer, 0, places, places) for layer in (model[0], model[1]))
    names = scale_names(model, [Coupled("0", 4, parts, torch.zeros(4))])
    assert names == ["1"]
    values = gammas(model, names)
    assert values.tolist() == [0.0, 0.004999999888241291, 1.0, 3.0]
    epoch = describe_scales(values, 1, 0.1, 0.5, "top-1")
    assert (epoch.share_small, epoch.score, epoch.quantiles[-1]) == (0.5, 0.5, values.quantile(0.95).item())
    write_training(SparseTraining(criterion="slim", strength=0.1, epochs=(epoch,)), tmp_path)
    kept = SparseTraining.model_validate_json((tmp_path / RECORD).read_text())
    assert kept.epochs == (epoch,)
