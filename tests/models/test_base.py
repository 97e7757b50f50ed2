"""What an adapter need not say: the layers that make the outputs, a copy, a plain recovery."""

from __future__ import annotations

import torch
from torch import nn

from edgeprune.models.base import output_layers


class Branches(nn.Module):
    """Two heads of three layers each, one of them with a bias-free linear layer, one joined."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        self.boxes, self.scores = nn.Conv2d(8, 4, 1), nn.Conv2d(8, 2, 1, bias=False)
        self.linear = nn.Linear(8, 5, bias=False)
        self.biased = nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        found = self.stem(x)
        joined = torch.cat([self.boxes(found), self.scores(found).sigmoid()], 1)
        means = found.mean((2, 3))
        return joined, {"a": self.linear(means).softmax(1), "b": self.biased(means)}


def test_the_layers_of_the_outputs_are_found_whatever_follows_them() -> None:
    model = Branches().eval()
    wanted = {model.boxes, model.scores, model.linear, model.biased}
    assert set(output_layers(model, torch.zeros(1, 3, 8, 8))) == wanted


def test_a_batch_norm_after_the_last_convolution_does_not_hide_it() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 1), nn.BatchNorm2d(4)).eval()
    assert output_layers(model, torch.zeros(1, 3, 8, 8)) == [model[2]]
