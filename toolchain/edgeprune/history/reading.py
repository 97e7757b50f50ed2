"""Entries made of results: of what `bench` and `check` hand back, of their files, of build folders."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from edgeprune.bench.statistics import achieved_fps, latency_ms
from edgeprune.core.artifact import SUMMARY
from edgeprune.core.documents import read_json, validate
from edgeprune.core.errors import DataError
from edgeprune.core.files import inside
from edgeprune.gate.result import GateResult
from edgeprune.history.commits import Commit, iso
from edgeprune.history.entry import Entry
from edgeprune.records.bench_result import BenchResult, load_result
from edgeprune.records.scores import Accuracy
from edgeprune.records.summary import load_summary
from edgeprune.runners.devices import LOCAL


def of_bench(result: BenchResult, commit: Commit, accuracy: Accuracy | None = None) -> Entry:
    """Return the entry of a bench result.

    Raises:
        DataError: it holds what no entry may, such as a number beyond the database's.
    """
    timed = any(block.samples_ns for block in result.blocks)
    backend = result.backend
    fields = {
        "id": f"{result.run_id}/{hashlib.sha256(result.name.encode()).hexdigest()[:16]}",
        "kind": "bench",
        "name": result.name,
        "machine": machine_of(result),
        "backend": backend.name,
        "backend_version": backend.version,
        "precision": str(backend.precision_actual),
        "threads": backend.threads,
        "scenario": result.scenario.name,
        "batch": result.scenario.batch,
        "started_utc": result.started_utc,
        "commit_sha": commit.sha,
        "branch": commit.branch,
        "committed_utc": commit.committed_utc,
        "valid": result.valid,
        "p50_ms": latency_ms(result).p50 if timed else None,
        "fps": achieved_fps(result.blocks, result.scenario.batch) if timed else None,
        "peak_mb": result.memory.peak_hwm if result.memory else None,
        "accuracy": accuracy.score if accuracy else None,
        "accuracy_metric": accuracy.metric if accuracy else None,
        "document": result.model_dump_json(),
    }
    return validate(Entry, fields, f"result {result.name!r}", DataError)


def machine_of(result: BenchResult) -> str:
    """Return how entries name their device: its board or processor, and where it was reached."""
    env = result.env_before
    where = "" if result.device in (None, LOCAL) else f" at {result.device}"
    return f"{env.get('board') or env.get('cpu')} ({env.get('machine')}){where}"


def of_check(target: str, result: GateResult, commit: Commit, started_utc: str) -> Entry:
    """Return the entry of a gate's result: the candidate's numbers over the pairs that count."""
    side = result.candidate
    document = json.dumps({target: result.model_dump(mode="json")})
    pairs = result.counted
    known = {metric.name: metric for metric in result.metrics if not metric.budget}
    memory, accuracy = known.get("peak memory"), known.get("accuracy")
    fields = {
        "id": hashlib.sha256(document.encode()).hexdigest(),
        "kind": "check",
        "name": target,
        "machine": str(side.get("device")),
        "backend": str(side.get("runtime")),
        "backend_version": side.get("runtime version"),
        "precision": str(side.get("precision")),
        "threads": side.get("threads") or 0,
        "scenario": "pairs",
        "batch": (side.get("input shape") or [1])[0],
        "started_utc": started_utc,
        "commit_sha": commit.sha,
        "branch": commit.branch,
        "committed_utc": commit.committed_utc,
        "valid": bool(pairs),
        "p50_ms": float(np.median([pair.candidate_ms for pair in pairs])) if pairs else None,
        "fps": float(np.median([pair.candidate_fps for pair in pairs])) if pairs else None,
        "peak_mb": memory.candidate if memory else None,
        "accuracy": accuracy.candidate if accuracy else None,
        "accuracy_metric": accuracy.unit or None if accuracy else None,
        "document": document,
    }
    return validate(Entry, fields, f"result {target!r}", DataError)


def read_entries(path: Path, commit: Commit) -> list[Entry]:
    """Read the results at a path: a result file, what `--json` printed, what `--out` holds, a build folder.

    Raises:
        DataError: nothing at the path is a result of `bench` or `check`.
        NotComparableError: it is a build folder of another schema version.
    """
    if (path / SUMMARY).is_file():
        entries = list(_of_build(path, commit))
    elif path.is_dir():
        # Of several devices `bench --out` writes a folder each.
        files = sorted(path.glob("*.json")) or sorted(path.glob("*/*.json"))
        entries = [entry for file in files for entry in _of_file(file, commit)]
    else:
        entries = _of_file(path, commit)
    if not entries:
        raise DataError(f"{path}: no result of bench or check is here")
    return entries


def _of_build(folder: Path, commit: Commit) -> Iterator[Entry]:
    for row in load_summary(folder).rows():
        if row.bench is not None:
            yield of_bench(load_result(inside(folder, row.bench, DataError)), commit, row.val)


def _of_file(path: Path, commit: Commit) -> list[Entry]:
    entries = []
    for data in _parsed(path):
        if "run_id" in data:
            entries.append(of_bench(_valid_bench(path, data), commit))
        else:
            entries += _checks(path, data, commit)
    return entries


def _parsed(path: Path) -> list[Mapping[str, Any]]:
    data = read_json(path, DataError)
    each = data if isinstance(data, list) else [data]
    if not all(isinstance(one, dict) and one for one in each):
        raise DataError(f"{path}: not a result of bench or check")
    return each


def _valid_bench(path: Path, data: Mapping[str, Any]) -> BenchResult:
    return validate(BenchResult, data, f"{path}: not a result of this schema version", DataError)


def _checks(path: Path, data: Mapping[str, Any], commit: Commit) -> list[Entry]:
    written = iso(path.stat().st_mtime)
    where = f"{path}: not a result of bench or check"
    results = {
        target: validate(GateResult, one, where, DataError)
        for target, one in data.items()
        if target != "error"  # what ended the check before its verdict on the other targets
    }
    return [of_check(target, result, commit, written) for target, result in results.items()]
