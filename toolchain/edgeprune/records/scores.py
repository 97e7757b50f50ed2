"""Accuracies with the name of their metric, and the record that everything reported is made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, StringConstraints, model_validator

from edgeprune.records.resampling.draws import RESAMPLES, draw, draws_key
from edgeprune.records.resampling.evidence import Evidence
from edgeprune.records.resampling.interval import Interval, counted_drop, drop_words, paired_interval


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


class Resampled(Record):
    """The scores of a model on the resamples of a split, which are the same ones for all models.

    Attributes:
        key: of the resamples, see `draws_key`: only scores of one key are paired.
        images: of the split.
        scores: one a resample; None where it had nothing to judge.
    """

    key: str
    images: int
    scores: Annotated[tuple[float | None, ...], Field(min_length=RESAMPLES, max_length=RESAMPLES)]

    def drop_interval(self, original: Resampled) -> Interval | None:
        """Return the 95 % interval of the score of the original minus this one, where both are paired."""
        if self.key != original.key:
            return None
        before, after = (np.array(one.scores, dtype=np.float64) for one in (original, self))
        return paired_interval(before, after, self.images)


class Accuracy(ScoredRecord):
    """Accuracy on one split.

    What it is made of, image by image, goes with it in memory and is written beside it, see `resampled`.

    Attributes:
        score: what the budget is judged by.
        others: further metrics by name; they decide nothing.
        drop: score of the original fp32 row of this target minus this one's; negative when this is better.
        drop_interval: 95 % interval of the drop, by a paired bootstrap over the images; None where the metric
            is not known image by image.
        chance: score of a model that guesses; 0 where guessing finds nothing.
        per_class: by class name, the score of its images or objects.
    """

    metric: MetricName
    split: str
    images: int
    score: float
    others: dict[MetricName, float] = {}
    drop: float | None = None
    drop_interval: Interval | None = None
    chance: float = 0.0
    per_class: dict[str, float] = {}
    _evidence: Evidence | None = PrivateAttr(None)
    _resampled: Resampled | None = PrivateAttr(None)

    @model_validator(mode="before")
    @classmethod
    def _with_chance(cls, data: Any) -> Any:
        """Add what files of schema version 1 left to the reader: a classifier may guess."""
        if not isinstance(data, dict) or not any(key.startswith("top1") for key in data):
            return data
        told = data.get("per_class")
        classes = len(told) if isinstance(told, dict) else 0
        return {"chance": 1 / classes if classes > 1 else 0.0} | data

    @property
    def drop_words(self) -> str:
        """The drop with its interval, such as ``0.0075 [-0.0060, 0.0210]``; empty where it is not known."""
        return "" if self.drop is None else drop_words(self.drop, self.drop_interval)

    def counted_drop(self, sure: bool) -> float:
        """Return the drop that a budget is held against: the upper end of its interval if it has to be sure.

        Where no interval is known, and of an accuracy without a drop, that is the drop itself, or 0.
        """
        return counted_drop(self.drop or 0.0, self.drop_interval, sure)

    @property
    def evidence(self) -> Evidence | None:
        """What the score is made of, right after the evaluation; None where that is not known."""
        return self._evidence

    @property
    def resampled(self) -> Resampled | None:
        """The scores on the resamples of the split; None where they were not computed."""
        return self._resampled

    def made_of(self, evidence: Evidence) -> Accuracy:
        """Return the same with what its score is made of, image by image."""
        copy = self.model_copy()
        copy._evidence = evidence
        return copy

    def with_resampled(self, resampled: Resampled | None) -> Accuracy:
        """Return the same with its scores on the resamples."""
        copy = self.model_copy()
        copy._resampled = resampled
        return copy

    def resample(self, images: Sequence[str]) -> Resampled | None:
        """Score the resamples of the split; None where the metric is not known image by image.

        Args:
            images: digests of the images, in the order in which they were evaluated.
        """
        if self._evidence is None:
            return None
        scores = np.concatenate([self._evidence.score(weights) for weights in draw(images)])
        told = tuple(float(score) if np.isfinite(score) else None for score in scores)
        return Resampled(key=draws_key(images), images=len(images), scores=told)

    def dropped_from(self, original: Accuracy) -> Accuracy:
        """Return the same with its drop from an original, and the interval of that where both tell.

        What these were computed from is left out: it is what a report keeps.
        """
        ours, its = self.resampled, original.resampled
        interval = ours.drop_interval(its) if ours and its else None
        found = self.model_copy(update={"drop": original.score - self.score, "drop_interval": interval})
        found._evidence = found._resampled = None
        return found


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
