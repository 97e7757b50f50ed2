"""How much of each YOLO can be pruned: the table of docs/yolo.md.

    python -m benchmarks.prunable

Networks are made from their YAML files, with random weights. For each: how many of its convolutions'
multiply-accumulates have a width that can be pruned, at the input or the output. And how many are left when
every layer gives up half of its channels that can go, on a step of 8.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from edgeprune.adapters.ultralytics import classify, detect
from edgeprune.config.recipe import PruneRecipe
from edgeprune.prune.evidence import Evidence
from edgeprune.prune.groups import find_groups, members, trace
from edgeprune.prune.surgery import prune

NETWORKS = (
    "yolov3-tiny", "yolov5n", "yolov6n", "yolov8n", "yolov8n-ghost", "yolov9t", "yolov9s", "yolov10n",
    "yolo11n", "yolo12n", "yolo26n", "yolov8n-cls", "yolo11n-cls", "yolo12n-cls", "yolo26n-cls",
)  # fmt: skip
SIDE = 320
_WEIGHTED = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)


def multiply_accumulates(model: nn.Module, example: torch.Tensor) -> dict[nn.Module, int]:
    """Return those of every convolution and linear layer on one input, float32 (1, 3, H, W)."""
    found: dict[nn.Module, int] = {}

    def note(layer: Any, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        places = inputs[0] if isinstance(layer, nn.ConvTranspose2d) else output
        found[layer] = places.numel() * layer.weight[0].numel()

    hooks = [layer.register_forward_hook(note) for layer in model.modules() if isinstance(layer, _WEIGHTED)]
    with torch.no_grad():
        model(example)
    for hook in hooks:
        hook.remove()
    return found


def measure(name: str) -> list[str]:
    """Return the cells of one network's row."""
    from ultralytics.nn.tasks import ClassificationModel, DetectionModel

    is_classifier = name.endswith("-cls")
    maker, adapter = (ClassificationModel, classify) if is_classifier else (DetectionModel, detect)
    torch.manual_seed(0)
    model = adapter.prunable(maker(f"{name}.yaml", verbose=False).eval())
    example = torch.zeros(1, 3, SIDE, SIDE)
    groups = find_groups(trace(model, example, adapter.unprunable(model)), model, adapter.unprunable(model))
    reached = {member.module for group in groups for member in members(group, *_WEIGHTED)}
    macs = multiply_accumulates(model, example)
    share = sum(count for layer, count in macs.items() if layer in reached) / sum(macs.values())
    recipe = PruneRecipe(criterion="random", ratio=0.5, scope="local")
    report = prune(model, adapter.unprunable, example, recipe, 8, Evidence(0)).report
    whole = Counter(block.rpartition("(")[2].rstrip(")") for block in report.whole)
    return [
        name,
        str(len(groups)),
        f"{share:.1%}",
        f"{report.macs_after / report.macs_before:.1%}",
        ", ".join(f"{count} {kind}" for kind, count in whole.items()) or "none",
    ]


def main(argv: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "networks", nargs="*", help="names of YAML files of ultralytics; all of the table without"
    )
    chosen = parser.parse_args(argv).networks or NETWORKS
    print(
        "| network | groups | work that can be pruned | work left at half the channels | blocks left whole |"
    )
    print("|---|---|---|---|---|")
    for name in chosen:
        print(f"| {' | '.join(measure(name))} |", flush=True)


if __name__ == "__main__":
    main()
