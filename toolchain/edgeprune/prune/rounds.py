"""What the rounds of a chunk of networks say: read, brought to one pace, what a layer takes, in short."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgeprune.bench.micronet import Micronet
from edgeprune.errors import DeviceError


def read_rounds(path: Path, names: set[Any], rounds: int) -> dict[str, list[float]]:
    """Read the answer of `bench/layer_worker.py`: the rounds of each network, ns, by name.

    Raises:
        DeviceError: it is not whole.
    """
    try:
        found: dict[str, list[float]] = json.loads(path.read_text(encoding="utf-8"))["rounds_ns"]
        whole = set(found) == names and all(len(values) == rounds for values in found.values())
    except (ValueError, KeyError, TypeError, AttributeError):
        whole = False
    if not whole:
        raise DeviceError("the layers' worker answered with garbage; the same command tries again")
    return found


def layer_cost(times: Mapping[str, Sequence[float]], net: Micronet) -> list[float]:
    """Return what the layer alone took in each round, in ms: with it less without it, never below zero."""
    before, after = (times[around.name] for around in net.around)
    rounds = zip(times[net.name], before, after, strict=True)
    return [max(0.0, whole - (left + right) / 2) for whole, left, right in rounds]


def at_one_pace(times: Mapping[str, Sequence[float]]) -> dict[str, list[float]]:
    """Take the machine's moods out of the rounds: each is divided by how slow all networks were in it."""
    table = np.array(list(times.values()))
    pace = np.median(table / np.median(table, axis=1, keepdims=True), axis=0)
    return {name: list(map(float, row)) for name, row in zip(times, table / pace, strict=True)}


def summary(rounds: Sequence[float]) -> dict[str, Any]:
    """Return the median of the rounds and the distance of their quartiles, ms, and how many they are."""
    low, median, high = (float(value) for value in np.quantile(rounds, (0.25, 0.5, 0.75)))
    return {"ms": median, "iqr_ms": high - low, "n": len(rounds)}
