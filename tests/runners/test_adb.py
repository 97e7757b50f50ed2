"""The adb runner: the real client against a device that speaks the protocol, and what a user gets wrong."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import adbd
from adbd import AdbDevice
from edgeprune.artifact import digest
from edgeprune.errors import ConfigError, DeviceError
from edgeprune.runners import remote
from edgeprune.runners.adb import FOLDER, AdbRunner, Address, attached
from edgeprune.runners.devices import remote_runner_for, runner_for


@pytest.fixture
def runner(phone: AdbDevice) -> Iterator[AdbRunner]:
    """Return a runner that is connected to the device."""
    with AdbRunner(phone.address()) as entered:
        yield entered


def _python(runner: AdbRunner, code: str, timeout: float = 60.0, **more: Any) -> str:
    return runner.run((sys.executable, "-c", code), timeout, **more).stdout


def _refusal(address: str) -> str:
    with pytest.raises(DeviceError) as caught, AdbRunner(address):
        pass
    message = str(caught.value)
    assert message.startswith(f"{address}: ") and "\n" not in message and caught.value.exit_code == 4
    return message.removeprefix(f"{address}: ")


# Files


def test_files_and_folders_arrive_under_their_own_names(
    phone: AdbDevice, runner: AdbRunner, hostile: Path, tmp_path: Path
) -> None:
    (hostile / "-rf").write_bytes(b"dash")
    (hostile / "empty").touch()
    (hostile / "sub dir").mkdir()
    (hostile / "sub dir" / "a\nb'c\"d.bin").write_bytes(bytes(range(256)))
    remote = runner.push(hostile)
    assert remote.endswith(f"/{hostile.name}")
    assert phone.here(f"{remote}/-rf").read_bytes() == b"dash"
    assert phone.here(f"{remote}/empty").read_bytes() == b""
    assert phone.here(f"{remote}/sub dir/a\nb'c\"d.bin").read_bytes() == bytes(range(256))
    back = runner.pull(f"{remote}/sub dir/a\nb'c\"d.bin", hostile / "back\n'here'")
    assert back.read_bytes() == bytes(range(256))
    assert not list(tmp_path.rglob("pwned"))


def test_arguments_arrive_as_they_are(runner: AdbRunner, hostile: Path) -> None:
    words = ["$HOME; ls *", "a\nb", "", "'", '"', "\\", "--", "-n", "é", "$(touch pwned)", hostile.name]
    done = runner.run((sys.executable, "-c", "import sys; print(sys.argv[1:])", *words), 60)
    assert ast.literal_eval(done.stdout) == words


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


def test_a_file_that_changed_on_the_device_is_sent_again(
    phone: AdbDevice, runner: AdbRunner, tmp_path: Path
) -> None:
    file = tmp_path / "weights"
    file.write_text("right")
    pushed = phone.here(runner.push(file))
    pushed.chmod(0o644)
    pushed.write_text("wrong")
    assert phone.here(runner.push(file)).read_text() == "right"


@pytest.mark.parametrize("left", [b"of another file", bytes(1 << 16)])
def test_what_an_earlier_push_left_is_not_trusted(
    phone: AdbDevice, runner: AdbRunner, tmp_path: Path, left: bytes
) -> None:
    file = tmp_path / "engine"
    file.write_bytes(os.urandom(1 << 16))
    (phone.here(runner.root) / "files" / f"{digest(file)}.partial").write_bytes(left)
    assert phone.here(runner.push(file)).read_bytes() == file.read_bytes()


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


def test_the_work_folder_is_removed_even_after_an_error(phone: AdbDevice, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("content")
    with pytest.raises(DeviceError, match="exited with code 3"), AdbRunner(phone.address()) as runner:
        assert phone.here(runner.push(file)).exists() and list(phone.cache.glob("work-*"))
        _python(runner, "raise SystemExit(3)")
    assert not list(phone.cache.glob("work-*"))


def test_a_missing_file_is_named(runner: AdbRunner, tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="/no/such 'file': No such file or directory"):
        runner.pull("/no/such 'file'", tmp_path / "here")
    assert not (tmp_path / "here").exists()


def test_a_place_here_that_cannot_be_written(runner: AdbRunner, phone: AdbDevice, tmp_path: Path) -> None:
    remote_file = f"{runner.root}/result"
    phone.here(remote_file).write_text("content")
    with pytest.raises(DeviceError, match=r"/result: cannot create"):
        runner.pull(remote_file, tmp_path / "no such folder" / "result")


# Processes


def test_a_run_outlives_its_connection_and_the_result_is_complete(
    phone: AdbDevice, runner: AdbRunner, tmp_path: Path
) -> None:
    go, lines = tmp_path / "go", []
    code = f"""
import pathlib, sys, time
print("before", flush=True)
while not pathlib.Path({str(go)!r}).exists():
    time.sleep(0.01)
for index in range(20000):
    print("line", index)
