"""The demo set: the same bytes each time, no scan in two splits, and never half a render."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import yaml

from edgeprune.core.artifact import digest
from edgeprune.core.errors import OutputError
from edgeprune.images import demo

FEW = {"train": 6, "val": 3, "test": 3}


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return demo.render(tmp_path_factory.mktemp("digits"), FEW)


def test_two_renders_are_equal_to_the_byte(few: Path, tmp_path: Path) -> None:
    demo.render(tmp_path, FEW)
    assert digest(tmp_path) == digest(few.parent)


def test_a_shorter_render_is_the_beginning_of_a_longer_one(few: Path, tmp_path: Path) -> None:
    demo.render(tmp_path, {"val": 1})
    name = "images/val/val-0000.jpg"
    assert (tmp_path / name).read_bytes() == (few.parent / name).read_bytes()


def test_images_of_one_set_differ(few: Path) -> None:
    images = [path.read_bytes() for path in few.parent.glob("images/*/*.jpg")]
    assert len(set(images)) == sum(FEW.values())


def test_no_scan_is_in_two_splits() -> None:
    scans = [scan for split in demo.SCANS.values() for scan in split]
    assert sorted(scans) == list(range(1797))  # each of load_digits' scans, once
    assert demo.SCANS.keys() == demo.IMAGES.keys()


@pytest.mark.parametrize("split", FEW)
def test_only_the_scans_of_a_split_are_drawn(
    split: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sklearn.datasets import load_digits

    demo.render(tmp_path / "all", {split: 5})
    found = load_digits()
    inside = np.isin(np.arange(len(found.images)), demo.SCANS[split])
    assert 0 < inside.sum() < len(inside)
    for kept, drawn in ((inside, "same"), (~inside, "other")):
        images = np.where(kept[:, None, None], found.images, 16 - found.images)
        scans = SimpleNamespace(images=images, target=found.target)
        monkeypatch.setattr("sklearn.datasets.load_digits", lambda scans=scans: scans)
        demo.render(tmp_path / drawn, {split: 5})
    every, same, other = (
        [file.read_bytes() for file in sorted((tmp_path / name).rglob("*.jpg"))]
        for name in ("all", "same", "other")
    )
    assert len(every) == 5 and same == every and other != every


def test_labels_are_valid_and_every_class_occurs(tmp_path: Path) -> None:
    demo.render(tmp_path, {"train": 30})
    classes = set()
    for image in tmp_path.glob("images/train/*.jpg"):
        assert cv2.imread(str(image)).shape == (demo.IMGSZ, demo.IMGSZ, 3)
        lines = (tmp_path / "labels/train" / f"{image.stem}.txt").read_text().splitlines()
        assert lines
        for line in lines:
            name, x, y, width, height = line.split()
            classes.add(int(name))
            for centre, size in ((float(x), float(width)), (float(y), float(height))):
                assert size > 0
                assert -1e-6 <= centre - size / 2 <= centre + size / 2 <= 1 + 1e-6
    assert classes == set(range(10))


def test_data_yaml_finds_its_splits_from_where_it_lies(few: Path) -> None:
    data = yaml.safe_load(few.read_text())
    assert list(data["names"].values()) == list("0123456789")
    assert {split: len(list((few.parent / data[split]).iterdir())) for split in FEW} == FEW


def test_an_interrupted_render_is_not_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = demo.render

    def interrupted(folder: Path) -> Path:
        whole(folder, {"train": 2})
        raise KeyboardInterrupt

    monkeypatch.setattr(demo, "render", interrupted)
    with pytest.raises(KeyboardInterrupt):
        demo.digits_data(tmp_path)
    monkeypatch.setattr(demo, "render", lambda folder: whole(folder, FEW))
    place = demo.digits_data(tmp_path).parent
    assert len(list(place.glob("images/*/*.jpg"))) == sum(FEW.values())
    assert not (tmp_path / f"{demo.NAME}.partial").exists()


def test_a_whole_set_is_not_rendered_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / demo.NAME).mkdir()
    monkeypatch.setattr(demo, "render", lambda folder: pytest.fail("rendered again"))
    assert demo.digits_data(tmp_path) == tmp_path / demo.NAME / "data.yaml"


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(OutputError, match="EDGEPRUNE_CACHE"):
        demo.digits_data(tmp_path / "file")


def test_the_checkpoint_ships_and_is_small() -> None:
    path = demo.DEMO_MODELS["digits"]()
    assert 1_000_000 < path.stat().st_size < 7_000_000


def test_the_checkpoint_names_no_path_of_the_machine_that_trained_it() -> None:
    with zipfile.ZipFile(demo.digits_model()) as archive:
        pickled = next(archive.read(name) for name in archive.namelist() if name.endswith("data.pkl"))
    assert b"yolov8n.yaml" in pickled
    assert not [folder for folder in (b"/work", b"/home/", b"/tmp/", b"/root/", b"C:\\") if folder in pickled]


def test_the_demo_set_leaves_torch_unimported(tmp_path: Path) -> None:
    script = (
        "import sys, pathlib, edgeprune.images.demo as demo\n"
        "demo.render(pathlib.Path(sys.argv[1]), {'val': 1})\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False).returncode == 0
