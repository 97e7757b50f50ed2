"""The step is found in staircases of any length, noise and all, and not where there is none."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeprune.latency.staircase import FINEST, STEPS, derive_step, scan_widths
from edgeprune.records.latency_table import Scan, Shape

SHAPE = Shape(kernel=(3, 3), stride=1, groups="dense", height=8, width=8, activation="SiLU")


def scan(width: int, step: int, seed: int, noise: float, fixed: float = 0.2, odd: float = 1.0) -> Scan:
    """Return a staircase on top of a fixed cost; widths off the step take `odd` times as long."""
    draw = random.Random(seed)
    widths = scan_widths(width)
    ms = [
        (fixed + math.ceil(c / step) * step / width) * (odd if c % step else 1) * draw.gauss(1, noise)
        for c in widths
    ]
    return Scan(shape=SHAPE, axis="cout", other=64, widths=widths, ms=tuple(ms), iqr_ms=(0.0,) * len(ms), n=1)


@given(
    step=st.sampled_from((8, 16, 32)),
    seed=st.integers(0, 10**6),
    noise=st.sampled_from((0.0, 0.002, 0.005)),
    odd=st.sampled_from((1.0, 1.3, 2.0)),
)
def test_the_length_of_the_stairs_is_found(step: int, seed: int, noise: float, odd: float) -> None:
    scans = [
        scan(width, step, seed + index, noise, odd=odd) for index, width in enumerate((64, 128, 64, 128))
    ]
    assert derive_step(scans) == step


@given(seed=st.integers(0, 10**6))
def test_without_stairs_the_shortest_step_is_taken(seed: int) -> None:
    assert derive_step([scan(128, 1, seed, 0.002), scan(128, 1, seed + 1, 0.002)]) == STEPS[0]


def test_a_latency_that_does_not_grow_tells_nothing() -> None:
    flat = scan(64, 16, 0, 0.0).model_copy(update={"ms": (1.0,) * len(scan_widths(64))})
    assert derive_step([flat]) == STEPS[0]
    assert derive_step([flat, *(scan(128, 16, seed, 0.0) for seed in range(3))]) == 16


@given(seed=st.integers(0, 10**6))
def test_long_stairs_show_through_strong_noise(seed: int) -> None:
    assert derive_step([scan(128, 32, seed + index, 0.02) for index in range(4)]) == 32


@pytest.mark.parametrize("width", [64, 66, 80, 128])
def test_a_scan_covers_the_upper_half_up_to_the_width(width: int) -> None:
    widths = scan_widths(width)
    assert widths[-1] == width - width % FINEST
    assert widths[0] <= width / 2 + FINEST
    assert set(STEPS) == {8, 16, 32, 64}
