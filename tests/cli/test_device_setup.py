"""`edgeprune device setup`, `bench` and `device remove` on a stock phone, and what they refuse.

The phone is that of `tests/stock_phone.py`: arm64 under qemu, behind the real adb client.
"""

from __future__ import annotations

import contextlib
import json
import platform
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import adbd
import stock_phone
from adbd import AdbDevice
from edgeprune.core.errors import DeviceError
from edgeprune.records.bench_result import BenchResult
from edgeprune.runners import debian, parts
from made_effort import quick
from made_once import made_once
from made_userland import make_parts
from made_wheels import write_other_numpy

ROOT = "/data/local/tmp/edgeprune"


@pytest.fixture(scope="module")
def real(adb_server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AdbDevice]:
    """Return a stock phone, and use the cache of all tests of what runs on ARM."""
    try:
        socket.create_connection(("deb.debian.org", 80), timeout=5).close()
        debian.require_tools()
    except (OSError, DeviceError) as exc:
        pytest.skip(f"a phone's system cannot be fetched here: {exc}")
    system = made_once(tmp_path_factory, "stock-phone", stock_phone.make_system)
    with pytest.MonkeyPatch.context() as patch, contextlib.ExitStack() as stack:
        patch.setenv("EDGEPRUNE_CACHE", str(made_once(tmp_path_factory, "arm-cache", lambda _: None)))
        patch.setenv("ANDROID_ADB_SERVER_PORT", adb_server)
        patch.delenv("ANDROID_SERIAL", raising=False)
        try:
            phone = stack.enter_context(stock_phone.running(system, tmp_path_factory.mktemp("real")))
        except stock_phone.CannotRunError as exc:
            pytest.skip(f"an arm64 system cannot be run here: {exc}")
        yield phone
        adbd.forget(phone)


def test_a_stock_phone_is_set_up_measured_and_left_as_it_was(
    real: AdbDevice, run: Any, convnet: Path, tmp_path: Path
) -> None:
    address, before = f"adb://{real.serial}", stock_phone.listing(real)
    ended = run("bench", convnet, "--device", address)
    assert ended.code == 4
    assert f"there is no python3 on the device: edgeprune device setup {address} brings one" in ended.error

    ended = run("device", "setup", address, "--target", "arm64-ort", "--yes")
    assert ended.code == 0
    assert ended.stdout == f"onnxruntime is installed: {ROOT}/userland/python3\n"

    ended = run(
        "bench", convnet, "--device", address, "--json", effort=quick(min_queries=12, min_seconds=0.0)
    )
    assert (ended.code, ended.errors) == (0, [])
    (result,) = (BenchResult.model_validate(entry) for entry in json.loads(ended.stdout))
    assert result.blocks[0].output_ok and len(result.blocks[0].samples_ns) >= 12
    assert result.env_before["machine"] == "aarch64"

    # Variables of the device, Termux's say, do not reach the loader; those of ours no program of the device.
    shown = 'echo "<$LD_PRELOAD$LD_LIBRARY_PATH$PYTHONHOME>"; uname -m'
    ask = f"import subprocess; subprocess.run(['/system/bin/sh', '-c', {shown!r}], check=True)"
    misled = f'LD_PRELOAD=/no.so LD_LIBRARY_PATH=/system/lib64 {ROOT}/userland/python3 -c "$0"'
    words = ["sh", "-c", misled, ask]
    told = subprocess.run(
        real.inside(*words), env=stock_phone.ENVIRONMENT, capture_output=True, text=True, check=True
    )
    assert (told.stdout, told.stderr) == ("<>\naarch64\n", "")

    added = stock_phone.listing(real) - before
    assert added and all(f"{real.here(ROOT)}/" in f"{path}/" for path in added)
    ended = run("device", "remove", address)
    assert (ended.code, ended.stdout) == (0, "removed: userland, files\n")
    assert stock_phone.listing(real) == before


def test_a_phone_that_cannot_be_reached_is_told_as_by_bench(phone: AdbDevice, run: Any) -> None:
    phone.trusts = False
    for words in (("setup", phone.address(), "--yes"), ("remove", phone.address())):
        ended = run("device", *words)
        assert ended.code == 4 and "it does not trust this machine yet: unlock it" in ended.error
    phone.trusts = True
    adbd.forget(phone)
    assert run("device", "remove", phone.address()).stdout == "nothing of edgeprune lies there\n"
    phone.leave()
    ended = run("device", "setup", phone.address())
    assert ended.code == 4 and "cannot be reached: it is offline" in ended.error


