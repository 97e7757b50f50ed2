"""Processes of our own import what we do, and nothing of a folder of the user's."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from edgeprune.core.processes import hidden_package, own_python, safe_path, safely


def test_a_module_runs_as_with_m_and_not_from_the_working_folder(tmp_path: Path) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit('the user's')\n")
    (tmp_path / "edgeprune.py").write_text("raise SystemExit('the user's')\n")
    args = own_python("edgeprune", "--version")
    done = subprocess.run(args, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and done.stdout.startswith("edgeprune"), done.stderr


def test_only_a_module_of_this_python_is_run_so() -> None:
    assert safely([sys.executable, "-m", "edgeprune", "a b"]) == own_python("edgeprune", "a b")
    for other in (["adb", "-m", "edgeprune"], [sys.executable, "script.py"], [sys.executable]):
        assert safely(other) == other


def test_the_working_folder_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", str(tmp_path), *sys.path])
    found = safe_path()
    assert str(tmp_path) not in found and "" not in found
    assert Path(found[0]).name in (Path(subprocess.__file__).parent.name, "lib-dynload")


def test_a_file_that_hides_a_package_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert hidden_package() is None
    (tmp_path / "numpy.py").touch()
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.syspath_prepend(tmp_path)
    found = hidden_package()
    assert found and found[0] == tmp_path / "numpy.py" and found[1].name == "numpy"
