"""The doctor: it proves what it says by running it, and whoever is ill gets the command that helps."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

from edgeprune.backends import BACKENDS, get_backend, rtx
from edgeprune.verify import doctor
from edgeprune.verify.doctor import Check, Diagnosis, check_packages, check_runtime, lines
from made_machines import MACHINE


def test_this_machine_is_diagnosed_without_torch() -> None:
    code = (
        "import sys; from edgeprune.verify.doctor import diagnose\n"
        "print(diagnose().model_dump_json()); print('torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=300
    )
    report, torch_loaded = done.stdout.splitlines()
    assert torch_loaded == "False"
    found = json.loads(report)
    assert found["ok"], [
        check
        for part in ("system", "packages", "runtimes")
        for check in found[part]
        if check["status"] == "fail"
    ]
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
    whole_story = f"see the whole story with: python -m edgeprune.verify.probe {name}"
    assert check.advice == (get_backend(name).HOW_TO_GET if "not installed" in detail else whole_story)


def test_tensorrt_rtx_is_proven_by_a_build_or_the_command_is_given() -> None:
    check = doctor.check_prover(rtx)
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
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(rtx, "version", lambda: "1.0")
    check = doctor.check_prover(rtx)
    assert check.status == "warn"
    assert "libcuda.so.1: cannot open" in check.detail
    assert _diagnosis(MACHINE, check).ok


def test_there_is_advice_for_every_runtime() -> None:
    assert all(get_backend(name).HOW_TO_GET for name in BACKENDS)


def test_every_needed_package_is_checked_and_no_extra() -> None:
    names = {check.name for check in check_packages()}
    assert {"torch", "ultralytics", "onnxruntime", "openvino", "numpy"} <= names
    assert not names & {"pytest", "ruff", "tensorrt", "ncnn", "[dev]", "[ncnn]"}


def test_the_doctor_passes_the_installation_that_runs_these_tests() -> None:
    """It is `pip install .[dev]` into a new environment: whatever pip was content with is not a failure."""
    checks = {check.name: check for check in check_packages()}
    assert [check for check in checks.values() if check.status == "fail"] == []
    assert checks["pillow"].detail == metadata.version("pillow")


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., None]:
    """Return a function that puts a made-up distribution before all others on Python's path."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(name: str, fields: str | bytes, record: str | None = None, *files: str) -> None:
        info = tmp_path / f"{name}-1.0.dist-info"
        info.mkdir()
        text = f"Metadata-Version: 2.1\nName: {name}\n{fields}" if isinstance(fields, str) else fields
        (info / "METADATA").write_bytes(text.encode() if isinstance(text, str) else text)
        if record is not None:
            (info / "RECORD").write_text(record)
        for file in files:
            (tmp_path / file).write_text("")

    return write


def _requiring(install: Callable[..., None], *requirements: str) -> list[Check]:
    lines = "".join(f"Requires-Dist: {one}\n" for one in requirements)
    extras = "Provides-Extra: dev\nProvides-Extra: search\nProvides-Extra: odd\n"
    install("edgeprune", f"Version: 1.0\n{extras}{lines}")
    return list(check_packages())


@pytest.mark.parametrize(
    ("requirement", "detail"),
    [("numpy>=999", "but >=999 is needed"), ("numpy<1", "but <1 is needed"), ("no-such>=1", "not installed")],
)
def test_a_package_that_is_missing_or_of_another_version_fails_with_the_command(
    requirement: str, detail: str, install: Callable[..., None]
) -> None:
    (check,) = _requiring(install, requirement, "pytest; extra == 'dev'")
    assert check.status == "fail"
    assert detail in check.detail
    assert check.advice == f"pip install '{Requirement(requirement)}'"


@pytest.mark.parametrize(
    ("record", "files"),
    [
        ("oddly/__init__.py,,\n", ()),  # a package, by the list of files
        ("oddly.py,,\nodd_name-1.0.dist-info/METADATA,,\n", ("oddly.py",)),
        ("_oddly.abi3.so,,\n../../bin/odd,,\n", ("_oddly.abi3.so",)),
        (None, ()),  # an installation that lists nothing
        ("\x00\n,\n", ()),
    ],
)
def test_a_module_of_another_name_is_found_by_the_metadata(
    install: Callable[..., None], tmp_path: Path, record: str | None, files: tuple[str, ...]
) -> None:
    (tmp_path / "oddly").mkdir()
    (tmp_path / "oddly" / "__init__.py").write_text("")
    install("odd_name", "Version: 3.2\n", record, *files)
    (check,) = _requiring(install, "Odd.Name>=3")
    assert (check.status, check.detail) == ("ok", "3.2")


