"""Hostile checkpoints: none runs code, now or in what trains, exports and opens the network later."""

from __future__ import annotations

import copyreg
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from ultralytics import YOLO
from ultralytics.nn.tasks import DetectionModel

import bombs
import hostile_pickles
from edgeprune.adapters.ultralytics import detect as adapter
from edgeprune.core.errors import ModelError
from edgeprune.models import adapter_of
from edgeprune.models.checkpoint.fields import KNOWN
from edgeprune.models.safe_load import load_safely


@pytest.fixture
def proof(tmp_path: Path) -> Path:
    """Return the file that exists once hostile code has run."""
    return tmp_path / "proof"


@pytest.fixture
def registered() -> Iterator[None]:
    """Register `os.system` as the pickle extensions that the corpus calls."""
    codes = (0xF0, 0xF1, 0xF2)
    for code, name in zip(codes, ("system", "popen", "unlink"), strict=True):
        copyreg.add_extension("os", name, code)
    yield
    for code, name in zip(codes, ("system", "popen", "unlink"), strict=True):
        copyreg.remove_extension("os", name, code)


@pytest.mark.parametrize("form", ["zip", "legacy"])
def test_no_name_runs_by_any_opcode(tmp_path: Path, proof: Path, registered: None, form: str) -> None:
    files = refused(hostile_pickles.corpus(proof), hostile_pickles.FORMATS[form], tmp_path / "x.pt", proof)
    assert files > 3 * 9 * len(KNOWN)


def test_nothing_is_handed_to_a_name_or_its_objects(tmp_path: Path, proof: Path) -> None:
    files = refused(hostile_pickles.gifts(proof), hostile_pickles.write_zip, tmp_path / "x.pt", proof)
    assert files > 30 * len(KNOWN)


def refused(
    files: Iterator[tuple[str, bytes]], write: Callable[[bytes, Path], None], path: Path, proof: Path
) -> int:
    """Load every file, see that it is refused in one line and writes no proof, and return their number."""
    count = 0
    for what, content in files:
        write(content, path)
        with pytest.raises(ModelError) as caught:
            load_safely(path)
        assert "\n" not in str(caught.value), what
        assert not proof.exists(), what
        count += 1
    return count


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("form", hostile_pickles.FORMATS)
def test_no_protocol_makes_a_difference(tmp_path: Path, proof: Path, form: str, protocol: int) -> None:
    path = tmp_path / "x.pt"
    for arguments in hostile_pickles.values(proof):
        for _, body in hostile_pickles.calls("ultralytics.nn.tasks.DetectionModel", arguments):
            hostile_pickles.FORMATS[form](hostile_pickles.framed(body, protocol), path)
            with pytest.raises(ModelError):
                load_safely(path)
            adapter_of(path)
    assert not proof.exists()


def test_the_corpus_is_live(tmp_path: Path, proof: Path) -> None:
    """What this module guards against: torch's own list of classes runs the constructor of one."""
    config = next(one[0] for one in hostile_pickles.values(proof) if one and isinstance(one[0], dict))
    name = "ultralytics.nn.tasks.DetectionModel"
    body = hostile_pickles.by_line(name) + hostile_pickles.encode((config, 3, 1, False)) + b"R"
    hostile_pickles.write_zip(hostile_pickles.framed(body, 2), path := tmp_path / "x.pt")
    with torch.serialization.safe_globals([DetectionModel]), pytest.raises(Exception):  # noqa: B017
        torch.load(path, weights_only=True)
    assert proof.exists()
    proof.unlink()
    with pytest.raises(ModelError, match=r"calls ultralytics\.nn\.tasks\.DetectionModel"):
        load_safely(path)
    assert not proof.exists()


def in_activation(model: Any, proof: Path) -> None:
    model.yaml["activation"] = f"open({str(proof)!r}, 'w')"


def in_layer_name(model: Any, proof: Path) -> None:
    model.yaml["backbone"][0][2] = "DetectionModel"
    model.yaml["backbone"][0][3] = [{"nc": 1, "activation": f"open({str(proof)!r}, 'w')"}]


def in_scales(model: Any, proof: Path) -> None:
    model.yaml["scales"] = f"open({str(proof)!r}, 'w')"


