"""`edgeprune sweep`: what it picks, what it keeps, and how it ends on bad input."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeprune.images.dataset import Dataset
from edgeprune.search import sparsity as subject
from edgeprune.search.sparsity import STRONGEST, WEAKEST, Trial, bisect


def trial(strength: float, kept: bool) -> Trial:
    return Trial(strength=strength, share_small=0, median=1, score=0.5, drop=0, kept=kept)


@given(st.floats(-4.9, 0.9), st.integers(1, 12))
def test_bisection_closes_in_on_the_largest_strength_that_is_kept(power: float, trials: int) -> None:
    limit = 10**power
    found = bisect(lambda strength: trial(strength, strength <= limit), trials)
    assert len(found) == trials
    below = max((entry.strength for entry in found if entry.kept), default=WEAKEST)
    above = min((entry.strength for entry in found if not entry.kept), default=STRONGEST)
    assert below <= limit < above
    assert above / below <= (STRONGEST / WEAKEST) ** (0.5**trials) * 1.02  # strengths have three digits


@pytest.fixture
def command(run: Any, checkpoints: dict[str, Path], tiny: Dataset, tmp_path: Path) -> Any:
    """Return a function that runs a sound `sweep` of one epoch but for what is given."""

    def call(*options: object, **changes: object) -> Any:
        given = {
            "model": checkpoints["yolov8n"], "data": tiny.source, "out": tmp_path / "out", "imgsz": 64,
            "criterion": "slim", "epochs": 1, "trials": 2, "max-drop": 1, "set": "finetune.batch=6",
        } | changes  # fmt: skip
        return run("sweep", *(f"--{key}={value}" for key, value in given.items()), *options)

    return call


def test_a_sweep_reports_its_trials_and_resumes(
    command: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = command("--json")
    assert ended.code == 0, ended.errors
    found = json.loads(ended.stdout)
    assert [entry["strength"] for entry in found["trials"]] == [0.01, 0.316]
    assert found["strength"] == 0.316 and found["criterion"] == "slim" and found["epochs"] == 1
    for entry in found["trials"]:
        assert entry["drop"] == pytest.approx(found["original_score"] - entry["score"])
    stages = sorted(path.name for path in (tmp_path / "out" / "stages").iterdir())
    assert sum(name.startswith("sparse-") for name in stages) == 2

    from edgeprune.adapters.ultralytics import detect as adapter

    monkeypatch.setattr(adapter, "sparsify", None)  # everything is there: nothing is trained again
    again = command()
    assert again.code == 0, again.errors
    lines = again.stdout.splitlines()
    assert len(lines) == 5, "two of headings, two of trials, one of advice"
    assert lines[-1] == "Use: --criterion slim --set sparse.epochs=1 --set sparse.strength=0.316"


def test_a_budget_that_no_strength_keeps_names_the_nearest(
    command: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stubbed(run: Any, trials: int) -> list[Trial]:
        drops = {0.01: 0.4, 1e-4: 0.2}
        return [trial(strength, False).model_copy(update={"drop": drop}) for strength, drop in drops.items()]

    monkeypatch.setattr(subject, "bisect", stubbed)
    ended = command()
    assert ended.code == 7
    assert "no strength of 2 tried keeps the drop within 1; nearest is 0.0001 with 0.2000" in ended.error


def test_a_sweep_of_a_model_that_finds_nothing_says_so(command: Any) -> None:
    ended = command(**{"max-drop": 0.01})
    assert ended.code == 3
    assert "the original has mAP50-95 0.00" in ended.error and "so that no loss could be seen" in ended.error


@pytest.mark.parametrize(
    ("changes", "code", "words"),
    [
        ({"criterion": "l1"}, 3, "criterion 'l1' has no regulariser"),
        ({"criterion": "slimm"}, 3, "slimm"),
        ({"set": "sparse.strength=-1"}, 3, "sparse.strength"),
        ({"model": "nowhere.pt"}, 3, "nowhere.pt"),
        ({"imgsz": 65}, 3, "65 is not a multiple"),
    ],
)
def test_bad_input_is_one_line(command: Any, changes: dict[str, object], code: int, words: str) -> None:
    ended = command(**changes)
    assert ended.code == code
    assert words in ended.error


def test_a_build_refuses_sparse_training_for_a_criterion_without_a_regulariser(
    run: Any, checkpoints: dict[str, Path], tiny: Dataset, tmp_path: Path
) -> None:
    ended = run(
        *("build", "--model", checkpoints["yolov8n"], "--data", tiny.source, "--out", tmp_path / "out"),
        *("--target", "cpu", "--set", "sparse.epochs=3"),
    )
    assert ended.code == 3
    assert "sparse.epochs: criterion 'hessian' has no regulariser; choose prune.criterion from" in ended.error
