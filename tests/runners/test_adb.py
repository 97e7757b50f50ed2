"""What is adb's own: the real client against a device that speaks the protocol, and the states of devices."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import adbd
from adbd import AdbDevice
from edgeprune.core.artifact import digest
from edgeprune.core.errors import ConfigError, DeviceError
from edgeprune.runners import remote
from edgeprune.runners.adb import FOLDER, AdbRunner, Address, list_attached
from edgeprune.runners.devices import remote_runner_for, runner_for

Refusal = Callable[[str], str]


@pytest.fixture
def runner(phone: AdbDevice) -> Iterator[AdbRunner]:
    """Return a runner that is connected to the device."""
    with AdbRunner(phone.address()) as entered:
        yield entered


def _python(runner: AdbRunner, code: str, timeout: float = 60.0, **more: Any) -> str:
    return runner.run((sys.executable, "-c", code), timeout, **more).stdout


# Files


def test_everything_lies_below_data_local_tmp(phone: AdbDevice, tmp_path: Path) -> None:
    if not phone.holder:
        pytest.skip("no mount namespace here in which there is a /data")
    file = tmp_path / "engine"
    file.write_text("content")
    with runner_for(f"adb://{phone.serial}") as runner:
        assert runner.push(file).startswith(f"{FOLDER}/work-")
        assert runner.machine == os.uname().machine


def test_an_unchanged_file_is_sent_once(phone: AdbDevice, tmp_path: Path) -> None:
    file = tmp_path / "model.onnx"
    file.write_bytes(os.urandom(1 << 20))
    with AdbRunner(phone.address()) as runner:
        first = runner.push(file)
        once = phone.received
        assert runner.push(file) != first and Path(first).name == "model.onnx"
    with AdbRunner(phone.address()) as runner:
        assert phone.here(runner.push(file)).read_bytes() == file.read_bytes()
    assert once > 1 << 20 and phone.received < once + (1 << 19)


def test_what_arrives_wrong_is_refused(phone: AdbDevice, runner: AdbRunner, tmp_path: Path) -> None:
    file = tmp_path / "engine"
    file.write_bytes(os.urandom(1 << 16))
    phone.spoils = True
    with pytest.raises(DeviceError, match=r"'engine': what arrives there is not what is sent"):
        runner.push(file)
    assert not list(phone.cache.glob(f"files/{digest(file)}"))


def test_a_push_goes_on_when_the_device_comes_back(phone: AdbDevice, tmp_path: Path) -> None:
    file = tmp_path / "engine"
    file.write_bytes(os.urandom(8 << 20))
    with AdbRunner(phone.address()) as runner:
        phone.cut_after(4 << 20)
        assert phone.here(runner.push(file)).read_bytes() == file.read_bytes()
    assert phone.cuts == 1 and phone.received > 12 << 20


def test_two_sessions_may_push_the_same_file_at_once(
    phone: AdbDevice, runner: AdbRunner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "engine"
    file.write_bytes(os.urandom(1 << 16))
    copy, pushed = runner.connection.copy, []

    def then_another(*words: str, **more: Any) -> None:
        copy(*words, **more)
        with AdbRunner(phone.address()) as other:
            pushed.append(phone.here(other.push(file)).read_bytes())

    monkeypatch.setattr(runner.connection, "copy", then_another)
    assert phone.here(runner.push(file)).read_bytes() == pushed[0] == file.read_bytes()
    assert not list(phone.cache.glob(f"files/{digest(file)}.*"))


def test_a_device_that_disappears_in_mid_push(phone: AdbDevice, tmp_path: Path) -> None:
    file = tmp_path / "engine"
    file.write_bytes(os.urandom(8 << 20))
    failing = pytest.raises(DeviceError, match=r"cannot be reached: .*5 more tries failed")
    with failing, AdbRunner(phone.address()) as runner:
        phone.cut_after(4 << 20, stay_away=True)
        runner.push(file)
    assert phone.cuts == 1 and not list(phone.cache.glob(f"files/{digest(file)}"))


def test_a_file_that_is_pulled_through_a_drop_is_whole(
    phone: AdbDevice, runner: AdbRunner, tmp_path: Path
) -> None:
    content = os.urandom(4 << 20)
    remote = f"{runner.root}/result"
    phone.here(remote).write_bytes(content)
    phone.cut_after_sending(2 << 20)
    assert runner.pull(remote, tmp_path / "result").read_bytes() == content
    assert phone.cuts == 1 and not list(tmp_path.glob(".*"))


def test_a_place_here_that_cannot_be_written(runner: AdbRunner, phone: AdbDevice, tmp_path: Path) -> None:
    remote_file = f"{runner.root}/result"
    phone.here(remote_file).write_text("content")
    with pytest.raises(DeviceError, match=r"/result: cannot create"):
        runner.pull(remote_file, tmp_path / "no such folder" / "result")


# Processes


def test_a_device_that_stays_away_ends_the_run(phone: AdbDevice) -> None:
    pids: list[int] = []

    def vanish(line: str) -> None:
        pids.append(int(line))
        phone.leave()

    code = "import os, time; print(os.getpid(), flush=True); time.sleep(600)"
    failing = pytest.raises(DeviceError, match=r"cannot be reached: .*5 more tries failed")
    with failing, AdbRunner(phone.address()) as runner:
        _python(runner, code, on_line=vanish)
    os.killpg(pids[0], 9)


def test_a_device_that_falls_silent_is_asked_again(
    phone: AdbDevice, runner: AdbRunner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go, lines = tmp_path / "go", []
    code = f"""