print("the end", file=sys.stderr)
"""

    def drop(line: str) -> None:
        lines.append(line)
        if line == "before":
            assert phone.drop() > 0
            go.touch()

    done = runner.run((sys.executable, "-c", code), 60, drop)
    assert lines == ["before", *(f"line {index}" for index in range(20000))]
    assert done.stdout.splitlines() == lines and done.stderr == "the end\n"


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


def test_garbage_on_the_wire_is_passed_over(phone: AdbDevice) -> None:
    phone.python_is(
        f'echo "WARNING: {{linker}}: unsupported"; echo warning >&2; exec "{sys.executable}" "$@"'
    )
    with AdbRunner(phone.address()) as runner:
        assert _python(runner, "print(1)") == "1\n"


# What goes wrong


def test_no_adb_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/no/such/folder")
    assert "there is no adb on this machine: apt-get install adb" in _refusal("adb://serial")


def test_no_device(adb: None) -> None:
    assert "no device is attached" in _refusal("adb://")
    assert "no such device is attached; there are none" in _refusal("adb://0123456789ABCDEF")
    assert "Connection refused" in _refusal("adb://127.0.0.1:1")


def test_a_server_that_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    if not adbd.ADB:
        pytest.skip("no adb here: apt-get install adb")
    monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", "99999999")
    assert "the adb server of this machine does not start: " in _refusal("adb://serial")


def test_several_devices_and_no_serial(phone: AdbDevice, tmp_path: Path) -> None:
    with adbd.running(tmp_path / "other", whole=False) as other:
        for device in (phone, other):
            with AdbRunner(device.address()):
                pass
        message = _refusal("adb://")
        assert f"adb://{phone.serial}" in message and f"adb://{other.serial}" in message
        adbd.forget(other)


def test_the_only_device_needs_no_serial(phone: AdbDevice, monkeypatch: pytest.MonkeyPatch) -> None:
    with AdbRunner(phone.address()):
        assert attached() == {phone.serial: "device"}
    folder = phone.address().removeprefix(f"adb://{phone.serial}")
    with AdbRunner(f"adb://{folder}") as runner:
        assert _python(runner, "print(1)") == "1\n"
    monkeypatch.setenv("ANDROID_SERIAL", "another")
    assert f"no such device is attached; there are {phone.serial}" in _refusal("adb://")


def test_a_device_that_does_not_trust_this_machine(phone: AdbDevice) -> None:
    phone.trusts = False
    assert "does not trust this machine yet: unlock it and accept its dialog" in _refusal(phone.address())


def test_a_device_that_is_offline(phone: AdbDevice) -> None:
    with AdbRunner(phone.address()):
        phone.leave()
    assert _refusal(phone.address()) == "cannot be reached: it is offline"


def test_a_device_in_its_recovery_system(phone: AdbDevice) -> None:
    phone.state = "recovery"
    assert "it runs its recovery system: start it as usual" in _refusal(phone.address())


def test_a_device_that_udev_withholds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "adb"  # only a device on USB can be in this state
    script.write_text(
        "#!/bin/sh\nprintf 'List\\n0123\\tno permissions (user in plugdev group?); see [url]\\n'\n"
    )
    script.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert "this user may not open it" in _refusal("adb://0123")


def test_an_adbd_without_exit_codes(phone: AdbDevice) -> None:
    phone.features = "cmd"
    assert "older than Android 7" in _refusal(phone.address())


@pytest.fixture
def full(tmp_path: Path) -> Iterator[Path]:
    """Return a file system of 2 MB."""
    place = tmp_path / "full"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(place)]
    if os.getuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a small file system cannot be mounted here")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def test_no_space_on_the_device(adb: None, full: Path, tmp_path: Path) -> None:
    file = tmp_path / "engine"
    file.write_bytes(os.urandom(4 << 20))
    no_space = pytest.raises(DeviceError, match=r"full/files: No space left on device$")
    with adbd.running(tmp_path / "phone", whole=False) as phone:
        with no_space, AdbRunner(phone.address(full)) as runner:
            runner.push(file)
        adbd.forget(phone)
    assert not list(full.glob("work-*")) and not list(full.glob("files/*.partial"))


def test_a_folder_that_cannot_be_made(phone: AdbDevice) -> None:
    assert "/proc/no: No such file or directory" in _refusal(phone.address("/proc/no"))


def test_no_python_there(phone: AdbDevice) -> None:
    phone.python_is("echo sh: python3: not found >&2; exit 127")
    assert "there is no python3 on the device: install Python 3.10" in _refusal(phone.address())


def test_a_python_of_the_users_own_in_the_devices_folder(phone: AdbDevice) -> None:
    phone.python_is("exit 127")
    own = phone.cache / "bin" / "python3"
    own.parent.mkdir(parents=True)
    own.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    own.chmod(0o755)
    with AdbRunner(phone.address()) as runner:
        assert runner.python() == f"{runner.root}/bin/python3"


def test_a_python_without_the_runtime_names_the_command(runner: AdbRunner) -> None:
    with pytest.raises(DeviceError, match=r"no_such_runtime.*edgeprune device setup adb://"):
        runner.python("no_such_runtime")


def test_an_answer_that_is_none(phone: AdbDevice) -> None:
    phone.python_is("echo '{\"work\": 1}'; echo 'Illegal instruction' >&2; exit 132")
    assert "no answer from the device: Illegal instruction" in _refusal(phone.address())


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
