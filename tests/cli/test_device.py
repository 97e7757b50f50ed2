"""`bench --device` and `device setup`: what is refused before anything is measured."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from edgeprune.bench.testbed import suits, why_unsuited
from edgeprune.config.targets import load_profile, resolve_targets
from edgeprune.core.errors import DeviceError
from edgeprune.latency.staircase import STEPS
from edgeprune.runners import Completed
from edgeprune.runners.devices import remote_runner_for
from edgeprune.runners.remote import unasked
from edgeprune.runners.runtimes import install
from sshd import Device

OWN = "arm64-ort" if platform.machine() == "aarch64" else "x86-ort"


def test_a_target_of_another_architecture_is_refused(run: Any, device: Device, convnet: Path) -> None:
    ended = run("bench", convnet, "--device", device.address(), "--target", "android-ort")
    assert ended.code == 3 and "this target is not the device, which is" in ended.error


def test_a_target_of_an_app_is_said_to_be_one_and_what_runs_there_is_named() -> None:
    (profile,) = resolve_targets(("snapdragon-8gen3",))
    assert not suits(profile, "aarch64")
    assert why_unsuited(profile, "adb://x", "aarch64").endswith(
        "--target android-ort is measured there, on the CPU"
    )
    (named,) = resolve_targets(("android-ort",))
    assert suits(named, "aarch64")


def test_a_device_that_cannot_be_reached(run: Any, device: Device, convnet: Path) -> None:
    far = device.address(port=1)
    for words in (("bench", convnet, "--device", far), ("device", "setup", far), ("device", "remove", far)):
        ended = run(*words)
        assert ended.code == 4 and "cannot be reached: " in ended.error
        assert "more tries" not in ended.error  # a device that never answered is not waited for
    ended = run("bench", convnet, "--device", "tape://reel")
    assert ended.code == 3 and "there are local and ssh://" in ended.error


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_setup_without_a_target_installs_what_its_advice_counts_on(machine: str) -> None:
    assert unasked(machine) == {"onnxruntime", "openvino"}


# `python3 -m venv` on the device makes an interpreter whose runtime misses a library.
BROKEN = r"""
for last; do :; done
mkdir -p "$last/bin"
cat > "$last/bin/python" <<'END'
#!/bin/sh
case "$*" in *pip*) exit;; esac
echo "ImportError: libGL.so.1: cannot open shared object file" >&2; exit 1
END
chmod +x "$last/bin/python"; exit
"""


def test_what_pip_installed_and_does_not_load_is_told_and_not_advised_again(
    run: Any, device: Device, convnet: Path
) -> None:
    device.python_is(f'case "$*" in *"-m venv"*) {BROKEN};; esac; exec "{sys.executable}" -S "$@"')
    try:
        ended = run("device", "setup", device.address(), "--target", "x86-ort")
        assert ended.code == 4 and "ImportError: libGL.so.1" in ended.errors[-1]
        assert ended.errors[-1].endswith("installed numpy, onnxruntime there, but onnxruntime does not load")
        # What keeps the environment from measuring is told, not what the device's own Python lacks.
        ended = run("bench", convnet, "--device", device.address())
        assert ended.code == 4 and "venv/bin/python: ImportError: libGL.so.1" in ended.error
    finally:
        shutil.rmtree(device.cache / "venv")


def test_a_folder_that_nothing_can_be_written_into_says_what_to_do(run: Any, device: Device) -> None:
    file = device.folder / "log"
    ended = run("device", "setup", device.address(file))
    assert ended.code == 4
    assert ended.error.endswith(f"{file}: File exists: name another folder in the address")


class WithoutVenv:
    """A device whose Python makes no environment; it tells whether it has ensurepip, and its free bytes."""

    name, root, version = "ssh://pi", "/cache", (3, 11)

    def __init__(self, told: str) -> None:
        self.told = told

    def run(self, args: Sequence[str], timeout: float) -> Completed:
        if "venv" in args:
            raise DeviceError("ssh://pi: python3 -m venv /cache/venv: exited with code 1")
        return Completed(tuple(args), 0, self.told, "")


@pytest.mark.parametrize(
    ("told", "says"),
    [
        ("False 900000000", "; on Debian what it lacks is in the package python3-venv"),
        ("True 5000000", "; 5 MB are free in /cache: make room, or name another folder in the address"),
        ("True 900000000", ""),
        ("garbage", ""),
    ],
)
def test_why_no_environment_could_be_made_is_what_the_device_tells(told: str, says: str) -> None:
    with pytest.raises(DeviceError) as failed:
        install("onnxruntime", WithoutVenv(told), print)  # type: ignore[arg-type]
    assert str(failed.value) == f"ssh://pi: python3 -m venv /cache/venv: exited with code 1{says}"


def test_a_python_that_is_too_old_is_told_before_anything_is_installed(device: Device) -> None:
    with remote_runner_for(device.address()) as runner:
        assert runner.version == sys.version_info[:2]
        runner.version = (3, 8)
        with pytest.raises(DeviceError, match=r"its python3 is 3\.8: install Python 3\.10 or newer there"):
            install("onnxruntime", runner, print)
    assert not (device.cache / "venv").exists()


def test_a_profile_of_a_board_is_written_with_the_step_that_was_measured_there(
    run: Any, device: Device, checkpoints: dict[str, Path], tmp_path: Path, elsewhere: None
) -> None:
    kind, out = tmp_path / "kind.yaml", tmp_path / "board.yaml"
    kind.write_text(
        f"description: one precision\nextends: {OWN}\nprecisions: [fp32]\nship: fp32\n"
        "channel_step: {fp32: 24}\n"
    )
    ended = run(
        *("device", "profile", device.address(), "--model", checkpoints["yolov8n"], "--target", kind),
        *("--out", out),
    )
    assert ended.code == 0, (ended.errors, ended.exception)
    profile = load_profile(out)
    assert profile.channel_step["fp32"] in STEPS and profile.precisions == ("fp32",)
    said, place = ended.stdout.splitlines()
    assert said == f"fp32: channel step {profile.channel_step['fp32']} (kind says 24)"
    assert place == f"profile: {out}"
    assert profile.channel_step_from.startswith("fp32 measured on ")
    assert profile.cores.startswith(f"{os.cpu_count()} x ") and profile.memory.endswith(" GB")
    assert "onnxruntime" in profile.notes[0] and "governor" in profile.notes[0]
    assert device.address() not in out.read_text() and "127.0.0.1" not in out.read_text()
    assert run("targets", "show", out).code == 0


@pytest.mark.parametrize(
    ("options", "code", "says"),
    [
        (("local", "--out", "board.txt"), 3, "board.txt: a profile is a .yaml file"),
        (("emulated://aarch64", "--out", "b.yaml"), 3, "nothing is timed or set up on an emulated device"),
        (("local", "--target", "jetson", "--out", "b.yaml"), 5, "jetson: this target is not this machine"),
        (("local", "--target", "rpi6", "--out", "b.yaml"), 3, "unknown target 'rpi6': a Raspberry Pi"),
        (("ssh://x@127.0.0.1:1", "--out", "b.yaml"), 4, "cannot be reached"),
    ],
)
def test_a_profile_that_cannot_be_made_is_one_line(
    run: Any, checkpoints: dict[str, Path], options: tuple[str, ...], code: int, says: str
) -> None:
    ended = run("device", "profile", *options, "--model", checkpoints["yolov8n"])
    assert ended.code == code and says in ended.error


@pytest.mark.parametrize("command", [("device", "profile", "local"), ("profile",)])
def test_the_profile_that_is_read_is_not_replaced(
    run: Any, checkpoints: dict[str, Path], tmp_path: Path, command: tuple[str, ...]
) -> None:
    file = tmp_path / "kind.yaml"
    file.write_text(f"description: x\nextends: {OWN}\n")
    ended = run(*command, "--model", checkpoints["yolov8n"], "--target", file, "--out", file)
    assert ended.code == 3 and ended.error.endswith("the command reads this file, so name another")
    assert file.read_text().startswith("description: x")