def test_a_phone_of_another_architecture_is_refused_before_anything_is_fetched(
    phone: AdbDevice, run: Any
) -> None:
    if platform.machine() == "aarch64":
        pytest.skip("this machine is of the architecture that is taken")
    phone.python_is("exit 127")
    ended = run("device", "setup", phone.address(), "--yes")
    assert ended.code == 4
    assert ended.error.endswith(
        f"it has no python3, and edgeprune brings one to aarch64 only, not to {platform.machine()}: "
        "install Python 3.10 or newer there"
    )


@pytest.fixture
def bare(phone: AdbDevice, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AdbDevice:
    """Return a device without Python that says that it is arm64; what it would get is not in the cache."""
    monkeypatch.setenv("EDGEPRUNE_CACHE", str(tmp_path / "empty"))
    phone.python_is("exit 127")
    says(phone, "uname", "aarch64")
    return phone


def says(phone: AdbDevice, tool: str, text: str) -> None:
    """Make a tool of a device print a text."""
    script = phone.root / "bin" / tool
    script.write_text(f"#!/bin/sh\necho '{text}'\n")
    script.chmod(0o755)


def test_what_would_be_sent_is_told_and_nothing_is_sent_unasked(
    bare: AdbDevice, run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "compose", lambda *_: make_parts(tmp_path / "parts"))
    ended = run("device", "setup", bare.address(), "--target", "arm64-ort")
    assert ended.code == 3 and ended.error.endswith(": say --yes") and not bare.cache.exists()
    assert "it has no python3; it would get debian, numpy: 1 MB to send, 1 MB in " in ended.error


def test_a_runtime_of_the_devices_own_system_is_not_brought(
    bare: AdbDevice, run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def compose(name: str, machine: str, backends: list[str], *_: object) -> object:
        asked.extend([machine, *backends])
        return make_parts(tmp_path / "parts")

    monkeypatch.setattr(parts, "compose", compose)
    ended = run("device", "setup", bare.address(), "--target", "xavier")
    assert ended.code == 3 and "it would get debian, numpy: " in ended.error
    assert asked == ["aarch64"], "TensorRT is part of JetPack"


def test_a_phone_without_room_is_refused_before_anything_is_sent(
    bare: AdbDevice, run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "compose", lambda *_: make_parts(tmp_path / "parts"))
    says(
        bare, "df", "Filesystem 1K-blocks Used Available Use% Mounted on /dev/x 100000 90000 10000 90% /data"
    )
    ended = run("device", "setup", bare.address(), "--target", "arm64-ort", "--yes")
    assert ended.code == 4 and not bare.cache.exists()
    assert ended.error.endswith(
        "MB are needed and 10 MB are free: make room, or name another folder in the address"
    )


def test_without_a_network_the_device_is_named(
    bare: AdbDevice, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(debian, "MIRROR", "http://127.0.0.1:1/debian")
    monkeypatch.setattr(debian, "require_tools", lambda: None)
    ended = run("device", "setup", bare.address(), "--target", "arm64-ort", "--yes")
    assert ended.code == 4 and "InRelease: cannot be fetched" in ended.errors[-1]
    assert ended.errors[-1].startswith(f"edgeprune: {bare.address()}: ") and not bare.cache.exists()


def test_a_wheel_that_is_not_the_pinned_one_is_not_sent(
    bare: AdbDevice, run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "system", lambda *_: tmp_path)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(write_other_numpy(tmp_path)))
    ended = run("device", "setup", bare.address(), "--target", "arm64-ort", "--yes")
    assert ended.code == 4 and not bare.cache.exists()
    assert ended.errors[-1].startswith(
        f"edgeprune: {bare.address()}: wheels for aarch64: what arrived is not the"
    )


def test_a_target_of_another_architecture_is_refused_before_anything_is_sent(
    bare: AdbDevice, run: Any
) -> None:
    ended = run("device", "setup", bare.address(), "--target", "x86-ort", "--yes")
    assert ended.code == 3 and not bare.cache.exists()
    assert ended.error.endswith(
        f"x86-ort: this target is not {bare.address()}, which is aarch64: it is of x86_64"
    )


def test_a_runtime_without_a_wheel_for_phones_names_those_that_have_one(bare: AdbDevice, run: Any) -> None:
    ended = run("device", "setup", bare.address(), "--target", "android-litert", "--yes")
    assert ended.code == 4
    assert (
        "litert has no wheel for aarch64 that is known to work: there are onnxruntime, openvino"
        in ended.error
    )
