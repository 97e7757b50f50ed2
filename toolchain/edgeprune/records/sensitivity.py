"""What the accuracy guard reports: what int8 costs and brings in each layer, and what stays in float."""

from __future__ import annotations

from edgeprune.records.scores import Record, ScoredRecord


class LayerSensitivity(Record):
    """What int8 in one layer costs and brings.

    Attributes:
        layer: name of its first ONNX node, a convolution as a rule.
        nodes: names of all its ONNX nodes.
        error: of the network's outputs when only this layer is int8, relative L2, mean over their channels.
        drop: of the score on val when only this layer is int8; null when its error is too small to matter.
        float_ms, int8_ms: of its nodes in the float and in the int8 engine; null when not measured here.
    """

    layer: str
    nodes: tuple[str, ...]
    error: float
    drop: float | None = None
    float_ms: float | None = None
    int8_ms: float | None = None

    @property
    def gained_ms(self) -> float | None:
        """Milliseconds that int8 saves in this layer; negative when it is slower."""
        if self.float_ms is None or self.int8_ms is None:
            return None
        return self.float_ms - self.int8_ms


class GuardTry(Record):
    """One choice of layers in float that was built and evaluated.

    Attributes:
        floats: how many layers stay in float.
        predicted: sum of the drops of the others.
        drop: of the score on val, measured.
        lost_ms: that int8 would gain in the layers in float; null when layers are not timed.
    """

    floats: int
    predicted: float
    drop: float
    lost_ms: float | None = None


class Guard(ScoredRecord):
    """How the accuracy guard brought an int8 row back within the budget.

    Attributes:
        score_before, drop_before: of the row with every layer of its scheme in int8, on val.
        drop_after: of the row with some of them in float, on val.
        floats: layers that it left in float, or in what stands in for it.
        fallback: what those compute in: ``float``, ``fp16``, or ``U16`` activations.
        layers: sensitivity of every layer, the greatest error first.
    """

    score_before: float
    drop_before: float
    drop_after: float
    floats: tuple[str, ...]
    fallback: str = "float"
    tries: tuple[GuardTry, ...]
    layers: tuple[LayerSensitivity, ...]
