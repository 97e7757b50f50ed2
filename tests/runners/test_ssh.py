"""What is ssh's own, against a real OpenSSH server: pushes that resume, host keys, its configuration."""

from __future__ import annotations

import contextlib
import getpass
import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from edgeprune.core.artifact import digest
from edgeprune.core.errors import ConfigError, DeviceError, LostConnectionWarning
from edgeprune.runners.devices import runner_for
from edgeprune.runners.local import LocalRunner
from edgeprune.runners.ssh import CONFIG_VARIABLE, Address, SshConnection, SshRunner
from sshd import Device, Wire

Refusal = Callable[[str], str]


# Files


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


def test_one_process_there_answers_all_requests_of_a_session(device: Device, tmp_path: Path) -> None:
    """A board takes a good part of a second to start Python, and a check asks some hundred times."""
    started = tmp_path / "started"
    device.python_is(
        f'case "$*" in *onboard*|*sys.stdin*) echo >> "{started}";; esac; exec "{sys.executable}" "$@"'
    )
    file = tmp_path / "engine"
    file.write_bytes(os.urandom(1 << 20))
    with SshRunner(device.address()) as runner:
        for _ in range(3):
            remote = runner.push(file)
            runner.run(("true",), 60)
            assert digest(runner.pull(remote, tmp_path / "back")) == digest(file)
        assert len(started.read_text()) == 1
        assert device.drop()
        runner.run(("true",), 60)
    assert len(started.read_text()) == 2


