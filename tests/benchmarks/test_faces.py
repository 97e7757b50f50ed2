"""`python -m benchmarks.faces` on the published weights and the photographs that packages bring."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import cv2
import pytest
import ultralytics

from benchmarks import faces
from edgeprune.bench.effort import PROFILES
from edgeprune.config.recipe import load_recipe
from edgeprune.config.targets import resolve_targets
from edgeprune.models.source import ModelSource
from edgeprune.pipeline.build import build
from edgeprune.pipeline.context import BuildRequest
from made_effort import TINY, quickly

WEIGHTS = Path(__file__).parents[2].parent / "shared/models/retinaface/mobilenet0.25_Final.pth"
ORT = next(profile.name for profile in resolve_targets(("cpu",)) if profile.backend == "onnxruntime")


def photographs(folder: Path) -> Path:
    """Return a folder of parts of photographs that ultralytics has among its files."""
    folder.mkdir()
    for source in sorted((Path(ultralytics.__file__).parent / "assets").glob("*.jpg")):
        whole = cv2.imread(str(source))
        shutil.copy(source, folder)
        for share in (0.9, 0.8, 0.7):
            height, width = (round(side * share) for side in whole.shape[:2])
            cv2.imwrite(str(folder / f"{source.stem}-{share}.jpg"), whole[:height, -width:])
    return folder


def built_quickly(given: argparse.Namespace) -> None:
    """Build as the benchmark does, with next to no training and measuring."""
    recipe = load_recipe(given.recipe, tuple(given.set), imgsz=160, finetune__labels=False)
    targets = resolve_targets((ORT,))
    source = ModelSource(given.model)
    request = BuildRequest(source, given.pictures, targets, recipe, given.out, "edgeprune build")
    build(request, lambda *_: None, quickly())


@pytest.mark.skipif(not WEIGHTS.is_file(), reason="needs the published weights in ../shared")
def test_every_row_is_measured_and_the_original_keeps_its_own_detections(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(faces, "build", built_quickly)
    monkeypatch.setattr(faces, "PROFILES", dict.fromkeys(PROFILES, TINY))
    monkeypatch.setattr(faces, "REFERENCE", f"{ORT} original fp32")
    settings = (
        *("finetune.epochs=1", "prune.steps=2", "prune.step_epochs=1", "prune.macs=0.8"),
        *("quantize.images=2", "budget.max_drop=1"),
    )
    faces.main(
        [
            *("--pictures", str(photographs(tmp_path / "pictures")), "--model", str(WEIGHTS)),
            *("--out", str(tmp_path / "out"), "--profile", "quick"),
            *(
                part
                for setting in (*settings, "budget.max_drop=1", "prune.macs=0.8")
                for part in ("--set", setting)
            ),
            *("--deployment", "--seconds", "0.2"),
        ]
    )
    lines = capsys.readouterr().out.splitlines()
    rows = {cells[1].strip(): cells[2:] for line in lines if len(cells := line.split("|")) > 3}
    original = rows[f"{ORT} original fp32"]
    assert (original[0].strip(), original[2].strip(), original[4].strip()) == ("100.0%", "1.00", "100%")
    small = rows[f"{ORT} pruned int8"]
    assert float(small[4].strip().rstrip("%")) < 40
    assert any("seconds" in line or "leak" in line for line in lines)
    assert any(
        line.startswith("- 4 streams at once: ") and line.endswith("another stream's") for line in lines
    )
