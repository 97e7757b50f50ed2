"""Rows and summaries of builds that were never run."""

from __future__ import annotations

from typing import Any

from edgeprune.records.scores import Accuracy
from edgeprune.records.summary import Row, Summary, TargetSummary
from edgeprune.report.cells import Table


def a_summary() -> Summary:
    row = Row(
        target="x86-ort",
        variant="original",
        precision="fp32",
        runtime="onnxruntime",
        size_mb=1.5,
        p50_ms=2.0,
        artifact="stages/engine-0/model.onnx",
        sha256="ab",
    )
    waiting = row.model_copy(update={"target": "jetson", "p50_ms": None})
    return Summary(
        created_utc="2026-11-22T04:00:00+00:00",
        command="edgeprune build",
        model={"path": "best.pt"},
        data={"names": ["ünï", "b"]},
        imgsz=64,
        split="test",
        selection_split="val",
        budget={"max_drop": 0.01, "min_fps": None},
        bench_profile="quick",
        threads=1,
        targets={
            entry.target: TargetSummary(rows=(entry,), chosen=None, verdict="-", split="test")
            for entry in (row, waiting)
        },
        chosen=row,
        verdict="-",
        reference=row.label,
    )


def row(variant: str, precision: str, p50: float | None, drop: float = 0.0, **changes: Any) -> Row:
    """Make a row whose accuracy on `val` is 0.6 - drop; its numbers on `test` are of no account."""
    facts: dict[str, Any] = {
        "target": "x86-ort",
        "variant": variant,
        "precision": precision,
        "runtime": "onnxruntime",
        "p50_ms": p50,
        "fps": 1000 / p50 if p50 else None,
        "peak_mb": 100.0,
        "size_mb": 5.0,
        "metric": "mAP50-95",
        "score": 0.5,
        "val": Accuracy(metric="mAP50-95", split="val", images=9, score=0.6 - drop, drop=drop),
        "artifact": "stages/x",
        "sha256": "0",
    }
    return Row(**facts | changes)


def four(fp32: float = 20, int8: float = 10, pruned_fp32: float = 14, pruned_int8: float = 6) -> list[Row]:
    return [
        row("original", "fp32", fp32),
        row("original", "int8", int8, drop=0.002),
        row("pruned", "fp32", pruned_fp32, drop=0.004),
        row("pruned", "int8", pruned_int8, drop=0.008),
    ]


def with_rows(summary: Summary, target: str, **changes: Any) -> dict[str, TargetSummary]:
    """Return the targets of a build, all rows of one of them changed."""
    targets = dict(summary.targets)
    rows = tuple(row.model_copy(update=changes) for row in targets[target].rows)
    chosen = rows[-1] if targets[target].chosen else None
    targets[target] = targets[target].model_copy(update={"rows": rows, "chosen": chosen})
    return targets


def column(data: Table, head: str) -> list[str]:
    """Return the texts of a column, by its heading."""
    place = [one.text for one in data.heads].index(head)
    return [line.cells[place].text for line in data.lines]
