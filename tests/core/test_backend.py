"""What a runtime's module leaves out has a default, and the registry tells what the runtimes have."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from edgeprune.core.backend import (
    BACKENDS,
    all_backends,
    backend_of,
    known_schemes,
    modules_of,
    vendor_tools,
)
from edgeprune.core.backend_types import Recognised
from edgeprune.core.errors import ConfigError, ModelError

LEAST = {"version": lambda: "1", "compile": None, "load": lambda *how: how}


def test_the_least_that_a_module_owes_is_enough(tmp_path: Path) -> None:
    backend = backend_of("least", SimpleNamespace(**LEAST, ENGINE="model.least"))
    (engine := tmp_path / "any.least").touch()
    assert backend.recognise(engine) == Recognised(engine, None)
    assert backend.recognise(tmp_path / "gone.least") is backend.recognise(tmp_path) is None
    how = (engine, "fp32", 2, {})
    assert backend.load_many(*how, 3) == [how, how, how]
    assert backend.quantized_ops(engine) is None and backend.parts(engine) == (engine,)
    with pytest.raises(ModelError, match="least does not tell the shape of its input"):
        backend.input_shape(engine)


@pytest.mark.parametrize("owed", LEAST)
def test_what_a_module_owes_is_named(owed: str) -> None:
    facts = {name: fact for name, fact in LEAST.items() if name != owed}
    with pytest.raises(ConfigError, match=f"runtime 'least': its module has no {owed}$"):
        backend_of("least", SimpleNamespace(**facts))


def test_the_registry_tells_what_the_runtimes_have() -> None:
    backends = {backend.name: backend for backend in all_backends()}
    assert backends.keys() == BACKENDS.keys()
    assert set(known_schemes()) == {scheme for backend in backends.values() for scheme in backend.SCHEMES}
    assert {name for name, _ in vendor_tools().values()} == {n for n, one in backends.items() if one.TOOL}
    assert modules_of(["litert", "ncnn"]) == {"ai_edge_litert": "litert", "ncnn": "ncnn"}
