"""`bench --device`: what is refused before anything is measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgeprune.device import resolve_targets
from edgeprune.runners.remote import UNASKED
from edgeprune.runners.runtimes import RUNTIMES
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
    backends = {profile.backend for profile in resolve_targets(("cpu",), machine)}
    assert {RUNTIMES[backend].module for backend in backends} == set(UNASKED)
