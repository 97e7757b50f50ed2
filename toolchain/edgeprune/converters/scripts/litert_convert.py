"""An exported program to `model.tflite`; with calibration inputs, to its static int8 twin.

Runs in the isolated environment `litert` and imports nothing of edgeprune. Weights become S8 per channel,
activations S8 per tensor in the moving average of each image's range; input and output stay float32.
"""

from __future__ import annotations

import argparse
import json
import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import litert_torch
import numpy as np
import torch
from ai_edge_quantizer import quantizer, recipe
from ai_edge_quantizer.algorithm_manager import AlgorithmName
from ai_edge_quantizer.qtyping import TFLOperationName

INPUT = "args_0"  # what the converter calls the first argument of a program
SIGNATURE = "serving_default"
AT_ONCE = 16


def main() -> None:
    """Convert the program that the command line names."""
    parser = argparse.ArgumentParser()
    parser.add_argument("program", type=Path, help="file of torch.export.save")
    parser.add_argument("out", type=Path, help="the .tflite file to write")
    parser.add_argument("--inputs", type=Path, help="folder of .npy files, float32 (n, 3, H, W)")
    parser.add_argument("--keep", type=Path, help="JSON list of the program's nodes that stay in float")
    args = parser.parse_args()
    program = torch.export.load(args.program)
    model = litert_torch.convert(program.module(), tuple(program.example_inputs[0]))
    args.out.parent.mkdir(parents=True, exist_ok=True)
    model.export(str(args.out))
    if args.inputs:
        scopes = float_scopes(program, set(json.loads(args.keep.read_text(encoding="utf-8"))))
        args.out.write_bytes(quantized(args.out, args.inputs, scopes))


def float_scopes(program: Any, keep: set[str]) -> list[str]:
    """Return the modules all of whose operators stay in float, as the converter writes them in tensor names.

    It writes the class and the name of each module on the way: ``pkg.Net/pkg.head.Detect_22/pkg.DFL_dfl``.
    """
    nodes: dict[str, list[str]] = defaultdict(list)
    for node in program.graph.nodes:
        if stack := node.meta.get("nn_module_stack"):
            nodes[_scope(list(stack.values()))].append(node.name)
    return [scope for scope, names in nodes.items() if keep.issuperset(names)]


def _scope(stack: list[tuple[str, Any]]) -> str:
    parts = []
    for path, kind in stack:
        name = kind if isinstance(kind, str) else f"{kind.__module__}.{kind.__qualname__}"
        leaf = path.rpartition(".")[2]
        parts.append(f"{name}_{leaf}" if leaf else name)
    return "/".join(parts)


def quantized(model: Path, inputs: Path, scopes: list[str]) -> bytes:
    """Return the int8 twin of a float `.tflite` file."""
    work = quantizer.Quantizer(str(model), recipe.static_wi8_ai8())
    for operation in (TFLOperationName.INPUT, TFLOperationName.OUTPUT):
        work.update_quantization_recipe(".*", operation, algorithm_key=AlgorithmName.NO_QUANTIZE)
    # What makes the network's outputs is named after them, not after its module.
    outputs = rf"^{SIGNATURE}_output_\d+_output"
    for pattern in (outputs, *(rf"(^|;){re.escape(scope)};" for scope in scopes)):
        work.update_quantization_recipe(
            pattern, TFLOperationName.ALL_SUPPORTED, algorithm_key=AlgorithmName.NO_QUANTIZE
        )
    files = sorted(inputs.glob("*.npy"))
    ranges = None
    # The quantizer holds all the inputs that it is given; so many at a time, memory does not grow with them.
    for first in range(0, len(files), AT_ONCE):
        images = [{INPUT: np.load(file)} for file in files[first : first + AT_ONCE]]
        ranges = work.calibrate({SIGNATURE: images}, ranges, num_threads=1)
    return bytes(work.quantize(ranges).quantized_model)


if __name__ == "__main__":
    main()
