"""`edgeprune profile` on a tiny model, for real: the table, the cache, the page, and bad input."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from edgeprune.adapters.ultralytics import detect as adapter
from edgeprune.config.targets import resolve_targets
from edgeprune.latency import profile as profiling
from edgeprune.latency.profile import profile_model
from edgeprune.latency.shipped import subject_of
from edgeprune.prune.factorise import rewritable
from edgeprune.prune.worth import shapes_to_compare
from edgeprune.records.latency_table import LatencyTable, load_table
from made_effort import quickly
from made_onnx import Cells, exported


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return a cache of this module's own, with a plan that measures next to nothing."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEPRUNE_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="module")
def profiled(cache: Path, checkpoints: dict[str, Path], run: Any) -> tuple[Any, Path]:
    out = cache / "table.json"
    ended = run(
        *("profile", "--model", checkpoints["yolov8n"], "--target", "x86-ort", "--precision", "fp32"),
        *("--out", out, "--plot", cache / "table.html"),
    )
    assert ended.code == 0, (ended.errors, ended.exception)
    return ended, out


def test_the_table_covers_the_network_and_is_read_again(profiled: tuple[Any, Path], cache: Path) -> None:
    ended, out = profiled
    table = load_table(out)
    assert (table.key.runtime, table.key.precision, table.imgsz) == ("onnxruntime", "fp32", 64)
    assert len(table.layers) > 50 and len(table.scans) == 2
    assert table.network_ms(table.layers, {}, table.original) == pytest.approx(table.whole_ms)
    assert f"channel step: {table.step}" in ended.stdout
    assert f"whole network: {table.whole_ms:.2f} ms" in ended.stdout
    (kept,) = (cache / "profiles" / "tables").iterdir()
    assert load_table(kept) == table


def test_the_page_draws_every_shape_and_needs_no_other_file(profiled: tuple[Any, Path], cache: Path) -> None:
    page = (cache / "table.html").read_text()
    table = load_table(profiled[1])
    assert page.count("<svg") == len(table.scans) + len(table.grids)
    assert all(f"{grid.shape}</figcaption>" in page for grid in table.grids)
    assert "<script" not in page and "://" not in page.replace("http://www.w3.org", "")


def test_the_same_command_measures_nothing_again(
    profiled: tuple[Any, Path], checkpoints: dict[str, Path], run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("a worker was started")

    monkeypatch.setattr("edgeprune.runners.local.LocalRunner.run", refuse)
    ended = run(
        *("profile", "--model", checkpoints["yolov8n"], "--target", "x86-ort"),
        *("--precision", "fp32", "--json"),
    )
    assert ended.code == 0, (ended.errors, ended.exception)
    assert json.loads(ended.stdout) == json.loads(profiled[1].read_text())


def test_a_lost_chunk_is_measured_again_and_no_other(
    profiled: tuple[Any, Path], cache: Path, checkpoints: dict[str, Path], run: Any
) -> None:
    chunks = sorted((cache / "profiles").glob("measure-*"))
    assert len(chunks) > 1
    lost, kept = chunks[0], chunks[1:]
    before = {chunk: (chunk / "rounds.json").read_text() for chunk in kept}
    (lost / "rounds.json").unlink()
    ended = run("profile", "--model", checkpoints["yolov8n"], "--target", "x86-ort", "--precision", "fp32")
    assert ended.code == 0, (ended.errors, ended.exception)
    assert (lost / "rounds.json").is_file()
    assert before == {chunk: (chunk / "rounds.json").read_text() for chunk in kept}


def test_the_factors_of_rewritings_are_measured_beside_and_change_nothing_else(
    profiled: tuple[Any, Path], cache: Path, checkpoints: dict[str, Path]
) -> None:
    (target,) = resolve_targets(("x86-ort",))
    subject = subject_of(adapter, checkpoints["yolov8n"], None, target, "fp32", 1)

    def profile(*kinds: str) -> LatencyTable:
        return profile_model(subject, quickly(), lambda *_: None, rewrite=kinds)

    plain = profile()
    assert not list((cache / "profiles").glob("factors-*"))  # what is not asked for is not paid for
    table = profile("spatial")
    assert list((cache / "profiles").glob("factors-*"))
    assert table.model_copy(update={"factors": ()}) == plain
    candidates = rewritable(subject.model, adapter.unprunable(subject.model))
    needed = shapes_to_compare(candidates, table.layers, ("spatial",), table.step)
    assert {grid.shape for grid in table.factors} == {shape for shape, *_ in needed} != set()
    assert {grid.shape.kernel for grid in table.factors} == {(3, 1), (1, 3)}
    assert all(table.factor_ms(*one) >= 0 for one in needed)


def test_what_others_disturbed_twice_is_flagged_and_not_kept_for_the_next_table(
    profiled: tuple[Any, Path], checkpoints: dict[str, Path], run: Any, monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:  # fmt: skip
    shares: list[float] = []

    def busy(nets: Any, wholes: Any, *_: Any) -> tuple[dict[str, list[float]], float]:
        """Answer as the layers' worker does, beside others that take less and less."""
        shares.append(0.9 - 0.1 * min(len(shares), 5))
        return {name: [1.0, 1.0] for name in (*(net.name for net in nets), *wholes)}, shares[-1]

    monkeypatch.setattr(profiling, "measured_rounds", busy)
    monkeypatch.setenv("EDGEPRUNE_CACHE", str(tmp_path))
    how = ("profile", "--model", checkpoints["yolov8n"], "--target", "x86-ort", "--precision", "fp32")
    ended = run(*how, "--out", tmp_path / "table.json")
    assert ended.code == 0, (ended.errors, ended.exception)
    table = load_table(tmp_path / "table.json")
    assert table.foreign == pytest.approx(0.8)  # of the first chunk, the calmer of both measurements
    assert "note: contended: other processes took 80% of a core" in " ".join(ended.stdout.split())
    measured = len(shares)
    assert measured % 2 == 0 and not list((tmp_path / "profiles").glob("measure-*"))
    assert run(*how).code == 0 and len(shares) == 2 * measured


