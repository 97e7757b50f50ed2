"""Quicker ways through slow parts of libraries, for tests that are about something else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from edgeprune.quantize import nncf_openvino


@contextmanager
def fast_biases() -> Iterator[None]:
    """Let NNCF correct biases in its fast way: the other one is proven in tests/quantize, and takes long."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nncf_openvino, "few_for_biases", _fast)
        yield


@contextmanager
def _fast(count: int, batch: int) -> Iterator[None]:
    import nncf

    plain = nncf.quantize
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            nncf, "quantize", lambda *given, **how: plain(*given, **how | {"fast_bias_correction": True})
        )
        yield
