"""Accuracies by the name of their metric, and the record that everything reported is made of."""

from __future__ import annotations

from typing import Any, Final, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)


class Record(BaseModel):
    """Data that is written once, with no key that is not known."""

    model_config = ConfigDict(frozen=True, extra="forbid")


Metric = Literal["mAP50-95", "top-1"]
"""What models are judged by: detectors by the first, classifiers by the share that is classified right."""
LENIENT: Final[dict[Metric, str]] = {"mAP50-95": "mAP50", "top-1": "top-5"}
"""What is shown beside each metric, and decides nothing."""
_KEYS: Final[dict[Metric, tuple[tuple[str, str], ...]]] = {
    "mAP50-95": (("score", "map50_95"), ("lenient", "map50")),
    "top-1": (("score", "top1"), ("lenient", "top5")),
}


class ScoredRecord(Record):
    """A record with accuracies: `score...` is of its metric, `lenient...` of the one beside it.

    In JSON the keys name the metric instead: `map50_95...` and `map50...`, or `top1...` and `top5...`. Both
    forms are read.
    """

    metric: Metric = Field(default="mAP50-95", exclude=True)

    @model_validator(mode="before")
    @classmethod
    def _from_metric_keys(cls, data: Any) -> Any:
        if not isinstance(data, dict):  # a record already
            return data
        found = dict(data)
        for metric, names in _KEYS.items():
            for name, key in names:
                for known in [known for known in found if key in known]:
                    found[known.replace(key, name)] = found.pop(known)
                    found["metric"] = metric
        return found

    @model_serializer(mode="wrap")
    def _to_metric_keys(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        fields: dict[str, Any] = handler(self)
        for name, key in _KEYS[self.metric]:
            fields = {known.replace(name, key): value for known, value in fields.items()}
        return fields


class Accuracy(ScoredRecord):
    """Accuracy on one split.

    Attributes:
        drop: score of the original fp32 row of this target minus this one's; negative when this is better.
        per_class: by class name, mAP50-95 of a detector, the share classified right of a classifier.
    """

    split: str
    images: int
    lenient: float
    score: float
    drop: float | None = None
    per_class: dict[str, float] = {}
