"""Adapters are found by name, and what is not there is named with the nearest that is."""

from __future__ import annotations

import pytest

from edgeprune.core.errors import ConfigError
from edgeprune.models import MODELS, get_adapter

CALLS = (
    "recognise",
    "load",
    "save",
    "info",
    "prunable",
    "preprocess",
    "dataset",
    "compare_reading",
    "causes",
    "unprunable",
    "exportable",
    "float_nodes",
    "sparsify",
    "finetune",
    "train_aware",
    "labelled_images",
    "loss",
    "evaluate",
)


@pytest.mark.parametrize("name", MODELS)
def test_each_adapter_offers_the_whole_protocol(name: str) -> None:
    adapter = get_adapter(name)
    assert all(callable(getattr(adapter, call)) for call in CALLS)


def test_an_unknown_kind_of_model_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"'ultralitics' \(did you mean 'ultralytics'\?\)"):
        get_adapter("ultralitics")
