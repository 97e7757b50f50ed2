"""`edgeprune search` on a tiny model, for real: the Pareto set, joining, collecting, and bad input."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from edgeprune.adapters.ultralytics import detect as adapter
from edgeprune.bench.effort import BenchProfile
from edgeprune.images.dataset import Dataset
from edgeprune.search import run as searching
from edgeprune.search import space as search
from edgeprune.search import trial as trials
from made_onnx import Cells, exported
from made_tables import made_table

QUICK = BenchProfile(blocks=1, min_queries=16, min_seconds=0.0, warmup_s=0.0, warmup_cap_s=0.2)
Command = Callable[..., Any]


def table_of(context: Any, original: Any, profile: Any, rewrite: Any) -> Any:
    from edgeprune.bench.testbed import local
    from edgeprune.latency.shipped import key_of, subject_of

    subject = subject_of(adapter, original.path, context.spec.imgsz, profile, profile.ship, 1)
    return made_table(adapter, subject.model, context.spec.imgsz, key_of(subject, {}, local()))


@pytest.fixture(scope="module")
def little() -> Iterator[None]:
    """Measure next to nothing, and begin with two budgets of a made-up table."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(searching, "latency_table", table_of)
        patch.setattr(search, "SEEDED", (1.0, 0.9))
        yield


@pytest.fixture(scope="module")
def command(run: Any, checkpoints: dict[str, Path], tiny: Dataset, little: None) -> Command:
    """Return a function that runs a sound `search` but for what is given."""

    def call(out: Path, *options: object, **changes: object) -> Any:
        given = {
            "model": checkpoints["yolov8n"], "data": tiny.source, "target": "x86-ort", "imgsz": 64,
            "activation": "keep", "epochs": 0, "trials": 2, "set": "finetune.batch=6",
        } | changes  # fmt: skip
        options = ("--set", "budget.max_drop=1", *options)  # nobody has trained this model
        return run("search", f"--out={out}", *(f"--{key}={value}" for key, value in given.items()), *options)

    return call


@pytest.fixture(scope="module")
def searched(command: Command, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """Return the folder and the result of a search of two trials."""
    out = tmp_path_factory.mktemp("search") / "out"
    ended = command(out, "--json")
    assert ended.code == 0, (ended.errors, ended.exception)
    return out, json.loads(ended.stdout)


def test_a_search_leaves_its_pareto_set(searched: tuple[Path, dict[str, Any]]) -> None:
    out, found = searched
    assert json.loads((out / "search.json").read_text()) == found
    assert found["trials"]["complete"] == 2 and found["trials"]["failed"] == 0
    assert len(found["front"]) + len(found["others"]) == 2
    times, rated = ([member[key] for member in found["front"]] for key in ("ms", "score"))
    assert times == sorted(times) and rated == sorted(rated)
    for member in found["front"]:
        model = adapter.prunable(adapter.load(out / member["checkpoint"]))
        modules = dict(model.named_modules())
        if not member["dropped"]:  # else the names behind a block moved up
            widths = {name: modules[name].out_channels for name in member["keep"] if name in modules}
            assert widths and widths == {name: member["keep"][name] for name in widths}
        assert (out / member["onnx"]).stat().st_size > 100_000
    assert len(list((out / "pareto").iterdir())) == len(found["front"])
    page = (out / "search.html").read_text()
    assert page.count("<svg") == 1 and page.count("<td") == 9 * len(found["front"])
    assert "<script" not in page and "http" not in page.replace("http://www.w3.org", "").replace(
        "http-equiv", ""
    )


@pytest.fixture
def untimed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no engine be compiled: a network's latency is made up from its size."""

    def size_mb(bench: Any, student: Any, imgsz: int) -> float:
        return float(student.path.stat().st_size / 1e6)

    monkeypatch.setattr(trials, "time_checkpoint", size_mb)


def test_another_folder_joins_collects_and_goes_on(
    searched: tuple[Path, dict[str, Any]], command: Command, tmp_path: Path, untimed: None
) -> None:
    first, found = searched
    storage = f"sqlite:///{first}/study.db"
    ended = command(tmp_path / "two", "--json", storage=storage)
    assert ended.code == 0, (ended.errors, ended.exception)
    joined = json.loads(ended.stdout)
    assert joined["trials"] == found["trials"]
    assert {member["checkpoint"] for member in joined["front"]} == {None}
    assert {member["out"] for member in joined["front"]} == {str(first)}
    ended = command(tmp_path / "two", "--collect", storage=storage)
    assert ended.code == 0, (ended.errors, ended.exception)
    assert "Pareto set of study edgeprune" in ended.stdout and "2 complete" in ended.stdout
    for member in found["front"]:
        again, before = ((folder / member["checkpoint"]) for folder in (tmp_path / "two", first))
        states = [adapter.load(path).state_dict() for path in (again, before)]
        assert {name: value.shape for name, value in states[0].items()} == {
            name: value.shape for name, value in states[1].items()
        }


def test_slow_trials_end_early_and_a_search_without_any_left_says_so(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trials, "time_checkpoint", lambda bench, student, imgsz: 99.0)
    ended = command(tmp_path / "out", **{"max-latency-ms": 90, "trials": 1})
    assert ended.code == 7
    assert "no trial of 1 was complete; allow a larger --max-latency-ms" in ended.error


@pytest.mark.parametrize(
    ("changes", "code", "words"),
    [
        ({"storage": "postgresql://me:secret@127.0.0.1:{port}/db"}, 3, "the storage does not answer"),
        ({"storage": "nonsense"}, 3, "not a database URL"),
        ({"target": "cpu"}, 3, "name one"),
        ({"model": "nowhere.pt"}, 3, "nowhere.pt"),
        ({"imgsz": 65}, 3, "65 is not a multiple"),
        ({"target": "jetson"}, 3, "not measured here"),
    ],
)
def test_bad_input_is_one_line(
    run: Any, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, Any], code: int, words: str,
) -> None:  # fmt: skip
    from edgeprune.pipeline.prune_to_latency import latency_table

    monkeypatch.setattr(searching, "latency_table", latency_table)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    changes = {key: str(value).format(port=port) for key, value in changes.items()}
    ended = command(tmp_path / "out", **changes)
    assert ended.code == code
    assert words in ended.error and "secret" not in ended.error


def test_an_onnx_file_is_searched_at_the_size_that_it_was_read_for(
    command: Command, digits: Dataset, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    model = exported(Cells(1), tmp_path / "cells.onnx", is_open=True)
    told = ("input.colour=RGB", "input.scale=1", "input.resize=crop")
    given = [f"--set={each}" for each in told]
    ended = command(tmp_path / "out", "--imgsz=64", *given, model=model, data=digits.source, imgsz=32)
    assert ended.code == 3
    assert ended.error.endswith("imgsz: the network of this ONNX file was read for 32x32 pixels, not 64x64")


def test_a_study_of_something_else_is_refused(
    searched: tuple[Path, dict[str, Any]], command: Command, tmp_path: Path
) -> None:
    storage = f"sqlite:///{searched[0]}/study.db"
    ended = command(tmp_path / "out", storage=storage, epochs=2)
    assert ended.code == 6
    assert "--study edgeprune: it was begun with epochs 0, here it is 2" in ended.error
