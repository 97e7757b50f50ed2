"""Isolated converter environments: whole or not at all, and a converter's crash is told with its log."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from click.testing import CliRunner

from edgeprune.cli import main
from edgeprune.converters import environments as isolated
from edgeprune.core import backend
from edgeprune.core.backend_types import Converter
from edgeprune.core.errors import CompileError, ConfigError, OutputError, RuntimeMissingError

SCRIPTS = {
    "crash.py": "import os, signal, sys\nprint('loading', flush=True)\n"
    "os.kill(os.getpid(), signal.SIGSEGV)\n",
    "refuse.py": "raise SystemExit('Lowering not found: aten.fft_fft2')\n",
    "hang.py": "import time\nprint('working', flush=True)\ntime.sleep(600)\n",
    "write.py": "import sys\nfrom pathlib import Path\nPath(sys.argv[1]).write_text(sys.prefix)\n",
    "imports.py": "import edgeprune\n",
}


def _offer(version: str, patch: pytest.MonkeyPatch, script: str = "write.py") -> None:
    """Let a runtime `tool` be the only one there is, with a converter of that version."""
    module = ModuleType("tool_runtime")
    converter = Converter((f"tool=={version}",), "a test", script)
    for name, fact in {"version": None, "compile": None, "load": None, "CONVERTER": converter}.items():
        setattr(module, name, fact)
    patch.setitem(sys.modules, module.__name__, module)
    patch.setattr(backend, "BACKENDS", {"tool": module.__name__})


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Offer an environment `tool` without packages, in a cache of its own; return the cache's folder."""
    scripts = tmp_path / "scripts"
    scripts.mkdir()
    for name, code in SCRIPTS.items():
        (scripts / name).write_text(code)
    monkeypatch.setenv("EDGEPRUNE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(isolated, "SCRIPTS", scripts)
    _offer("1.0", monkeypatch)
    return tmp_path / "cache"


@pytest.fixture
def made(stand_in: Path) -> Path:
    """Make the environment for real, but with nothing in it, and mark it whole; return its folder."""
    place = isolated.folder_of("tool")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(place)], check=True, timeout=120)
    (place / isolated.MARKER).write_text(json.dumps({"pins": ["tool==1.0"], "bytes": 1_500_000}))
    return place


def test_a_script_runs_by_the_environments_own_interpreter_and_sees_none_of_our_packages(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    isolated.run_converter("tool", "write.py", [str(tmp_path / "prefix")], tmp_path / "log")
    assert Path((tmp_path / "prefix").read_text()) == made
    monkeypatch.setenv("PYTHONPATH", str(Path(isolated.__file__).parents[2]))
    with pytest.raises(CompileError, match="No module named 'edgeprune'"):
        isolated.run_converter("tool", "imports.py", [], tmp_path / "log")


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ("crash.py", "crash.py: killed by SIGSEGV: loading"),
        ("refuse.py", "refuse.py: exited with code 1: Lowering not found: aten.fft_fft2"),
        ("hang.py", "hang.py: no end within 1 s, it was stopped"),
    ],
)
def test_a_converter_that_fails_leaves_its_log_and_ends_with_exit_5(
    script: str, told: str, made: Path, tmp_path: Path
) -> None:
    log = tmp_path / "tool.log"
    with pytest.raises(CompileError) as caught:
        isolated.run_converter("tool", script, [], log, timeout=1 if script == "hang.py" else 60)
    assert str(caught.value) == f"{told}; its log: {log}"
    assert caught.value.exit_code == 5
    assert log.read_text()


def test_without_the_environment_the_command_that_gets_it_is_told(stand_in: Path, tmp_path: Path) -> None:
    with pytest.raises(RuntimeMissingError, match="edgeprune runtimes install tool"):
        isolated.run_converter("tool", "write.py", [], tmp_path / "log")
    with pytest.raises(ConfigError, match=r"unknown runtime 'tol' \(did you mean 'tool'\?\)"):
        isolated.install("tol", lambda text: None)


def test_an_interrupted_installation_is_not_trusted_and_made_again(
    made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (made / isolated.MARKER).unlink()
    (made / "half-written").touch()
    assert not isolated.is_installed("tool")
    monkeypatch.setattr(isolated, "run_logged", _only_venv)
    assert isolated.install("tool", lambda text: None) == made
    assert isolated.is_installed("tool")
    assert not (made / "half-written").exists()
    assert (isolated.size_bytes("tool") or 0) > 0


def _only_venv(args: list[str], what: str, log: Path, timeout: float) -> None:
    """Stand in for pip, which would need the network."""
    log.touch()
    if what == "venv":
        subprocess.run([*args, "--without-pip"], check=True, timeout=120)


def test_an_installation_that_fails_leaves_its_log_and_nothing_else(
    stand_in: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    monkeypatch.setenv("PIP_RETRIES", "0")
    with pytest.raises(CompileError, match=r"pip install: exited with code 1: .*tool==1.0.*install.log"):
        isolated.install("tool", lambda text: None)
    assert not isolated.folder_of("tool").exists()
    assert "tool==1.0" in (stand_in / "runtimes" / "tool-install.log").read_text()


def test_what_a_pin_asked_for_and_does_not_suit_the_converter_ends_the_installation(
    stand_in: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _offer("1.0", monkeypatch, script="refuse.py")
    run = isolated.run_logged

    def without_pip(args: list[str], what: str, log: Path, timeout: float) -> None:
        if what != "pip install":
            run([*args, *(["--without-pip"] if what == "venv" else [])], what, log, timeout)

    monkeypatch.setattr(isolated, "run_logged", without_pip)
    with pytest.raises(CompileError, match=r"refuse.py: exited with code 1: Lowering not found.*install.log"):
        isolated.install("tool", lambda text: None)
    assert not isolated.is_installed("tool") and not isolated.folder_of("tool").exists()


def test_environments_of_other_pins_are_removed_once_the_new_one_is_whole(
    made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _offer("2.0", monkeypatch)
    assert not isolated.is_installed("tool")
    monkeypatch.setattr(isolated, "run_logged", _only_venv)
    assert isolated.install("tool", lambda text: None) != made
    assert not made.exists()


def test_two_installations_at_once_are_refused(stand_in: Path) -> None:
    with (
        isolated.locked(stand_in / "runtimes", "tool"),
        pytest.raises(OutputError, match="another process is installing or removing tool"),
    ):
        isolated.install("tool", lambda text: None)


def test_the_command_lists_and_removes(made: Path) -> None:
    def run(*words: str) -> str:
        ended = CliRunner().invoke(main, ["runtimes", *words])
        assert ended.exit_code == 0, ended.output
        return ended.output

    assert "tool==1.0" in run()
    assert "installed, 2 MB" in run()
    (row,) = json.loads(run("--json"))
    assert (row["name"], row["installed"], row["path"]) == ("tool", True, str(made))
    assert run("remove", "tool") == "tool is removed\n"
    assert not made.exists()
    assert run("remove", "tool") == "tool is not installed\n"
    assert "not installed: edgeprune runtimes install tool" in run()
    assert CliRunner().invoke(main, ["runtimes", "remove", "other"]).exit_code == 3


@pytest.mark.parametrize("name", isolated.converters())
def test_every_pin_is_exact(name: str) -> None:
    assert all(pin.count("==") == 1 for pin in isolated.pins_of(name))
    assert isolated.pins_of("onnxruntime") == ()