def test_a_network_that_does_not_tell_its_input_is_profiled_by_a_recipe(
    cache: Path, run: Any, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    model = exported(Cells(1), tmp_path / "cells.onnx", is_open=True)
    recipe = tmp_path / "input.yaml"
    recipe.write_text("input: {colour: RGB, scale: 0.00392157, resize: crop}\nimgsz: 64\nbatch: 2\n")
    how = ("profile", "--model", model, "--target", "x86-ort", "--json", "--recipe", recipe)
    ended = run(*how, "--imgsz", "32x48", "--set", "bench.threads=2")
    assert ended.code == 0, (ended.errors, ended.exception)
    table = json.loads(ended.stdout)
    assert (table["imgsz"], table["batch"], table["key"]["threads"]) == ([32, 48], 2, 2)


@pytest.mark.parametrize(
    ("options", "code", "expected"),
    [
        (("--target", "cpu"), 3, "--target cpu: it stands for"),
        (
            ("--target", "x86-ort", "--precision", "bf16"),
            3,
            "x86-ort: precision 'bf16' is not one of fp32, int8",
        ),
        (("--target", "jetson"), 5, "jetson: this target is not this machine"),
        (
            ("--target", "x86-ort", "--imgsz", "70"),
            3,
            "--imgsz: 70 is not a multiple of the model's stride 32; 64 and 96 are the nearest",
        ),
        (("--target", "x86-art"), 3, "(did you mean 'x86-ort'?)"),
    ],
)
def test_bad_input_is_one_line(
    cache: Path, checkpoints: dict[str, Path], run: Any, options: tuple[str, ...], code: int, expected: str
) -> None:
    ended = run("profile", "--model", checkpoints["yolov8n"], *options)
    assert ended.code == code
    assert expected in ended.error