import pathlib, time
print("before", flush=True)
while not pathlib.Path({str(go)!r}).exists():
    time.sleep(0.01)
print("after")
"""

    def freeze(line: str) -> None:
        lines.append(line)
        if line == "before":
            monkeypatch.setattr(remote, "SILENCE_S", 2.0)
            phone.stall()
            go.touch()

    runner.run((sys.executable, "-c", code), 60, freeze)
    assert lines == ["before", "after"]


# What goes wrong


def test_no_adb_here(monkeypatch: pytest.MonkeyPatch, refusal: Refusal) -> None:
    monkeypatch.setenv("PATH", "/no/such/folder")
    assert "there is no adb on this machine: apt-get install adb" in refusal("adb://serial")


def test_no_device(adb: None, refusal: Refusal) -> None:
    assert "no device is attached" in refusal("adb://")
    assert "no such device is attached; there are none" in refusal("adb://0123456789ABCDEF")
    assert "Connection refused" in refusal("adb://127.0.0.1:1")


def test_a_server_that_does_not_start(monkeypatch: pytest.MonkeyPatch, refusal: Refusal) -> None:
    if not adbd.ADB:
        pytest.skip("no adb here: apt-get install adb")
    monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", "99999999")
    assert "the adb server of this machine does not start: " in refusal("adb://serial")


def test_several_devices_and_no_serial(phone: AdbDevice, tmp_path: Path, refusal: Refusal) -> None:
    with adbd.running(tmp_path / "other", whole=False) as other:
        for device in (phone, other):
            with AdbRunner(device.address()):
                pass
        message = refusal("adb://")
        assert f"adb://{phone.serial}" in message and f"adb://{other.serial}" in message
        adbd.forget(other)


def test_the_only_device_needs_no_serial(
    phone: AdbDevice, monkeypatch: pytest.MonkeyPatch, refusal: Refusal
) -> None:
    with AdbRunner(phone.address()):
        assert list_attached() == {phone.serial: "device"}
    folder = phone.address().removeprefix(f"adb://{phone.serial}")
    with AdbRunner(f"adb://{folder}") as runner:
        assert _python(runner, "print(1)") == "1\n"
    monkeypatch.setenv("ANDROID_SERIAL", "another")
    assert f"no such device is attached; there are {phone.serial}" in refusal("adb://")


def test_a_device_that_does_not_trust_this_machine(phone: AdbDevice, refusal: Refusal) -> None:
    phone.trusts = False
    assert "does not trust this machine yet: unlock it and accept its dialog" in refusal(phone.address())


def test_a_device_that_is_offline(phone: AdbDevice, refusal: Refusal) -> None:
    with AdbRunner(phone.address()):
        phone.leave()
    assert refusal(phone.address()) == "cannot be reached: it is offline"


def test_a_device_in_its_recovery_system(phone: AdbDevice, refusal: Refusal) -> None:
    phone.state = "recovery"
    assert "it runs its recovery system: start it as usual" in refusal(phone.address())


def test_a_device_that_udev_withholds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refusal: Refusal
) -> None:
    script = tmp_path / "adb"  # only a device on USB can be in this state
    script.write_text(
        "#!/bin/sh\nprintf 'List\\n0123\\tno permissions (user in plugdev group?); see [url]\\n'\n"
    )
    script.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert "this user may not open it" in refusal("adb://0123")


def test_an_adbd_without_exit_codes(phone: AdbDevice, refusal: Refusal) -> None:
    phone.features = "cmd"
    assert "older than Android 7" in refusal(phone.address())


def test_no_space_on_the_device(adb: None, full: Path, tmp_path: Path) -> None:
    file = tmp_path / "engine"
    file.write_bytes(os.urandom(4 << 20))
    no_space = pytest.raises(DeviceError, match=r"full/files: No space left on device$")
    with adbd.running(tmp_path / "phone", whole=False) as phone:
        with no_space, AdbRunner(phone.address(full)) as runner:
            runner.push(file)
        adbd.forget(phone)
    assert not list(full.glob("work-*")) and not list(full.glob("files/*.partial"))


def test_a_folder_that_cannot_be_made(phone: AdbDevice, refusal: Refusal) -> None:
    assert "/proc/no: No such file or directory" in refusal(phone.address("/proc/no"))


def test_a_python_of_the_users_own_in_the_devices_folder(phone: AdbDevice) -> None:
    phone.python_is("exit 127")
    own = phone.cache / "bin" / "python3"
    own.parent.mkdir(parents=True)
    own.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    own.chmod(0o755)
    with AdbRunner(phone.address()) as runner:
        assert runner.python() == f"{runner.root}/bin/python3"


@pytest.mark.parametrize("address", ["adb://-s", "adb://a b", "adb://x;y", "adb:x", "adb://s\n"])
def test_an_address_of_another_form_is_refused(address: str) -> None:
    with pytest.raises(ConfigError, match="--device"):
        runner_for(address)


def test_an_address_is_taken_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ANDROID_SERIAL", raising=False)
    assert Address.of("adb://emulator-5554") == Address("emulator-5554", FOLDER)
    assert Address.of("adb://10.0.0.2:5555/userdata/my disk/") == Address(
        "10.0.0.2:5555", "/userdata/my disk"
    )
    assert Address.of("adb://[fe80::1%wlan0]:5555") == Address("[fe80::1%wlan0]:5555", FOLDER)
    assert Address.of("adb:///mnt") == Address("", "/mnt")
    assert isinstance(remote_runner_for("adb://serial"), AdbRunner)
    with pytest.raises(ConfigError, match="nothing is set up there"):
        remote_runner_for("local")
