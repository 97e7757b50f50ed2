"""A kind of model that another package brings builds, benches, checks and explains without a line of ours."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from conftest import DIGITS
from edgeprune.config.targets import resolve_targets
from edgeprune.core.errors import ConfigError
from edgeprune.images.dataset import Dataset
from edgeprune.images.spec import spec_of
from edgeprune.models import adapter_of, get_adapter
from edgeprune.records.summary import load_summary
from made_packages import install_package

ORT = next(profile.name for profile in resolve_targets(("cpu",)) if profile.backend == "onnxruntime")
NAME, PACKAGE = "outside", "edgeprune-outside"
SOURCE = Path(__file__).parents[1] / "outside_model.py"


def install(site: Path, code: str | None = None) -> None:
    """Put the package into a folder of installed packages, as pip would leave it there."""
    code = SOURCE.read_text() if code is None else code
    install_package(
        site, PACKAGE, "1.3", f"edgeprune.models: {NAME} = another_model:ADAPTER", {"another_model": code}
    )


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return a folder of installed packages that this process imports from."""
    monkeypatch.syspath_prepend(tmp_path / "site")
    yield tmp_path / "site"
    sys.modules.pop("another_model", None)


@pytest.fixture
def checkpoint(site: Path, digits: Dataset, tmp_path: Path) -> Path:
    """Return an untrained checkpoint of the package, which is installed."""
    install(site)
    import another_model  # type: ignore[import-not-found]

    torch.manual_seed(3)
    path = tmp_path / "model.outside"
    another_model.ADAPTER.save(another_model.network(list(DIGITS)), path)
    return path


def test_it_builds_benches_checks_and_explains(
    run: Any, checkpoint: Path, digits: Dataset, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    ended = run(
        *("build", "--model", checkpoint, "--data", digits.source, "--out", out, "--target", ORT),
        *("--ratio", "0.5", "--epochs", "2", "--bench", "quick", "--max-drop", "1"),
        *("--set", "quantize.images=4", "--set", "finetune.batch=6", "--set", "prune.activation=keep"),
    )
    assert ended.code == 0, (ended.errors, ended.exception)
    assert "top-1" in ended.stdout and "24x32 px" in (out / "report.html").read_text()
    summary = load_summary(out)
    assert (summary.metric, summary.imgsz, summary.versions[PACKAGE]) == ("top-1", (24, 32), "1.3")
    for row in summary.rows():
        assert row.p50_ms and row.val and row.val.metric == "top-1" and set(row.others) == {"top-5"}
        assert row.precision != "int8" or row.quantized_ops != 0
    pruned = [target.pruning for target in summary.targets.values()]
    assert all(found and found.params_after < found.params_before for found in pruned)
    assert all(found and found.score_after_recovery is not None for found in pruned)
    spec = spec_of(out / "best")
    assert (spec.preprocess.imgsz, spec.postprocess.head) == ((24, 32), "scores")
    assert spec.preprocess.mean == pytest.approx((0.485, 0.456, 0.406))

    ended = run("bench", out, "--profile", "quick", "--json")
    assert ended.code == 0, ended.errors
    assert {result["name"] for result in json.loads(ended.stdout)} == {row.label for row in summary.rows()}

    ended = run("check", "--baseline", out, "--candidate", out, "--budget", "score>=0.01", "--json")
    assert ended.code in (0, 8), ended.errors
    for gate in json.loads(ended.stdout).values():
        shown = {metric["name"]: metric["unit"] for metric in gate["metrics"]}
        assert (shown["accuracy"], shown["score>=0.01"]) == ("top-1", "top-1")

    ended = run("explain", out, "--json")
    assert ended.code == 0, ended.errors
    assert json.loads(ended.stdout)["engine"]["layers"]


def test_what_it_does_not_offer_is_said_in_a_line(
    run: Any, checkpoint: Path, digits: Dataset, tmp_path: Path
) -> None:
    ended = run(
        *("build", "--model", checkpoint, "--data", digits.source, "--out", tmp_path / "out"),
        *("--target", ORT, "--max-drop", "1", "--set", "quantize.aware_epochs=1"),
    )
    assert ended.code == 3
    assert ended.error == (
        "edgeprune: quantize.aware_epochs: this kind of model has no quantization-aware training; "
        "leave it out"
    )


def test_a_package_that_is_damaged_is_named_and_keeps_no_other_from_working(
    site: Path, checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    install(site, "raise RuntimeError('no licence')")
    assert adapter_of(checkpoints["yolov8n"]) is get_adapter("ultralytics")
    (tmp_path / "other.pt").write_bytes(b"of that package, may be")
    for ask in (lambda: get_adapter(NAME), lambda: adapter_of(tmp_path / "other.pt")):
        with pytest.raises(ConfigError, match=r"'outside' \(another_model:ADAPTER\) cannot be loaded"):
            ask()