def test_a_package_whose_files_are_gone_is_told(install: Callable[..., None]) -> None:
    install("gone", "Version: 3.2\n", "went_away/__init__.py,,\n")
    (check,) = _requiring(install, "gone")
    assert (check.status, check.detail) == ("fail", "3.2, but its files are gone: no module went_away")
    assert "--force-reinstall" in check.advice


@pytest.mark.parametrize("fields", ["", "Version:\n", b"", b"\xff\xfe\x00Version: 1"])
def test_damaged_metadata_is_a_failure_of_that_package_and_no_traceback(
    install: Callable[..., None], fields: str | bytes
) -> None:
    install("hurt", fields, "hurt.py,,\n", "hurt.py")
    found = {check.name: check for check in _requiring(install, "hurt>=1", "numpy")}
    assert found["hurt"].status == "fail" and "its metadata is damaged" in found["hurt"].detail
    assert found["numpy"].status == "ok"


@pytest.mark.parametrize("requirement", ["numpy @ https://example.org/numpy.whl", "numpy[extra]", "NumPy"])
def test_addresses_extras_and_other_spellings_are_requirements(
    install: Callable[..., None], requirement: str
) -> None:
    (check,) = _requiring(install, requirement)
    assert (check.status, check.detail) == ("ok", metadata.version("numpy"))


def test_requirements_that_cannot_be_read_fail_in_one_line(install: Callable[..., None]) -> None:
    (check,) = _requiring(install, "not a requirement")
    assert (check.name, check.status) == ("edgeprune", "fail")


def test_an_extra_that_is_not_there_is_a_warning_with_its_command(install: Callable[..., None]) -> None:
    needed, extra = _requiring(
        install, "numpy", "no-such-thing>=1; extra == 'search'", "numpy; extra == 'search'",
        "nothing-of-windows; sys_platform == 'win32' and extra == 'odd'",
    )  # fmt: skip
    assert needed.status == "ok"
    assert (extra.name, extra.status, extra.detail) == ("[search]", "warn", "no-such-thing not installed")
    assert "pip install 'edgeprune[search]'" in extra.advice


def test_another_build_of_a_package_stands_in_for_it(install: Callable[..., None]) -> None:
    install("some_runtime_gpu", "Version: 3.2\n", "some_runtime.py,,\n", "some_runtime.py")
    (check,) = _requiring(install, "some-runtime>=3")
    assert (check.status, check.detail) == ("ok", "3.2 of some_runtime_gpu")


def test_opencv_without_libgl_gets_the_headless_build(
    monkeypatch: pytest.MonkeyPatch, install: Callable[..., None]
) -> None:
    def broken(name: str) -> None:
        raise ImportError("libGL.so.1: cannot open shared object file")

    monkeypatch.setattr(doctor, "import_module", broken)
    (check,) = _requiring(install, "opencv-python>=4.8")
    assert check.status == "fail"
    assert "libGL.so.1" in check.detail
    assert "opencv-python-headless" in check.advice


def test_a_checkout_that_is_not_installed_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "distribution_named", lambda name: None)
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


def test_a_light_install_is_told_what_is_absent_and_is_not_ill(
    monkeypatch: pytest.MonkeyPatch, install: Callable[..., None]
) -> None:
    there = doctor.distribution_named
    monkeypatch.setattr(doctor, "distribution_named", lambda name: None if "torch" in name else there(name))
    install(
        "edgeprune",
        "Version: 1.0\nProvides-Extra: build\nRequires-Dist: numpy\n"
        "Requires-Dist: no-torch; extra == 'build'\nRequires-Dist: no-vision; extra == 'build'\n",
    )
    needed, build = check_packages()
    assert (needed.name, needed.status) == ("numpy", "ok")
    assert (build.name, build.status) == ("[build]", "warn")
    assert build.detail == "no-torch, no-vision not installed"
    assert build.advice == "to prune, train and convert: pip install 'edgeprune[build]'"

    monkeypatch.setattr(doctor, "probe_apart", lambda name: (False, "not installed"))
    assert (check_runtime("openvino").status, check_runtime("onnxruntime").status) == ("warn", "fail")
    monkeypatch.setattr(doctor, "probe_apart", lambda name: (False, "killed by SIGILL"))
    assert check_runtime("openvino").status == "fail"
