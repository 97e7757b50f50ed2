"""`bench --device`: what is refused before anything is measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sshd import Device


def test_a_target_of_another_architecture_is_refused(run: Any, device: Device, convnet: Path) -> None:
    ended = run("bench", convnet, "--device", device.address(), "--target", "android-ort")
    assert ended.code == 3 and "this target is not the device" in ended.error


def test_a_device_that_cannot_be_reached(run: Any, device: Device, convnet: Path) -> None:
    ended = run("bench", convnet, "--device", device.address(port=1))
    assert ended.code == 4 and "cannot be reached" in ended.error
    ended = run("bench", convnet, "--device", "tape://reel")
    assert ended.code == 3 and "there are local and ssh://" in ended.error
