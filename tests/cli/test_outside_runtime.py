"""A runtime that another package brings builds, benches, checks and explains without a line of ours."""

from __future__ import annotations

import json
import subprocess
import sys
import venv
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from edgeprune.bench.foreign import explain_refusal
from edgeprune.core.artifact import Artifact
from edgeprune.core.backend import get_backend, known_backends, plugins
from edgeprune.core.errors import ConfigError
from edgeprune.core.processes import safe_path
from edgeprune.gate import pairs
from edgeprune.images.dataset import Dataset
from edgeprune.runners.travel import write_package
from made_builds import write_build
from made_effort import TINY, TINY_EFFORT
from made_packages import install_package
from sshd import Device

NAME, PACKAGE = "plain", "edgeprune-plain"
SOURCE = Path(__file__).parents[1] / "outside_runtime.py"
PROFILE = {
    "description": "plain numpy on this machine",
    "arch": ["x86_64", "aarch64"],
    "backend": NAME,
    "precisions": ["fp32"],
    "ship": "fp32",
    "channel_step": {"fp32": 8},
    "scheme": "ort-u8s8",
}


def install(site: Path, code: str | None = None) -> None:
    """Put the package into a folder of installed packages, as pip would leave it there."""
    code = SOURCE.read_text() if code is None else code
    install_package(
        site, PACKAGE, "1.2", f"edgeprune.backends: {NAME} = outside_runtime", {"outside_runtime": code}
    )


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    """Return the file of a profile that names the runtime."""
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(PROFILE))
    return path


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return a folder of installed packages that this process and its workers import from."""
    monkeypatch.delitem(sys.modules, "outside_runtime", raising=False)
    monkeypatch.syspath_prepend(tmp_path / "site")
    plugins.cache_clear()
    yield tmp_path / "site"
    plugins.cache_clear()


def test_it_builds_benches_checks_and_explains(
    run: Any,
    site: Path,
    profile: Path,
    classifiers: dict[str, Path],
    digits: Dataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    install(site)
    monkeypatch.setattr(pairs, "MOST_DISTURBED", 0)  # a busy machine does not make this test long
    out = tmp_path / "out"
    ended = run(
        *("build", "--model", classifiers["yolov8n-cls"], "--data", digits.source, "--out", out),
        *("--target", profile, "--no-prune", "--bench", "quick", "--max-drop", "1", "--imgsz", "32"),
    )
    assert ended.code == 0, (ended.errors, ended.exception)
    (row,) = json.loads((out / "summary.json").read_text())["targets"]["mine"]["rows"]
    assert row["runtime"] == NAME and row["p50_ms"] > 0
    assert (out / "best" / "model.plain").is_file()

    ended = run("bench", out, "--profile", "quick", "--json")
    assert ended.code == 0, ended.errors
    (result,) = json.loads(ended.stdout)
    assert result["backend"]["name"] == NAME and result["backend"]["provider_actual"] == "CPU"

    effort = replace(TINY_EFFORT, pairing=replace(TINY, min_queries=16))
    ended = run("check", "--baseline", out, "--candidate", out, "--tau", "0.95", "--json", effort=effort)
    result = json.loads(ended.stdout)["mine"]
    assert (ended.code, result["verdict"]) in ((0, "pass"), (8, "inconclusive")), "as busy as the machine is"
    assert result["pairs"] and result["candidate"]["runtime"] == NAME

    ended = run("explain", out, "--json")
    assert ended.code == 0, ended.errors
    layers = json.loads(ended.stdout)["engine"]["layers"]
    assert layers[0]["cost"]["kind"] == "convolution"


def test_an_installed_package_is_found_by_the_program(profile: Path, tmp_path: Path) -> None:
    place = tmp_path / "venv"
    venv.create(place, with_pip=False, symlinks=True)
    (packages,) = place.glob("lib/python3*/site-packages")
    install(packages)
    (packages / "ours.pth").write_text("\n".join(safe_path()))

    def run(*words: object) -> str:
        command = list(map(str, [place / "bin" / "python", "-m", *words]))
        return subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path).stdout

    assert yaml.safe_load(run("edgeprune", "targets", "show", profile))["backend"] == NAME
    assert "compiled and ran a fp32 model" in run("edgeprune.verify.probe", NAME)


def test_its_facts_are_those_of_the_module_and_of_the_package(site: Path) -> None:
    install(site)
    backend = get_backend(NAME)
    assert known_backends()[-1] == NAME
    assert backend.PACKAGES == (PACKAGE,) and f"pip install {PACKAGE}" == backend.HOW_TO_GET
    assert (backend.SOURCE, backend.FORMATS, backend.END2END) == ("onnx", ("onnx",), False)
    assert backend.prover is backend.TOOL is backend.CONVERTER is None


def test_its_module_goes_to_a_device_and_is_found_there(site: Path, convnet: Path, tmp_path: Path) -> None:
    install(site)
    archive = write_package(tmp_path / "package.zip")
    (site / "outside_runtime.py").unlink()  # the device has the archive and its own packages
    code = "from edgeprune.backends import get_backend; load = get_backend('plain').load"
    path = [str(archive), *(entry for entry in safe_path() if entry != str(site))]
    start = f"import sys; sys.path[:] = {path!r}; {code}; print(load.__code__.co_filename)"
    told = subprocess.run([sys.executable, "-I", "-c", start], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == f"{archive}/outside_runtime.py"


def test_a_device_runs_it_without_having_the_package(
    run: Any, site: Path, profile: Path, convnet: Path, device: Device, tmp_path: Path
) -> None:
    install(site)
    engine = get_backend(NAME).compile(Artifact.of(convnet, "onnx", "fp32"), "fp32", {}, tmp_path / "engine")
    ended = run("bench", engine.path, "--target", profile, "--device", device.address(), "--json")
    assert ended.code == 0, ended.errors
    (result,) = json.loads(ended.stdout)
    assert (result["backend"]["name"], result["backend"]["version"]) == (NAME, np.__version__)
    assert not any(flag["code"] == "output_mismatch" for flag in result["flags"])


def test_one_that_does_not_load_is_named_and_keeps_no_other_from_working(
    run: Any, site: Path, profile: Path, convnet: Path
) -> None:
    install(site, "raise RuntimeError('no driver')")
    ended = run("bench", convnet, "--target", profile)
    assert ended.code == 3
    assert ended.error.endswith(f"runtime '{NAME}' of the package {PACKAGE}: it cannot be loaded: no driver")
    assert explain_refusal(profile).endswith("or the folder of one"), "what the others take is told"


def test_one_that_lacks_what_it_owes_says_so(site: Path) -> None:
    install(site, "def version():\n    return '1'\n")
    with pytest.raises(ConfigError, match="runtime 'plain': its module has no compile and no load"):
        get_backend(NAME)


def test_a_profile_without_its_package_is_refused_with_the_runtimes_there_are(
    run: Any, profile: Path
) -> None:
    ended = run("targets", "show", profile)
    assert ended.code == 3
    assert "backend: 'plain' is not one of onnxruntime, openvino, tensorrt, ncnn, litert" in ended.error


def test_a_build_of_it_is_read_where_its_package_is_not(
    run: Any, site: Path, profile: Path, convnet: Path, tmp_path: Path
) -> None:
    install(site)
    write_build(tmp_path / "build", {str(profile): {"fp32": convnet}})
    (site / "edgeprune_plain-1.2.dist-info" / "entry_points.txt").unlink()
    plugins.cache_clear()
    ended = run("report", tmp_path / "build")
    assert ended.code == 0, ended.errors
    ended = run("bench", tmp_path / "build")
    assert ended.code == 3 and "unknown runtime 'plain'" in ended.error
