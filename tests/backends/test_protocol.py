"""Every runtime's module offers the whole protocol that the stages go by."""

from __future__ import annotations

import pytest

from edgeprune.backends import BACKENDS, Backend, get_backend

CALLS = ("version", "compile", "load", "load_many", "recognise", "input_shape", "quantized_ops")


@pytest.mark.parametrize("name", BACKENDS)
def test_each_runtime_offers_the_whole_protocol(name: str) -> None:
    backend = get_backend(name)
    assert isinstance(backend, Backend) and backend.name == name
    assert all(callable(getattr(backend, call)) for call in CALLS)
    assert backend.PACKAGES and backend.MODULE and backend.HOW_TO_GET
    assert backend.SOURCE in ("onnx", "program")
