"""A classic YOLOv5 goes through a whole build: sparse training, the cut, recovery, export, int8, engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from edgeprune.adapters.yolov5 import detect as adapter
from edgeprune.config.targets import resolve_targets
from edgeprune.images.dataset import Dataset
from edgeprune.images.spec import spec_of
from edgeprune.records.summary import load_summary
from made_classic import made_classic

ORT = next(profile.name for profile in resolve_targets(("cpu",)) if profile.backend == "onnxruntime")


def test_it_is_slimmed_and_built(run: Any, tiny: Dataset, tmp_path: Path) -> None:
    checkpoint, out = tmp_path / "best.pt", tmp_path / "out"
    adapter.save(made_classic(), checkpoint)
    ended = run(
        *("build", "--model", checkpoint, "--data", tiny.source, "--out", out, "--target", ORT),
        *("--criterion", "slim", "--ratio", "0.5", "--epochs", "1", "--bench", "quick", "--max-drop", "1"),
        *("--set", "sparse.epochs=1", "--set", "quantize.images=4", "--set", "finetune.batch=6"),
        *("--set", "prune.activation=keep", "--set", "quantize.guard=false"),
    )
    assert ended.code == 0, (ended.errors, ended.exception)
    summary = load_summary(out)
    assert (summary.metric, summary.imgsz) == ("mAP50-95", 64)
    for row in summary.rows():
        assert row.p50_ms and row.val
        assert row.precision != "int8" or row.quantized_ops
    (pruning,) = [target.pruning for target in summary.targets.values()]
    assert pruning and pruning.sparse and pruning.limit
    assert pruning.params_after < pruning.params_before
    assert all(layer.after >= 1 for layer in pruning.layers)
    assert pruning.limit.layer in {layer.layer for layer in pruning.layers}
    assert (
        f"before a layer is empty; the first would be {pruning.limit.layer}"
        in (out / "report.html").read_text()
    )
    post = spec_of(out / "best").postprocess
    assert (post.head, post.evaluation and post.evaluation.iou) == ("raw", 0.6)

    (recovered,) = (out / "stages").glob("finetuned-*/model.pt")
    again = adapter.load(recovered)
    assert sum(one.numel() for one in again.parameters()) == pruning.params_after
    with torch.no_grad():
        assert torch.isfinite(again(torch.zeros(1, 3, 64, 64))[0]).all()
