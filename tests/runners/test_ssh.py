"""The ssh runner against a real OpenSSH server: files, processes, drops, and what a user gets wrong."""

from __future__ import annotations

import ast
import getpass
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from edgeprune.artifact import digest
from edgeprune.errors import ConfigError, DeviceError
from edgeprune.runners.devices import runner_for
from edgeprune.runners.local import LocalRunner
from edgeprune.runners.ssh import CONFIG_VARIABLE, Address, SshRunner
from sshd import Device, Wire


def _python(runner: SshRunner, code: str, timeout: float = 60.0, **more: Any) -> str:
    return runner.run((sys.executable, "-c", code), timeout, **more).stdout


def _refusal(address: str) -> str:
    with pytest.raises(DeviceError) as caught, SshRunner(address):
        pass
    message = str(caught.value)
    assert message.startswith(address) and "\n" not in message and caught.value.exit_code == 4
    return message


def _trace(path: Path) -> list[str]:
    return sorted(entry.name for entry in path.iterdir())


# Files


def test_files_and_folders_arrive_under_their_own_names(
    runner: SshRunner, hostile: Path, tmp_path: Path
) -> None:
    (hostile / "-rf").write_bytes(b"dash")
    (hostile / "sub dir").mkdir()
    (hostile / "sub dir" / "a\nb'c\"d.bin").write_bytes(bytes(range(256)))
    remote = Path(runner.push(hostile))
    assert remote.name == hostile.name
    assert (remote / "-rf").read_bytes() == b"dash"
    assert (remote / "sub dir" / "a\nb'c\"d.bin").read_bytes() == bytes(range(256))
    back = runner.pull(f"{remote}/sub dir/a\nb'c\"d.bin", hostile / "back\n'here'")
    assert back.read_bytes() == bytes(range(256))
    assert not list(tmp_path.rglob("pwned")) and not list(Path(runner.root).rglob("pwned"))


def test_arguments_arrive_as_they_are(runner: SshRunner, hostile: Path) -> None:
    words = ["$HOME; ls *", "a\nb", "", "'", '"', "\\", "--", "é", hostile.name]
    done = runner.run((sys.executable, "-c", "import sys; print(sys.argv[1:])", *words), 60)
    assert ast.literal_eval(done.stdout) == words


def test_an_unchanged_file_is_sent_once(device: Device, tmp_path: Path) -> None:
    file = tmp_path / "model.onnx"
    file.write_bytes(os.urandom(1 << 20))
    wire = Wire(device.port, sys.maxsize)
    with SshRunner(device.address(port=wire.port)) as runner:
        first = runner.push(file)
        once = wire.passed
        assert runner.push(file) != first and Path(first).name == "model.onnx"
    with SshRunner(device.address(port=wire.port)) as runner:
        again = Path(runner.push(file))
        assert again.read_bytes() == file.read_bytes()
    wire.close()
    assert once > 1 << 20 and wire.passed < once + (1 << 19)


def test_a_file_that_changed_on_the_device_is_sent_again(runner: SshRunner, tmp_path: Path) -> None:
    file = tmp_path / "weights"
    file.write_text("right")
    pushed = Path(runner.push(file))
    pushed.chmod(0o644)
    pushed.write_text("wrong")
    assert Path(runner.push(file)).read_text() == "right"