def test_two_sessions_may_push_the_same_file_at_once(device: Device, tmp_path: Path) -> None:
    content = os.urandom(1 << 20)
    file, sha256 = tmp_path / "engine", hashlib.sha256(content).hexdigest()
    file.write_bytes(content)
    first = len(content) // 2
    with SshRunner(device.address()) as one, SshRunner(device.address()) as two:
        which, size = {"root": one.root, "sha256": sha256}, len(content)
        with (
            one.connection.open("receive", offset=0, size=size, **which) as slow,
            two.connection.open("receive", offset=0, size=size, **which) as late,
        ):
            slow.send(content[:first])
            assert any(one.connection.ask("find_stored", **which)["offset"] >= first for _ in range(10_000))
            late.send(content[: first // 2])  # both had asked before there was anything
            with SshRunner(device.address()) as third:
                assert Path(third.push(file)).read_bytes() == content
            # And one that goes on with what has been kept meanwhile.
            with two.connection.open("receive", offset=first, size=size - first, **which) as behind:
                behind.send(content[first:])
                assert behind.answer()["right"]
            for exchange, rest in ((slow, content[first:]), (late, content[first // 2 :])):
                exchange.send(rest)
                assert exchange.answer()["right"]
        assert Path(one.push(file)).read_bytes() == content
    assert not list(device.cache.glob(f"files/{sha256}.*"))


# Processes


def test_a_device_that_stays_away_ends_the_run(device: Device, tmp_path: Path) -> None:
    wire = Wire(device.port, sys.maxsize)
    told = pytest.warns(LostConnectionWarning, match=r"cannot be reached: .*; it is tried again for \d+ s$")
    failing = pytest.raises(DeviceError)
    with SshRunner(device.address(port=wire.port)) as runner, told, failing as caught:

        def vanish(line: str) -> None:
            wire.close()
            device.drop()

        code = "import time; print('up', flush=True); time.sleep(600)"
        runner.run((sys.executable, "-c", code), 60, vanish)
    assert "cannot be reached" in str(caught.value) and "4 more tries failed" in str(caught.value)
    for left in device.cache.glob("work-*/job-*/group"):
        with contextlib.suppress(ProcessLookupError):  # what another test has left ended by itself
            os.killpg(int(left.read_text()), 9)


# What goes wrong


def test_an_unreachable_host(device: Device, refusal: Refusal) -> None:
    assert "cannot be reached" in refusal(device.address(port=1))
    assert "cannot be reached" in refusal("ssh://no-such-host.invalid")


def test_a_wrong_key(
    device: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refusal: Refusal
) -> None:
    config = tmp_path / "config"
    config.write_text(
        device.config.read_text().replace(f"{device.folder}/user\n", f"{device.folder}/other\n")
    )
    monkeypatch.setenv(CONFIG_VARIABLE, str(config))
    assert "refuses the keys that ssh offers" in refusal(device.address())


def test_a_command_of_the_users_configuration_does_not_stand_in_the_way(
    device: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "config"
    config.write_text(f"{device.config.read_text()}  RemoteCommand tmux attach\n  RequestTTY yes\n")
    monkeypatch.setenv(CONFIG_VARIABLE, str(config))
    with SshRunner(device.address()) as runner:
        assert runner.run((sys.executable, "-c", "print(1)"), 60).stdout == "1\n"


@pytest.mark.parametrize("lax", ["", "  StrictHostKeyChecking no\n  NoHostAuthenticationForLocalhost yes\n"])
def test_a_changed_and_an_unknown_host_key_are_refused(
    device: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lax: str, refusal: Refusal
) -> None:
    known, config = tmp_path / "known_hosts", tmp_path / "config"
    text = device.config.read_text().replace(str(device.folder / "known_hosts"), str(known))
    config.write_text(text + lax)
    monkeypatch.setenv(CONFIG_VARIABLE, str(config))
    known.write_text(f"edgeprune-test {(device.folder / 'other.pub').read_text()}")
    assert "its host key is not the known one" in refusal(device.address())
    known.write_text("")
    assert "its host key is not known here" in refusal(device.address())
    assert known.read_text() == ""


def test_no_space_on_the_device(device: Device, full: Path, tmp_path: Path) -> None:
    file = tmp_path / "engine"
    file.write_bytes(os.urandom(4 << 20))
    no_space = pytest.raises(
        DeviceError, match=r"full/files: No space left on device: make room there, or name another folder"
    )
    with no_space, SshRunner(device.address(full)) as runner:
        runner.push(file)
    assert not list(full.glob("work-*")) and not list(full.glob("files/*.partial"))


def test_no_ssh_here(monkeypatch: pytest.MonkeyPatch, refusal: Refusal) -> None:
    monkeypatch.setenv("PATH", "/no/such/folder")
    assert "ssh cannot be started here: No such file" in refusal("ssh://host")


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
    with pytest.raises(ConfigError, match="a password is not taken: log in with a key, by ssh-copy-id"):
        Address.of("ssh://pi:secret@board")
    assert Address.of("ssh://pi@board:2222/mnt/my disk/") == Address("board", "pi", "2222", "/mnt/my disk")
    assert Address.of("ssh://[fe80::1%eth0]:22") == Address("fe80::1%eth0", None, "22", "")
    assert Address.of("ssh://Board").options() == []
    assert isinstance(runner_for("local"), LocalRunner)


def test_nothing_is_left_on_this_machine(device: Device) -> None:
    with SshRunner(device.address()) as runner:
        folder = runner.connection._folder
        assert (folder / "s").is_socket() and len(str(folder / "s")) < 60
    assert not folder.exists()
    masters = [
        process
        for process in psutil.process_iter(["cmdline"])
        if str(folder) in " ".join(process.info["cmdline"] or ())
    ]
    _, alive = psutil.wait_procs(masters, timeout=30)  # one that has just been told to end may be ending
    assert not alive
    assert getpass.getuser() in device.address()


def test_a_script_is_one_line_for_the_shell_that_the_user_logs_into() -> None:
    connection = SshConnection(Address.of("ssh://board"), "board")
    script = "echo 'a b'\nprintf '%s' \"\\\\n$HOME\"\n"
    try:
        line = connection.shell(script)[-1]
    finally:
        connection.close()
    told = subprocess.run(["sh", "-c", line], env={"HOME": "/me"}, capture_output=True, text=True, check=True)
    assert "\n" not in line and told.stdout == "a b\n\\n/me"
