"""The search on a real tiny detector with a made latency table: blocks go, what ships has none of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from edgeprune.config.recipe import load_recipe
from edgeprune.config.targets import resolve_targets
from edgeprune.core.artifact import Store
from edgeprune.images.dataset import Dataset
from edgeprune.models import get_adapter
from edgeprune.models.source import ModelSource
from edgeprune.pipeline.build import start
from edgeprune.pipeline.context import BuildRequest
from edgeprune.pipeline.solve import begin as beginning
from edgeprune.pipeline.solve import rivals as competing
from edgeprune.pipeline.solve import run as solving
from edgeprune.pipeline.solve.begin import Networks
from edgeprune.pipeline.solve.rungs import Entry, Gains
from edgeprune.prune.depth import blocks_gone
from edgeprune.records.pruning import Pruning
from edgeprune.records.scores import Accuracy
from edgeprune.records.speedup import Speedup
from made_tables import made_table

ADAPTER = get_adapter("ultralytics")
(HERE,) = resolve_targets(("x86-ort",))
USELESS = "model.4.m.1"


@pytest.fixture
def search(
    checkpoints: dict[str, Path], tiny: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Any:
    """Return a function that searches, always in one folder; one residual branch is all but zero."""
    model = ADAPTER.load(checkpoints["yolov8n"])
    for name in ("weight", "bias"):
        nn.init.constant_(model.get_submodule(f"{USELESS}.cv2.bn").get_parameter(name), 1e-6)
    ADAPTER.save(model, tmp_path / "model.pt")
    table = made_table(ADAPTER, ADAPTER.prunable(ADAPTER.load(tmp_path / "model.pt")), 64)
    monkeypatch.setattr(beginning, "latency_table", lambda *_: table)

    def run(timings: int) -> tuple[Entry | None, Pruning, tuple[Entry, ...], list[str]]:
        """Search until so many sizes were timed; Ctrl-C ends it then."""
        left = iter(range(timings))

        def time_network(*_: object) -> Gains:
            if next(left, None) is None:
                raise KeyboardInterrupt
            return Gains(original=Speedup(times=2.0), above=Speedup(times=1.5))

        monkeypatch.setattr(competing, "time_network", time_network)
        settings = ("quantize.images=4", "quantize.guard=false", "export.check_images=2")
        recipe = load_recipe(None, settings, imgsz=64, finetune__epochs=0, solve__effort="quick")
        request = BuildRequest(
            ModelSource(tmp_path / "model.pt"), tiny.source, (HERE,), recipe, tmp_path / "out", "test"
        )
        store = Store(tmp_path / "out" / "stages")
        with store.locked():
            original, context = start(request, store, lambda *_: None)
            baseline = {"val": Accuracy(metric="mAP50-95", split="val", images=6, score=0.0)}
            networks = Networks(original, original, original)
            return *solving.solve(context, networks, HERE, baseline), store.reused

    return run


def test_blocks_go_in_the_search_and_a_search_that_was_stopped_goes_on(
    search: Any, tiny: Dataset, tmp_path: Path
) -> None:
    _, report, first, _ = search(1)
    assert report.search.ended == "interrupted" and len(first) == 1
    chosen, report, entries, reused = search(99)
    assert report.search.ended == "done" and len(entries) > 1 and "cut" in reused
    assert entries[0].network == first[0].network
    again, told, _, _ = search(99)
    assert again.best == chosen.best and told == report

    whole, small = (ADAPTER.load(path) for path in (tmp_path / "model.pt", chosen.best.path))
    gone = blocks_gone(whole, small)
    assert USELESS in gone and set(report.dropped) == set(gone)
    shares = sorted(report.search.rungs, key=lambda rung: -rung.share)
    assert [rung.blocks for rung in shares] == sorted(rung.blocks for rung in shares)
    assert shares[0].blocks >= 1 and shares[-1].blocks == len(gone)
    assert {layer.after for layer in report.layers if layer.layer.startswith(f"{USELESS}.")} == {0}

    # each was exported, held against torch there, and ran as int8
    checks = [json.loads(path.read_text()) for path in (tmp_path / "out/stages").glob("*/check.json")]
    assert len(checks) >= len(entries) and all(check["box_px"] < 0.01 for check in checks)
    images = len(tiny.images["val"])
    assert all(entry.short.images == images and entry.tried.keeps(0.01) for entry in entries)
