"""Plain checkpoints: a pruned and edited network comes back bit for bit, and no file runs anything."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from edgeprune.core.errors import ModelError
from edgeprune.models.plain import plain_kind, read_plain, read_state, rebuild_plain, save_plain


def network(width: int = 8) -> nn.Module:
    """A convolution, an activation, a second convolution that may be dropped, and a linear end."""
    return nn.Sequential(
        nn.Conv2d(3, width, 3), nn.SiLU(), nn.Sequential(nn.Conv2d(width, width, 1), nn.SiLU()),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 2),
    ).eval()  # fmt: skip


def test_a_pruned_and_edited_network_comes_back(tmp_path: Path) -> None:
    model, path = network(5), tmp_path / "model.pt"
    model[1], model[2] = nn.ReLU6(), nn.Identity()
    model[1].untrained = True
    save_plain(path, "mine", {"classes": 2, "names": ["a", "b"]}, model, network())
    found = read_plain(path)
    assert (found.kind, found.told) == ("mine", {"classes": 2, "names": ["a", "b"]})
    again: Any = rebuild_plain(found, network(), path)
    image = torch.rand(2, 3, 9, 9)
    assert torch.equal(again(image), model(image))
    assert again[1].untrained
    assert all(parameter.requires_grad for parameter in again.parameters())


def test_a_layer_that_it_cannot_hold_is_told_when_it_is_saved(tmp_path: Path) -> None:
    model = network()
    model[0] = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 8, 3))
    with pytest.raises(ModelError, match=r"0: a Sequential cannot be kept.*leave prune\.rewrite out"):
        save_plain(tmp_path / "model.pt", "mine", {}, model, network())


def test_it_is_told_from_other_files(tmp_path: Path) -> None:
    plain, state, text = tmp_path / "plain.pt", tmp_path / "state.pth", tmp_path / "text.pt"
    save_plain(plain, "mine", {}, network(), network())
    torch.save(network().state_dict(), state)
    text.write_text("no checkpoint")
    assert [plain_kind(path) for path in (plain, state, text, tmp_path / "none.pt")] == [
        "mine",
        None,
        None,
        None,
    ]
    with pytest.raises(ModelError, match="not a checkpoint that edgeprune wrote"):
        read_plain(state)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"edgeprune": 9}, "newer edgeprune"),
        ({"edits": {"1": "Linear"}}, "1 is to be 'Linear'"),
        ({"edits": {"9.9": "ReLU"}}, "no layer '9.9'"),
        ({"edits": {"1": 3}}, "edits are no names"),
        ({"state": None}, "a part of it is missing"),
        ({"state": {"0.weight": "text"}}, "'0.weight' is no tensor"),
    ],
)
def test_damage_is_told(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    path = tmp_path / "model.pt"
    save_plain(path, "mine", {}, network(), network())
    torch.save({**torch.load(path, weights_only=True), **change}, path)
    with pytest.raises(ModelError, match=said):
        rebuild_plain(read_plain(path), network(), path)


@pytest.mark.parametrize("key", [None, "state_dict", "model"])
def test_weights_are_found_as_training_scripts_save_them(tmp_path: Path, key: str | None) -> None:
    path, state = tmp_path / "weights.pth", network().state_dict()
    found = state if key is None else {key: state, "args": argparse.Namespace(lr=1), "epoch": 3}
    torch.save(found, path)
    again = read_state(path)
    assert again.keys() == state.keys()
    assert all(torch.equal(again[name], state[name]) for name in state)


def test_a_whole_module_is_no_state(tmp_path: Path) -> None:
    path = tmp_path / "whole.pth"
    torch.save(network(), path)
    with pytest.raises(ModelError, match="holds no weights by name"):
        read_state(path)


class _Bomb:
    def __reduce__(self) -> Any:
        return Path.touch, (Path("ran"),)


def test_nothing_in_a_file_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "bomb.pth"
    torch.save({"state_dict": {"0.weight": _Bomb()}, "edgeprune": 1}, path)
    for read in (read_state, read_plain):
        with pytest.raises(ModelError):
            read(path)
    assert not (tmp_path / "ran").exists()
