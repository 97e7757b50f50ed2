"""A metric of the user's, asked in a thread that is watched: it may fail, hang, or return no score."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeprune.core.errors import ConfigError
from edgeprune.models.adapter import Array, Predict

_LOOK_S = 0.05


@dataclass(frozen=True)
class Metric:
    """A function of the user's.

    Attributes:
        where: how messages name it.
        function: called with `predict` and the samples of a split; returns a number from 0 to 1, or a list of
            one a sample.
        limit_s: seconds that it may take between two predictions, and before the first and after the last.
        describe: an exception of its in a line.
    """

    where: str
    function: Callable[[Predict, Any], Any]
    limit_s: float
    describe: Callable[[BaseException], str]


def judge(metric: Metric, predict: Predict, samples: Any) -> npt.NDArray[np.float64]:
    """Return the metric of a network: () of one number, (n,) of one a sample, whose mean is the score.

    The thread of one that hangs is left behind; it ends with the process.

    Raises:
        ConfigError: it raises, is silent for too long, or returns no number from 0 to 1, or not one a sample.
    """
    beat = [time.monotonic()]
    ended: list[Any] = []
    failed: list[BaseException] = []

    def watched(images: Any) -> Sequence[Array]:
        found = predict(images)
        beat[0] = time.monotonic()
        return found

    def run() -> None:
        try:
            ended.append(metric.function(watched, samples))
        except BaseException as exc:  # whatever the user's code raises, SystemExit too
            failed.append(exc)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(_LOOK_S)
        if thread.is_alive() and time.monotonic() - beat[0] > metric.limit_s:
            raise ConfigError(
                f"{metric.where} has not called predict for {metric.limit_s:g} s, and has not returned; "
                "raise `timeout` of the class if it needs longer"
            )
    if failed:
        raise ConfigError(f"{metric.where} failed: {metric.describe(failed[0])}") from failed[0]
    return _as_scores(ended[0], metric.where, len(samples))


def _as_scores(value: Any, where: str, count: int) -> npt.NDArray[np.float64]:
    try:
        scores = np.asarray(float("nan") if value is None else value, dtype=np.float64)
    except (TypeError, ValueError):
        scores = None
    if value is None or scores is None:
        raise ConfigError(f"{where} has to return a number, not {type(value).__name__}")
    if scores.shape not in ((), (count,)):
        raise ConfigError(
            f"{where} returned numbers of shape {scores.shape}; one number is needed, or one for each of the "
            f"{count} images"
        )
    wrong = scores[~((scores >= 0) & (scores <= 1))]
    if wrong.size:
        raise ConfigError(
            f"{where} returned {wrong.flat[0]:g}; a number from 0 to 1 is needed, higher is better"
        )
    return scores