def in_name(model: Any, proof: Path) -> None:
    model.names = {0: Evil(proof)}


class Evil:
    """Unpickling this touches the proof."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, (f"touch '{self.proof}'",)


@pytest.mark.parametrize("plant", [in_activation, in_layer_name, in_scales, in_name])
def test_what_the_checkpoint_tells_is_never_evaluated(
    checkpoints: dict[str, Path], tmp_path: Path, proof: Path, plant: Callable[[Any, Path], None]
) -> None:
    model = adapter.load(checkpoints["yolov8n"])
    plant(model, proof)
    torch.save({"model": model}, tmp_path / "x.pt")
    with pytest.raises(ModelError) as caught:
        adapter.load(tmp_path / "x.pt")
    assert "\n" not in str(caught.value)
    assert not proof.exists()


PLACES = ("", "model.0", "model.0.conv", "model.22")
# Each is the state of a module as a hostile file may have it: (name of the attribute, what stands in it).
PLANTED: dict[str, Any] = {
    "forward": nn.Conv2d(3, 3, 1),
    "_forward_hooks": {1: nn.SiLU()},
    "_forward_pre_hooks": {1: nn.SiLU()},
    "_backward_hooks": {1: nn.SiLU()},
    "_state_dict_hooks": {1: nn.SiLU()},
    "_load_state_dict_pre_hooks": {1: nn.SiLU()},
    "_compiled_call_impl": nn.SiLU(),
    "__class__": nn.Conv2d,
    "__dict__": {"forward": 1},
    "fuse": nn.SiLU(),
    "loss": nn.SiLU(),
    "criterion": nn.SiLU(),
    "init_criterion": nn.SiLU(),
    "transforms": nn.SiLU(),
    "default_act": "nn.SiLU()",
    "task": "evil",
    "save": [0, 1, 2, "evil"],
    "pt_path": "/etc/passwd",
}


@pytest.mark.parametrize("name", PLANTED)
def test_planted_attributes_are_left_behind(checkpoints: dict[str, Path], tmp_path: Path, name: str) -> None:
    model = adapter.load(checkpoints["yolov8n"])
    plain = model(image := torch.rand(1, 3, 64, 64))[0]
    for place in PLACES:
        vars(model.get_submodule(place))[name] = PLANTED[name]
    torch.save({"model": model}, tmp_path / "x.pt")
    try:
        loaded = adapter.load(tmp_path / "x.pt")
    except ModelError:
        return
    assert torch.equal(loaded(image)[0], plain)
    assert all(vars(loaded.get_submodule(place)).get(name) != PLANTED[name] for place in PLACES)


def test_later_stages_only_meet_the_rebuilt_network(
    checkpoints: dict[str, Path], tmp_path: Path, proof: Path
) -> None:
    model = adapter.load(checkpoints["yolov8n"])
    model.fuse_later = "open('proof', 'w')"
    torch.save(
        {"model": model, "ema": None, "train_args": {"imgsz": 64, "model": "evil.pt"}}, tmp_path / "x.pt"
    )
    adapter.save(adapter.load(tmp_path / "x.pt"), tmp_path / "copy.pt")
    opened = YOLO(tmp_path / "copy.pt")
    assert not hasattr(opened.model, "fuse_later")
    assert "model" not in opened.ckpt["train_args"]
    again = DetectionModel(dict(opened.model.yaml), nc=3, verbose=False)
    assert len(again.model) == len(model.model)


def test_bombs_take_neither_memory_nor_time(tmp_path: Path) -> None:
    """In a process whose address space may grow by 2 GB; it prints a line for each."""
    script = Path(bombs.__file__)
    result = subprocess.run(
        [sys.executable, str(script), str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ | {"PYTHONPATH": str(script.parent), "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert result.returncode == 0, result.stderr[-2000:]
    lines = result.stdout.splitlines()
    assert len(lines) == len(bombs.BOMBS)
    for line in lines:
        name, _, rest = line.partition("\t")
        seconds, _, message = rest.partition("\t")
        assert float(seconds) < 60, name
        assert message.startswith("ModelError: "), line
