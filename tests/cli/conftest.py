"""One real build, made once through the command line, and a way to run commands and read how they ended."""

from __future__ import annotations

import json
import re
import shutil
import sys
import warnings
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from edgeprune.bench.effort import Effort
from edgeprune.cli import main
from edgeprune.images.dataset import Dataset
from edgeprune.runners.local import LocalRunner
from made_effort import TINY_EFFORT
from made_once import made_once
from made_quick import fast_biases

PROGRESS = re.compile(r"^\S+: \d+% ")


@dataclass(frozen=True)
class Ended:
    """How a command ended: its exit code, its standard output, and standard error without progress lines."""

    code: int
    stdout: str
    errors: list[str]
    exception: BaseException | None

    @property
    def error(self) -> str:
        """The one line of the error."""
        assert len(self.errors) == 1, self.errors
        assert self.errors[0].startswith("edgeprune: ")
        return self.errors[0]


def _run(*args: object, effort: Effort = TINY_EFFORT) -> Ended:
    with warnings.catch_warnings(record=True) as caught:  # pytest would swallow what a user sees
        warnings.simplefilter("default")
        warnings.simplefilter("ignore", DeprecationWarning)
        result = CliRunner().invoke(main, [str(arg) for arg in args], obj=effort)
    errors = [line for line in result.stderr.splitlines() if line.strip() and not PROGRESS.match(line)]
    errors += [str(warning.message) for warning in caught]
    return Ended(result.exit_code, result.stdout, errors, result.exception)


Run = Callable[..., Ended]


@pytest.fixture(scope="session")
def run() -> Run:
    """Return a function that runs a command in this process and measures next to nothing."""
    return _run


@dataclass(frozen=True)
class Built:
    """A finished build: its folder, the command's options, its end and its summary."""

    out: Path
    options: tuple[str, ...]
    ended: Ended
    summary: dict[str, Any]

    def rows(self, target: str) -> dict[tuple[str, str], dict[str, Any]]:
        """The rows of a target by variant and precision."""
        rows: list[dict[str, Any]] = self.summary["targets"][target]["rows"]
        return {(row["variant"], row["precision"]): row for row in rows}


@pytest.fixture(scope="session")
def built(
    checkpoints: dict[str, Path], tiny: Dataset, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Built]:
    """Return a build of a tiny yolov8n for this CPU and for a Jetson that is not there.

    Tests write into it, so each worker has a copy of the one that was made.
    """

    def make(folder: Path) -> None:
        ended, options = _build(checkpoints["yolov8n"], tiny.source, folder / "out")
        assert ended.code == 0, (ended.errors, ended.exception)
        (folder / "ended.json").write_text(json.dumps([options, ended.stdout, ended.errors]))

    made = made_once(tmp_path_factory, "built", make)
    out = tmp_path_factory.mktemp("build") / "out"
    shutil.copytree(made / "out", out)
    told = (made / "ended.json").read_text().replace(str(made / "out"), str(out))
    options, stdout, errors = json.loads(told)
    summary = json.loads((out / "summary.json").read_text())
    yield Built(out, tuple(options), Ended(0, stdout, errors, None), summary)
    shutil.rmtree(out)


def _build(model: Path, data: Path, out: Path) -> tuple[Ended, tuple[str, ...]]:
    options = (
        *("--model", str(model), "--data", str(data), "--out", str(out)),
        *("--imgsz", "64", "--target", "cpu", "--target", "jetson", "--ratio", "0.5"),
        *("--epochs", "1", "--bench", "quick", "--max-drop", "1", "--set", "quantize.images=4"),
        *("--set", "finetune.batch=6", "--set", "prune.activation=keep"),  # which is faster, is not certain
    )
    with fast_biases():
        return _run("build", *options), options


def _write_wheel(folder: Path, name: str) -> None:
    info = f"{name}-99.0.dist-info"
    with zipfile.ZipFile(folder / f"{name}-99.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{name}.py", f"stands_for = {name!r}\n")
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 99.0\n")
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{info}/RECORD", "")


@pytest.fixture
def bare_python(tmp_path: Path) -> str:
    """Return the shell script of a `python3` without packages, whose pip has an index of its own."""
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    for name in ("numpy", "onnxruntime"):
        _write_wheel(wheels, name)
    offline = f"export PIP_NO_INDEX=1 PIP_FIND_LINKS='{wheels}' PIP_NO_CACHE_DIR=1 PYTHONNOUSERSITE=1"
    return f'{offline}; exec "{Path(sys.base_prefix) / "bin" / "python3"}" "$@"'


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Refuse every process on this machine but the one that answers for it; keep latency tables apart."""
    real = LocalRunner.run

    def refuse(self: LocalRunner, args: Sequence[str], *more: Any) -> Any:
        assert "edgeprune.worker.answer" in args, "something was run on this machine"
        return real(self, args, *more)

    monkeypatch.setattr(LocalRunner, "run", refuse)
    monkeypatch.setenv("EDGEPRUNE_CACHE", str(tmp_path / "cache"))
