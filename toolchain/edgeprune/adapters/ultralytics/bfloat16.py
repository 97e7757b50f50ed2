"""Training in bfloat16 on CPUs that compute it in hardware: half the time of float32 with AMX.

ultralytics has mixed precision on GPUs only (it refuses `amp="bf16"` on a CPU).
"""

from __future__ import annotations

from typing import Any

import torch

_FAST = ("amx_bf16", "avx512_bf16", "bf16")  # x86 twice, then ARM


def computes_bfloat16() -> bool:
    """Whether this CPU has instructions for bfloat16: emulated, it would be slower than float32."""
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()  # torch >= 2.10
    return any(capabilities.get(name) for name in _FAST)


def run_in_bfloat16(model: Any, features: dict[int, Any] | None = None) -> None:
    """Make an ultralytics model's forward pass run in bfloat16, in place; loss and weights stay float32.

    Args:
        model: its `predict` is replaced.
        features: what distillation's hooks have caught in a pass, turned back to float32 as the outputs are.
    """
    model.to(memory_format=torch.channels_last)
    predict = model.predict

    def faster(images: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        with torch.autocast("cpu", torch.bfloat16):
            outputs = predict(images.contiguous(memory_format=torch.channels_last), *args, **kwargs)
        if features is not None:
            features.update(to_float(features))
        return to_float(outputs)

    model.predict = faster


def to_float(output: Any) -> Any:
    """Return nested network outputs with every floating-point tensor as float32."""
    if isinstance(output, dict):
        return {key: to_float(value) for key, value in output.items()}
    if isinstance(output, (list, tuple)):
        return type(output)(map(to_float, output))
    return output.float() if isinstance(output, torch.Tensor) and output.is_floating_point() else output