def test_a_push_that_broke_off_goes_on_where_it_stopped(device: Device, tmp_path: Path) -> None:
    size = 8 << 20
    file = tmp_path / "engine"
    file.write_bytes(os.urandom(size))
    wire = Wire(device.port, size // 2)
    with SshRunner(device.address(port=wire.port)) as runner:
        assert Path(runner.push(file)).read_bytes() == file.read_bytes()
    wire.close()
    assert wire.cuts == 1
    assert wire.passed < 1.5 * size  # whole would be half and all again; what was under way is lost


def test_what_an_earlier_push_left_is_not_trusted(runner: SshRunner, tmp_path: Path) -> None:
    file = tmp_path / "engine"
    file.write_bytes(os.urandom(1 << 16))
    sha256 = digest(file)
    (Path(runner.root) / "files" / f"{sha256}.partial").write_bytes(b"of another file")
    assert Path(runner.push(file)).read_bytes() == file.read_bytes()


def test_the_work_folder_is_removed_even_after_an_error(device: Device, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("content")
    with pytest.raises(DeviceError, match="exited with code 3"), SshRunner(device.address()) as runner:
        assert Path(runner.push(file)).exists() and list(device.cache.glob("work-*"))
        _python(runner, "raise SystemExit(3)")
    assert not list(device.cache.glob("work-*"))


def test_what_nobody_uses_is_removed_after_a_week(device: Device, tmp_path: Path) -> None:
    kept, left = tmp_path / "kept", tmp_path / "left"
    kept.write_text("used again")
    left.write_text("not used again")
    with SshRunner(device.address()) as runner:
        runner.push(kept), runner.push(left)
    store = device.cache / "files"
    os.utime(store / digest(left), (0, 0))
    abandoned = device.cache / "work-of-a-client-that-was-killed"
    abandoned.mkdir()
    os.utime(abandoned, (0, 0))
    with SshRunner(device.address()):
        assert (store / digest(kept)).exists()
        assert not (store / digest(left)).exists() and not abandoned.exists()


def test_two_sessions_do_not_meet(device: Device, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("content")
    with SshRunner(device.address()) as one:
        with SshRunner(device.address()) as two:
            assert one.push(file) != two.push(file)
        assert Path(one.push(file)).read_text() == "content"


def test_a_missing_file_is_named(runner: SshRunner, tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match=r"/no/such\\nfile: No such file|/no/such\nfile: No such file"):
        runner.pull("/no/such\nfile", tmp_path / "here")
    assert not _trace(tmp_path)


# Processes


def test_a_run_outlives_its_connection_and_the_result_is_complete(
    device: Device, runner: SshRunner, tmp_path: Path
) -> None:
    go, lines = tmp_path / "go", []
    code = f"""
import pathlib, sys, time
print("before", flush=True)
while not pathlib.Path({str(go)!r}).exists():
    time.sleep(0.01)
for index in range(50000):
    print("line", index)
print("the end", file=sys.stderr)
"""

    def drop(line: str) -> None:
        lines.append(line)
        if line == "before":
            assert device.drop() > 0
            go.touch()

    done = runner.run((sys.executable, "-c", code), 60, drop)
    assert lines == ["before", *(f"line {index}" for index in range(50000))]
    assert done.stdout.splitlines() == lines and done.stderr == "the end\n"


def test_a_device_that_stays_away_ends_the_run(device: Device, tmp_path: Path) -> None:
    wire = Wire(device.port, sys.maxsize)
    with SshRunner(device.address(port=wire.port)) as runner, pytest.raises(DeviceError) as caught:

        def vanish(line: str) -> None:
            wire.close()
            device.drop()

        _python(runner, "import time; print('up', flush=True); time.sleep(600)", on_line=vanish)
    assert "cannot be reached" in str(caught.value) and "4 more tries failed" in str(caught.value)
    for left in device.cache.glob("work-*/job-*/group"):
        os.killpg(int(left.read_text()), 9)


def test_garbage_on_the_wire_is_passed_over(device: Device) -> None:
    device.python_is(f'echo "Welcome to {{the}} board"; echo warning >&2; exec "{sys.executable}" "$@"')
    with SshRunner(device.address()) as runner:
        assert _python(runner, "print(1)") == "1\n"


# What goes wrong


def test_an_unreachable_host(device: Device) -> None:
    assert "cannot be reached" in _refusal(device.address(port=1))
    assert "cannot be reached" in _refusal("ssh://no-such-host.invalid")


def test_a_wrong_key(device: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "config"
    config.write_text(
        device.config.read_text().replace(f"{device.folder}/user\n", f"{device.folder}/other\n")
    )
    monkeypatch.setenv(CONFIG_VARIABLE, str(config))
    assert "refuses the keys that ssh offers" in _refusal(device.address())


@pytest.mark.parametrize("lax", ["", "  StrictHostKeyChecking no\n  NoHostAuthenticationForLocalhost yes\n"])
def test_a_changed_and_an_unknown_host_key_are_refused(
    device: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lax: str
) -> None:
    known, config = tmp_path / "known_hosts", tmp_path / "config"
    text = device.config.read_text().replace(str(device.folder / "known_hosts"), str(known))
    config.write_text(text + lax)
    monkeypatch.setenv(CONFIG_VARIABLE, str(config))
    known.write_text(f"edgeprune-test {(device.folder / 'other.pub').read_text()}")
    assert "its host key is not the known one" in _refusal(device.address())
    known.write_text("")
    assert "its host key is not known here" in _refusal(device.address())
    assert known.read_text() == ""


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


def test_no_space_on_the_device(device: Device, full: Path, tmp_path: Path) -> None:
    file = tmp_path / "engine"
    file.write_bytes(os.urandom(4 << 20))
    no_space = pytest.raises(DeviceError, match=r"full/files: No space left on device$")
    with no_space, SshRunner(device.address(full)) as runner:
        runner.push(file)
    assert not list(full.glob("work-*")) and not list(full.glob("files/*.partial"))


def test_no_python_there(device: Device) -> None:
    device.python_is("echo sh: python3: not found >&2; exit 127")
    assert "there is no python3 on the device: install Python 3.10" in _refusal(device.address())


def test_a_python_without_the_runtime_names_the_command(runner: SshRunner) -> None:
    with pytest.raises(DeviceError, match=r"no_such_runtime.*edgeprune device setup ssh://"):
        runner.python("no_such_runtime")


def test_an_answer_that_is_none(device: Device) -> None:
    device.python_is("echo '{\"work\": 1}'; echo 'Illegal instruction' >&2; exit 132")
    assert "no answer from the device: Illegal instruction" in _refusal(device.address())


def test_no_ssh_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/no/such/folder")
    assert "ssh cannot be started here: No such file" in _refusal("ssh://host")


@pytest.mark.parametrize(
    "address",
    [
        "ssh://",
        "ssh://-oProxyCommand=x",
        "ssh://a b",
        "ssh://user@",
        "ssh://h:x",
        "ssh://-x@h",
        "ssh:h",
        "tape://h",
    ],
)
def test_an_address_of_another_form_is_refused(address: str) -> None:
    with pytest.raises(ConfigError, match="--device"):
        runner_for(address)


def test_an_address_is_taken_apart() -> None:
    assert Address.of("ssh://pi@board:2222/mnt/my disk/") == Address("board", "pi", "2222", "/mnt/my disk")
    assert Address.of("ssh://[fe80::1%eth0]:22") == Address("fe80::1%eth0", None, "22", "")
    assert Address.of("ssh://Board").options() == []
    assert isinstance(runner_for("local"), LocalRunner)


def test_nothing_is_left_on_this_machine(device: Device) -> None:
    with SshRunner(device.address()) as runner:
        folder = runner._connection._folder
        assert (folder / "s").is_socket() and len(str(folder / "s")) < 60
    assert not folder.exists()
    masters = [" ".join(process.info["cmdline"] or ()) for process in psutil.process_iter(["cmdline"])]
    assert not [line for line in masters if str(folder) in line]
    assert getpass.getuser() in device.address()
