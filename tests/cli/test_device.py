"""`bench --device` and `device setup`: what is refused before anything is measured."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from edgeprune.core.errors import DeviceError
from edgeprune.runners.devices import remote_runner_for
from edgeprune.runners.remote import unasked
from edgeprune.runners.runtimes import install
from sshd import Device


def test_a_target_of_another_architecture_is_refused(run: Any, device: Device, convnet: Path) -> None:
    ended = run("bench", convnet, "--device", device.address(), "--target", "android-ort")
    assert ended.code == 3 and "this target is not the device" in ended.error


def test_a_device_that_cannot_be_reached(run: Any, device: Device, convnet: Path) -> None:
    ended = run("bench", convnet, "--device", device.address(port=1))
    assert ended.code == 4 and "cannot be reached" in ended.error
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


def test_a_python_that_is_too_old_is_told_before_anything_is_installed(device: Device) -> None:
    with remote_runner_for(device.address()) as runner:
        assert runner.version == sys.version_info[:2]
        runner.version = (3, 8)
        with pytest.raises(DeviceError, match=r"its python3 is 3\.8: install Python 3\.10 or newer there"):
            install("onnxruntime", runner, print)
    assert not (device.cache / "venv").exists()
