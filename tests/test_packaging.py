"""The package as a user gets it: a wheel, built from the sdist, with its data inside; alone, it measures."""

from __future__ import annotations

import email
import json
import os
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

import edgeprune
from edgeprune.core.extras import MODULES
from edgeprune.core.packages import distribution_named, modules_of
from edgeprune.verify.probe import MODEL
from made_builds import write_build
from made_once import made_once
from test_ci_templates import SHORT

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
PYPROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


LIGHT_MB = 250
"""The greatest size of a light install. It is 228 MB: numpy and ONNX Runtime alone are 151."""


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the sdist, and the wheel from it, with the hatchling that is installed: no network."""

    def build(out: Path) -> None:
        args = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(ROOT)]
        done = subprocess.run(args, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    return made_once(tmp_path_factory, "dist", build)


@pytest.fixture(scope="session")
def wheel_file(built: Path) -> Path:
    (path,) = built.glob("*.whl")
    return path


@pytest.fixture(scope="session")
def wheel(wheel_file: Path) -> zipfile.ZipFile:
    return zipfile.ZipFile(wheel_file)


@pytest.fixture(scope="session")
def light(wheel_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the wheel alone, as `pip install edgeprune` does; return where its programs are."""

    def install(folder: Path) -> None:
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        args = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", str(wheel_file)]
        done = subprocess.run(args, capture_output=True, text=True, check=False)
        if done.returncode and "CI" not in os.environ and "No matching distribution" in done.stderr:
            pytest.skip("pip reaches no index here")
        assert done.returncode == 0, done.stderr

    return made_once(tmp_path_factory, "light", install) / "bin"


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
    assert {"torch", "torchvision"} <= _names("build")


def _names(extra: str) -> set[str]:
    return {Requirement(text).name for text in PYPROJECT["project"]["optional-dependencies"][extra]}


@pytest.mark.parametrize("extra", MODULES)
def test_the_modules_of_an_extra_are_those_of_its_packages(extra: str) -> None:
    runtimes_and_drivers = {"openvino", "matplotlib", "psycopg"} - set(MODULES[extra])
    brought = set()
    for name in _names(extra):
        found = distribution_named(name) or distribution_named(f"{name}-headless")
        assert found is not None, name
        public = {module for module in modules_of(found) if not module.startswith("_")}
        brought |= public & ({name.replace("-", "_"), *MODULES[extra]} - runtimes_and_drivers)
    assert brought == set(MODULES[extra])


