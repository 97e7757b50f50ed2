"""Accuracies with the name of their metric, and the record that everything reported is made of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, StringConstraints, model_validator


class Record(BaseModel):
    """Data that is written once, with no key that is not known."""

    model_config = ConfigDict(frozen=True, extra="forbid")


MetricName = Annotated[str, StringConstraints(pattern=r"^[\w@.,:+() -]{1,40}$")]
"""What users read as the name of a metric, in every format of a report."""


class ScoredRecord(Record):
    """A record with accuracies: every `score...` is of its `metric`, and higher is better.

    Files of schema version 1 are read too, see `with_fixed_keys`.

    Attributes:
        metric: name of what the model is judged by, as its adapter has it and as users read it.
    """

    metric: MetricName = "accuracy"

    @model_validator(mode="before")
    @classmethod
    def _of_schema_1(cls, data: Any) -> Any:
        return with_fixed_keys(data) if isinstance(data, dict) else data


class Accuracy(ScoredRecord):
    """Accuracy on one split.

    Attributes:
        score: what the budget is judged by.
        others: further metrics by name; they decide nothing.
        drop: score of the original fp32 row of this target minus this one's; negative when this is better.
        chance: score of a model that guesses; 0 where guessing finds nothing.
        per_class: by class name, the score of its images or objects.
    """

    metric: MetricName
    split: str
    images: int
    score: float
    others: dict[MetricName, float] = {}
    drop: float | None = None
    chance: float = 0.0
    per_class: dict[str, float] = {}

    @model_validator(mode="before")
    @classmethod
    def _with_chance(cls, data: Any) -> Any:
        """Add what files of schema version 1 left to the reader: a classifier may guess."""
        if not isinstance(data, dict) or not any(key.startswith("top1") for key in data):
            return data
        told = data.get("per_class")
        classes = len(told) if isinstance(told, dict) else 0
        return {"chance": 1 / classes if classes > 1 else 0.0} | data


_SCORES: Final = {"map50_95": "mAP50-95", "top1": "top-1"}
_OTHERS: Final = {"map50": "mAP50", "top5": "top-5"}


def with_fixed_keys(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record of schema version 1 with today's keys; one of today as it is.

    Its keys named the metric: `map50_95...` or `top1...` for a score, `map50` or `top5` for the metric beside
    it.
    """
    found: dict[str, Any] = {}
    for key, value in data.items():
        old = next((old for old in _SCORES if old in key), None)
        if old is not None:
            found |= {key.replace(old, "score"): value, "metric": _SCORES[old]}
        elif key in _OTHERS:
            found["others"] = {} if value is None else {_OTHERS[key]: value}
        else:
            found[key] = value
    return found
