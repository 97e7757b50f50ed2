"""`python -m benchmarks.criteria` on a tiny detector: every number is there, agrees, and is kept."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgeprune.adapters.ultralytics import detect as adapter
from edgeprune.bench.testbed import local
from edgeprune.config.targets import resolve_targets
from edgeprune.core.errors import BudgetError
from edgeprune.images.dataset import Dataset
from edgeprune.latency.shipped import key_of
from made_effort import TINY_EFFORT
from made_tables import made_table

ORT = next(profile.name for profile in resolve_targets(("cpu",)) if profile.backend == "onnxruntime")


@pytest.fixture(scope="module")
def criteria(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Give the benchmark, with a cache of its own and measurements of a fraction of a second."""
    with pytest.MonkeyPatch.context() as patch:
        from benchmarks import criteria

        patch.setenv("EDGEPRUNE_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setattr(
            criteria,
            "profile_model",
            lambda subject, *_: made_table(
                subject.adapter, subject.model, subject.imgsz, key_of(subject, {}, local())
            ),
        )
        patch.setattr(criteria, "EFFORT", TINY_EFFORT)
        yield criteria


@pytest.fixture(scope="module")
def arguments(
    checkpoints: dict[str, Path], tiny: Dataset, tmp_path_factory: pytest.TempPathFactory
) -> list[str]:
    return [
        *("--model", str(checkpoints["yolov8n"]), "--data", str(tiny.source), "--target", ORT),
        *("--speedup", "1.2", "--criteria", "slim", "--epochs", "1", "--sparse-epochs", "1"),
        *("--set", "finetune.batch=6", "--set", "quantize.images=4", "--set", "prune.max_ratio=0.9"),
        *("--out", str(tmp_path_factory.mktemp("criteria") / "out")),
    ]


def test_each_criterion_is_pruned_recovered_and_measured(
    criteria: Any, arguments: list[str], checkpoints: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    out = Path(arguments[-1])
    criteria.main(arguments)
    printed = capsys.readouterr().out
    assert printed == (out / "criteria.md").read_text()
    facts = json.loads((out / "criteria.json").read_text())
    rows = {row["criterion"]: row for row in facts["rows"]}
    assert list(rows) == ["unpruned", "slim"]
    whole = sum(weight.numel() for weight in adapter.load(checkpoints["yolov8n"]).parameters())
    assert rows["unpruned"]["params"] == whole and rows["unpruned"]["after_surgery"] is None
    row = rows["slim"]
    assert row["params"] < whole and row["macs"] < rows["unpruned"]["macs"]
    assert all(0 <= row[key] <= 1 for key in ("after_surgery", "recovered", "int8"))
    assert all(row["p50_ms"] > 0 for row in rows.values())
    assert f"| slim | {row['after_surgery']:.4f} | {row['recovered']:.4f} |" in printed
    assert row["predicted_ms"] <= facts["goal_ms"] < rows["unpruned"]["predicted_ms"] == facts["table_ms"]
    assert facts["goal_ms"] == pytest.approx(facts["table_ms"] / 1.2)

    stages = [path.name.rpartition("-")[0] for path in (out / "stages").iterdir()]
    assert [stages.count(name) for name in ("sparse", "cut", "finetuned")] == [1, 1, 1]

    # The same command again makes nothing and prints the same numbers.
    before = {path: path.stat().st_mtime_ns for path in (out / "stages").iterdir() if path.is_dir()}
    criteria.main(arguments)
    assert capsys.readouterr().out == printed
    assert before == {path: path.stat().st_mtime_ns for path in (out / "stages").iterdir() if path.is_dir()}


def test_a_goal_that_no_widths_meet_names_the_fastest(criteria: Any, arguments: list[str]) -> None:
    with pytest.raises(BudgetError, match=r"no widths reach .* ms: the least"):
        criteria.main([*arguments, "--speedup", "50"])


def test_the_short_form_needs_nothing_but_its_name(criteria: Any) -> None:
    options = criteria._options(["--short"])
    assert (options.model, options.data, options.epochs) == ("digits", "digits", 1)
    assert set(options.criteria) < set(criteria.CRITERIA)
    assert criteria.recipe_for(options, "l1").bench.profile == "quick"
    assert list(criteria._options([]).criteria) == list(criteria.CRITERIA)
