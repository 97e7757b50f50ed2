"""What is missing is told by the command that installs its extra; a damaged package is not missing."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from click.testing import CliRunner

from edgeprune.cli import main
from edgeprune.core import extras
from edgeprune.core.errors import RuntimeMissingError


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return a function that hides modules, as if they were not installed."""
    there = importlib.util.find_spec

    def hide(*names: str) -> None:
        monkeypatch.setattr(extras, "find_spec", lambda name: None if name in names else there(name))

    return hide


def test_a_command_that_builds_names_what_is_missing(without: Callable[..., None]) -> None:
    extras.require_build("build")
    without("torch", "onnxsim")
    message = r"^build needs torch, onnxsim, not installed here: pip install 'edgeprune\[build\]'$"
    with pytest.raises(RuntimeMissingError, match=message):
        extras.require_build("build")


@pytest.mark.parametrize(
    ("module", "extra"), [("scipy.optimize", "build"), ("matplotlib", "charts"), ("optuna", "search")]
)
def test_an_import_of_a_module_that_is_missing_ends_with_its_command(
    module: str, extra: str, without: Callable[..., None]
) -> None:
    exc = ModuleNotFoundError(f"No module named {module!r}", name=module)
    assert extras.missing_module(exc) is None  # it is there, but something in it is not
    without(module.partition(".")[0])
    told = str(extras.missing_module(exc))
    assert told.endswith(f"not installed here: pip install 'edgeprune[{extra}]'")


def test_another_module_is_not_blamed_on_an_extra(without: Callable[..., None]) -> None:
    without("yaml")
    assert extras.missing_module(ModuleNotFoundError(name="yaml")) is None
    assert extras.missing_module(ModuleNotFoundError()) is None


@contextmanager
def _needing(name: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def fail() -> None:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr("edgeprune.config.targets.target_files", fail)
    yield


def test_the_command_line_ends_with_one_line_and_the_code_of_a_missing_runtime(
    without: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    without("scipy")
    with _needing("scipy", monkeypatch):
        ended = CliRunner().invoke(main, ["targets"])
    assert ended.exit_code == RuntimeMissingError.exit_code == 5
    assert ended.stderr == "edgeprune: this needs scipy, not installed here: pip install 'edgeprune[build]'\n"
