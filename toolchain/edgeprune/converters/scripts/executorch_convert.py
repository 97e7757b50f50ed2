"""An exported program to `model.pte` for XNNPACK; with calibration inputs, quantized to int8 before.

Runs in the isolated environment `executorch` and imports nothing of edgeprune. Beside the program it writes
`conversion.json`: how many operators XNNPACK took, which it left, and how many convolutions are in integers.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
    XNNPACKQuantizer,
    get_symmetric_quantization_config,
)
from executorch.devtools.backend_debug import get_delegation_info
from executorch.exir import to_edge_transform_and_lower
from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
from torchao.quantization.pt2e.quantizer.quantizer import Q_ANNOTATION_KEY


def main() -> None:
    """Convert the program that the command line names."""
    parser = argparse.ArgumentParser()
    parser.add_argument("program", type=Path, help="file of torch.export.save")
    parser.add_argument("out", type=Path, help="folder to write model.pte and conversion.json into")
    parser.add_argument("--inputs", type=Path, help="folder of .npy files, float32 (n, 3, H, W)")
    parser.add_argument("--keep", type=Path, help="JSON list of the program's nodes that stay in float")
    args = parser.parse_args()
    program = torch.export.load(args.program)
    example = tuple(program.example_inputs[0])
    if args.inputs:
        keep = set(json.loads(args.keep.read_text(encoding="utf-8")))
        program = torch.export.export(quantized(program, args.inputs, keep), example)
    edge = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()])
    args.out.mkdir(parents=True, exist_ok=True)
    facts = {"input": list(example[0].shape)} | facts_of(edge.exported_program())
    (args.out / "model.pte").write_bytes(edge.to_executorch().buffer)
    (args.out / "conversion.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


def quantized(program: Any, inputs: Path, keep: set[str]) -> Any:
    """Return the program as a module with Q/DQ: activations S8 per tensor, weights S8 per channel."""
    quantizer = _Quantizer(keep)
    quantizer.set_global(get_symmetric_quantization_config(is_per_channel=True))
    module = prepare_pt2e(program.module(), quantizer)
    with torch.no_grad():
        for file in sorted(inputs.glob("*.npy")):
            module(torch.from_numpy(np.load(file)))
    return convert_pt2e(module)


class _Quantizer(XNNPACKQuantizer):  # type: ignore[misc]  # its package is not there where types are checked
    """XNNPACK's quantizer, which leaves some nodes in float.

    Its own filter does not reach `cat` (executorch 1.5.1): the one that joins boxes and scores would get one
    scale over both, and every score would be 0.
    """

    def __init__(self, keep: set[str]) -> None:
        super().__init__()
        self._keep = keep

    def annotate(self, model: torch.fx.GraphModule) -> torch.fx.GraphModule:
        """Annotate the nodes that become int8."""
        super().annotate(model)
        for node in model.graph.nodes:
            if node.name in self._keep:
                node.meta.pop(Q_ANNOTATION_KEY, None)
        return model


def facts_of(program: Any) -> dict[str, Any]:
    """Count what went where: operators of XNNPACK and others, and convolutions with quantized input."""
    info = get_delegation_info(program.graph_module)
    left = Counter({name: found.non_delegated for name, found in info.delegation_by_operator.items()})
    del left["getitem"]  # it picks one of several outputs, and computes nothing
    return {
        "delegated": info.num_delegated_nodes,
        "operators": info.num_delegated_nodes + left.total(),
        "left": {name: count for name, count in left.items() if count},
        "convolutions": sum(_convolutions(module) for module in _delegated(program)),
        "integer_convolutions": sum(_convolutions(module, True) for module in _delegated(program)),
    }


def _delegated(program: Any) -> list[Any]:
    modules = [getattr(program.graph_module, name) for name, _ in program.graph_module.named_children()]
    return [module.original_module for module in modules if hasattr(module, "original_module")]


def _convolutions(program: Any, integer: bool = False) -> int:
    found = [node for node in program.graph.nodes if "convolution" in str(node.target)]
    return sum(not integer or "dequantize" in str(node.args[0].target) for node in found)


if __name__ == "__main__":
    main()
