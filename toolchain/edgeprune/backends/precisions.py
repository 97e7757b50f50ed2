"""What the runtimes call the types of elements, in the project's words."""

from __future__ import annotations

_PRECISIONS = {
    **dict.fromkeys(("u8", "i8", "uint8", "int8"), "int8"),
    **dict.fromkeys(("f32", "float"), "fp32"),
    **dict.fromkeys(("f16", "float16"), "fp16"),
    **dict.fromkeys(("bf16", "bfloat16"), "bf16"),
}


def precision_of(kind: str) -> str:
    """Return what the project calls a runtime's element type; one it has no name for stays as it is."""
    return _PRECISIONS.get(kind, kind)