def _run(program: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the light install's program in a folder of its own, without what would lead it to this checkout."""
    env = {name: text for name, text in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    folder = program.parent.parent
    env |= {"EDGEPRUNE_CACHE": str(folder / "cache"), "HOME": str(folder)}
    return subprocess.run(
        [str(program), *words], capture_output=True, text=True, check=False, cwd=folder, env=env, timeout=300
    )


def test_a_light_install_is_light(light: Path, record_property: Callable[[str, object], None]) -> None:
    absent = {*MODULES["build"], *MODULES["charts"], *MODULES["search"], "openvino", "pandas", "sympy"}
    code = (
        "import sysconfig, sys; from importlib.util import find_spec\n"
        "print(sysconfig.get_path('purelib'), *filter(find_spec, sys.argv[1:]))"
    )
    done = _run(light / "python", "-c", code, *absent)
    assert done.returncode == 0, done.stderr
    site, *found = done.stdout.split()
    assert found == []
    tools = ("pip", "setuptools", "pkg_resources", "_distutils_hack")
    sizes = {
        entry.name: sum(file.stat().st_size for file in [entry, *entry.rglob("*")] if file.is_file())
        for entry in Path(site).iterdir()
        if not entry.name.startswith(tools)
    }
    total = sum(sizes.values()) / 1e6
    largest = sorted(sizes, key=sizes.__getitem__)[:-6:-1]
    record_property(
        "light install", f"{total:.0f} MB; " + ", ".join(f"{n} {sizes[n] / 1e6:.0f}" for n in largest)
    )
    assert total < LIGHT_MB


def test_a_light_install_benches_and_checks_the_onnx_file_that_it_ships(light: Path) -> None:
    site = light.parent
    (model,) = site.rglob(f"edgeprune/**/{MODEL.name}")
    done = _run(light / "edgeprune", "bench", str(model), "--seconds", "0.05", "--out", str(site / "results"))
    assert done.returncode == 0, done.stderr
    assert MODEL.name in done.stdout and "FPS" in done.stdout
    (result,) = (site / "results").glob("*.json")
    told = json.loads(result.read_text())
    assert told["blocks"][0]["output_ok"] is True
    assert told["backend"]["quantized_ops"] == 0 and told["latency_ms"]["p50"] > 0

    short = site / "short"
    short.write_text(SHORT.format(python=light / "python"))
    short.chmod(0o755)
    done = _run(short, "check", "--baseline", str(model), "--candidate", str(model))
    assert done.returncode in (0, 8, 10), done.stderr  # by how busy this machine is
    assert "p50 latency" in done.stdout and "peak memory" in done.stdout and "pairs" in done.stdout


@pytest.mark.parametrize(
    "words",
    [
        ("build", "--model", "a.pt", "--data", "b", "--target", "cpu", "--out", "out"),
        ("profile", "--model", "a.pt", "--target", "cpu", "--out", "out"),
        ("sweep", "--model", "a.pt", "--data", "b", "--out", "out"),
        ("search", "--model", "a.pt", "--data", "b", "--target", "cpu", "--out", "out"),
    ],
    ids=lambda words: words[0],
)
def test_what_needs_the_extra_ends_with_its_command(light: Path, words: tuple[str, ...]) -> None:
    done = _run(light / "edgeprune", *words)
    assert done.returncode == 5, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"edgeprune: {words[0]} needs torch") and line.endswith(
        ": pip install 'edgeprune[build]'"
    )
    assert not (light.parent / "out").exists()


def test_the_doctor_of_a_light_install_tells_what_is_absent_and_is_content(light: Path) -> None:
    done = _run(light / "edgeprune", "doctor")
    assert done.returncode == 0, done.stdout
    assert "FAIL" not in done.stdout
    assert "to prune, train and convert: pip install 'edgeprune[build]'" in done.stdout
    assert "compiled and ran a fp32 model" in done.stdout


@pytest.mark.parametrize("words", [("targets",), ("targets", "show", "jetson"), ("devices",), ("runtimes",)])
def test_the_other_commands_of_a_light_install_run(light: Path, words: tuple[str, ...]) -> None:
    done = _run(light / "edgeprune", *words)
    assert done.returncode == 0 and done.stdout and not done.stderr


def test_a_light_install_keeps_a_history_and_its_page_says_how_to_get_charts(
    light: Path, tmp_path: Path
) -> None:
    results, history = str(tmp_path / "results"), f"sqlite:///{tmp_path / 'history.db'}"
    words = ("bench", str(MODEL), "--seconds", "0.05", "--out", results, "--history", history)
    assert _run(light / "edgeprune", *words).returncode == 0
    page = tmp_path / "page.html"
    done = _run(light / "edgeprune", "history", "plot", "--db", history, "--out", str(page))
    charts = "charts need matplotlib, not installed here: pip install 'edgeprune[charts]'"
    assert done.returncode == 0 and done.stderr == f"edgeprune: warning: {charts}\n"
    assert charts in page.read_text()
    write_build(tmp_path / "build", {"x86-ort": {"fp32": MODEL}})
    done = _run(light / "edgeprune", "report", str(tmp_path / "build"))
    assert done.returncode == 0 and charts in done.stderr
    assert "<svg" not in (tmp_path / "build" / "report.html").read_text()
