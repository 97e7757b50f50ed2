"""The doctor: it proves what it says by running it, and whoever is ill gets the command that helps."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

from edgeprune import doctor
from edgeprune.backends import BACKENDS
from edgeprune.doctor import Check, Diagnosis, check_packages, check_runtime, lines

MACHINE = doctor.Machine(
    python="3.11", system="Linux", architecture="x86_64", cpu="a CPU", features=("avx2",), cores=4,
    cores_usable=2, memory_mb=8000, governor="powersave", gpus=(),
)  # fmt: skip


def test_this_machine_is_diagnosed_without_torch() -> None:
    code = (
        "import sys; from edgeprune.doctor import diagnose\n"
        "print(diagnose().model_dump_json()); print('torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=300
    )
    report, torch_loaded = done.stdout.splitlines()
    assert torch_loaded == "False"
    found = json.loads(report)
    assert found["ok"] is not any(
        check["status"] == "fail" for part in ("system", "packages", "runtimes") for check in found[part]
    )
    assert [check["name"] for check in found["runtimes"]] == list(BACKENDS)
    works = {check["name"]: check for check in found["runtimes"]}
    for needed in ("onnxruntime", "openvino"):
        assert works[needed]["status"] == "ok", works[needed]
        assert "compiled and ran a fp32 model" in works[needed]["detail"]
    assert found["machine"]["cores_usable"] > 0
    assert found["machine"]["memory_mb"] > 100


@pytest.mark.parametrize(("name", "status"), [("onnxruntime", "fail"), ("tensorrt", "warn")])
@pytest.mark.parametrize("detail", ["not installed: No module named 'x'", "killed by SIGILL"])
def test_only_a_runtime_that_the_cpu_target_needs_is_a_failure(
    name: str, status: str, detail: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "probe_apart", lambda name: (False, detail))
    check = check_runtime(name)
    assert (check.name, check.status, check.detail) == (name, status, detail)
    whole_story = f"see the whole story with: python -m edgeprune.probe {name}"
    assert check.advice == (doctor.HOW_TO_GET[name] if "not installed" in detail else whole_story)


def test_tensorrt_rtx_is_proven_by_a_build_or_the_command_is_given() -> None:
    check = doctor.check_rtx()
    assert check.name == "tensorrt-rtx"
    if find_spec("tensorrt_rtx"):
        assert check.status == "ok", check
        assert "built a model for SM86, SM89 without a GPU" in check.detail
    else:
        assert (check.status, check.detail) == ("warn", "not installed")
        assert "pip install 'edgeprune[rtx]'" in check.advice


def test_a_tensorrt_rtx_that_does_not_load_is_told_with_its_last_words(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "tensorrt_rtx.py").write_text("raise ImportError('libcuda.so.1: cannot open')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(doctor.rtx, "version", lambda: "1.0")
    check = doctor.check_rtx()
    assert check.status == "warn"
    assert "libcuda.so.1: cannot open" in check.detail
    assert _diagnosis(MACHINE, check).ok


def test_there_is_advice_for_every_runtime() -> None:
    assert set(doctor.HOW_TO_GET) == set(BACKENDS)


def test_every_needed_package_is_checked_and_no_extra() -> None:
    names = {check.name for check in check_packages()}
    assert {"torch", "ultralytics", "onnxruntime", "openvino", "numpy"} <= names
    assert not names & {"pytest", "ruff", "tensorrt", "ncnn"}


@pytest.mark.parametrize(
    ("requirement", "detail"), [("numpy>=999", "is too old"), ("no-such-package>=1", "not installed")]
)
def test_a_package_that_is_missing_or_old_fails_with_the_command(
    requirement: str, detail: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metadata, "requires", lambda name: [requirement, "pytest; extra == 'dev'"])
    (check,) = check_packages()
    assert check.status == "fail"
    assert detail in check.detail
    assert check.advice == f"pip install '{Requirement(requirement)}'"


def test_opencv_without_libgl_gets_the_headless_build(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str) -> None:
        raise ImportError("libGL.so.1: cannot open shared object file")

    monkeypatch.setattr(metadata, "requires", lambda name: ["opencv-python>=4.8"])
    monkeypatch.setattr(doctor, "import_module", broken)
    (check,) = check_packages()
    assert check.status == "fail"
    assert "libGL.so.1" in check.detail
    assert "opencv-python-headless" in check.advice


def test_a_checkout_that_is_not_installed_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "requires", missing)
    assert [(check.name, check.status) for check in check_packages()] == [("edgeprune", "fail")]


def _diagnosis(machine: doctor.Machine, *runtimes: Check) -> Diagnosis:
    return Diagnosis(machine=machine, system=doctor._system_checks(machine), packages=(), runtimes=runtimes)


@pytest.mark.parametrize(
    ("change", "name", "status"),
    [
        ({"features": ("avx2",)}, "cpu", "warn"),
        ({"features": ("avx2", "avx512_vnni")}, "cpu", "ok"),
        ({"architecture": "aarch64", "features": ("asimd", "asimddp")}, "cpu", "ok"),
        ({"governor": None}, "governor", "warn"),
        ({"governor": "powersave"}, "governor", "warn"),
        ({"governor": "performance"}, "governor", "ok"),
    ],
)
def test_what_makes_int8_or_timings_doubtful_is_a_warning(
    change: dict[str, Any], name: str, status: str
) -> None:
    diagnosis = _diagnosis(MACHINE.model_copy(update=change))
    assert {shown: found for found, shown, _, _ in lines(diagnosis)}[name] == status
    assert diagnosis.ok


def test_one_failure_is_a_failure() -> None:
    assert not _diagnosis(MACHINE, Check("openvino", "fail", "not installed", "pip install openvino")).ok
    assert _diagnosis(MACHINE, Check("tensorrt", "warn", "not installed")).ok
