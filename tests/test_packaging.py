"""The package as a user gets it: a wheel, built from the sdist, with its data inside."""

from __future__ import annotations

import email
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest

import edgeprune

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
PYPROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the sdist, and the wheel from it, with the hatchling that is installed: no network."""
    out = tmp_path_factory.mktemp("dist")
    args = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(ROOT)]
    done = subprocess.run(args, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return out


@pytest.fixture(scope="module")
def wheel(built: Path) -> zipfile.ZipFile:
    (path,) = built.glob("*.whl")
    return zipfile.ZipFile(path)


def _tracked(folder: Path) -> set[str]:
    """Return the files below `folder` that belong to the project, not to a tool's cache."""
    files = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return {file.as_posix() for file in files if not any(part == "__pycache__" for part in file.parts)}


def test_the_wheel_holds_the_package_and_its_data(wheel: zipfile.ZipFile) -> None:
    names = set(wheel.namelist())
    expected = {f"edgeprune/{name}" for name in _tracked(ROOT / "toolchain" / "edgeprune")}
    for data in ("targets", "calib"):
        expected |= {f"edgeprune/_bundled/{data}/{name}" for name in _tracked(ROOT / data)}
    inside = {name for name in names if name.startswith("edgeprune/")}
    assert inside == expected
    assert {name.partition("/")[0] for name in names - inside} == {
        f"edgeprune-{edgeprune.__version__}.dist-info"
    }


def test_the_wheel_says_what_it_is(wheel: zipfile.ZipFile) -> None:
    info = f"edgeprune-{edgeprune.__version__}.dist-info"
    metadata = email.message_from_bytes(wheel.read(f"{info}/METADATA"))
    assert metadata["Version"] == edgeprune.__version__
    assert metadata["License-Expression"] == "AGPL-3.0-or-later"
    assert metadata["Requires-Python"] == ">=3.10"
    assert b"edgeprune = edgeprune.__main__:main" in wheel.read(f"{info}/entry_points.txt")
    assert b"GNU AFFERO GENERAL PUBLIC LICENSE" in wheel.read(f"{info}/licenses/LICENSE")
    assert "edgeprune/py.typed" in wheel.namelist()


def test_the_sdist_can_be_worked_on(built: Path) -> None:
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    for needed in (
        "Makefile",
        ".ci/run",
        ".dockerignore",
        "docker/cpu.Dockerfile",
        "tests/test_packaging.py",
    ):
        assert needed in names
    assert not [name for name in names if name.startswith((".venv", "demo-build", ".git/"))]


def test_the_wheel_finds_its_data_outside_the_repository(wheel: zipfile.ZipFile, tmp_path: Path) -> None:
    site = tmp_path / "site"
    wheel.extractall(site)
    code = """
import edgeprune
from edgeprune.config.targets import resolve_targets, target_files

print(edgeprune.__file__, *target_files().values())
print(*(target.name for target in resolve_targets(("jetson", "cpu"))))
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(site)}, cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    paths, targets = (line.split() for line in done.stdout.splitlines())
    assert len(paths) > 5
    assert all(Path(path).is_relative_to(site) for path in paths)
    assert targets[0] == "jetson"


def test_torch_and_torchvision_are_named_together() -> None:
    """Resolved apart, they come as versions that do not load together."""
    names = {text.split(">")[0] for text in PYPROJECT["project"]["dependencies"]}
    assert {"torch", "torchvision"} <= names
