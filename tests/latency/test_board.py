"""The profile of a board: what it says of the device and of its steps, from what a device answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edgeprune.config.targets import load_profile, resolve_targets
from edgeprune.core.errors import DeviceError
from edgeprune.latency.board import board_profile, to_yaml
from edgeprune.latency.profile import MeasuredStep
from edgeprune.runners import Completed

# Made up in the form of `worker.facts`; measured nowhere.
FACTS: dict[str, Any] = {
    "environment": {
        "machine": "aarch64",
        "board": "Made-up Board 7 $(touch pwned)",
        "cpu": "Cortex-A76",
        "cores": 8,
        "affinity": list(range(8)),
        "kernel": "6.6.31",
        "os": "Debian GNU/Linux 12 (bookworm)",
        "load": [0.1, 0.1, 0.1],
        "thermal_c": {},
        "frequency": {f"cpu{core}": {"scaling_governor": "ondemand"} for core in range(8)},
        "capacity": {f"cpu{core}": "1024" if core < 4 else "530" for core in range(8)},
        "kinds": None,
        "memory_kb": {"MemTotal": 8_000_000},
    },
    "versions": {"onnxruntime": "1.32.0", "ncnn": "1.0.20260101"},
}


class Told:
    """A device that answers one thing, whatever it is asked."""

    name, machine, emulated = "told", "aarch64", False

    def __init__(self, facts: Any) -> None:
        self.facts = facts

    def python(self, *needs: str) -> str:
        return "python3"

    def run(self, args: Any, timeout: float, on_line: Any = None) -> Completed:
        return Completed(tuple(args), 0, json.dumps(self.facts), "")


def test_a_profile_says_what_the_board_is_and_which_steps_were_measured(tmp_path: Path) -> None:
    (base,) = resolve_targets(("rpi5",))
    measured = {"fp32": MeasuredStep(None, 0.0), "int8": MeasuredStep(32, 0.3)}
    profile = board_profile(Told(FACTS), base, measured, "tiny.pt, 64 px, 1 thread")  # type: ignore[arg-type]
    path = tmp_path / "mine.yaml"
    path.write_text(to_yaml(profile.model_copy(update={"name": "mine"})), encoding="utf-8")
    read = load_profile(path)
    assert read == profile.model_copy(update={"name": "mine"})
    assert read.description == "Made-up Board 7 $(touch pwned), onnxruntime 1.32.0"
    assert read.cores == "8 x Cortex-A76; by kind or capacity: 4 of 1024, 4 of 530"
    assert (read.memory, read.maker, read.extends, read.aliases) == ("8.2 GB", "Raspberry Pi", None, ())
    assert read.channel_step == {"fp32": base.channel_step["fp32"], "int8": 32}
    first, second, third = read.channel_step_from.split("; ")
    assert first.startswith("int8 measured on 20") and first.endswith("with tiny.pt, 64 px, 1 thread")
    assert second == "fp32 taken from rpi5, not measured"
    assert third == "int8 while other processes took 30% of a core: measure again"
    assert "governor ondemand; runtimes onnxruntime 1.32.0, ncnn 1.0.20260101" in read.notes[0]
    assert set(base.notes) <= set(read.notes)


def test_what_a_device_does_not_tell_stays_out() -> None:
    (base,) = resolve_targets(("arm64-ort",))
    untold = dict.fromkeys(FACTS["environment"]) | {"machine": "aarch64", "cores": 2, "os": "Linux"}
    facts = {"environment": untold, "versions": {}}
    profile = board_profile(Told(facts), base, {}, "")  # type: ignore[arg-type]
    assert (profile.description, profile.cores, profile.memory) == (
        "aarch64, onnxruntime",
        "2 x aarch64",
        "",
    )
    assert profile.channel_step_from == "fp32, int8 taken from arm64-ort, not measured"
    assert "governor not told; runtimes none" in profile.notes[0]


def test_a_device_that_answers_with_garbage_is_named() -> None:
    (base,) = resolve_targets(("arm64-ort",))
    with pytest.raises(DeviceError, match="told: it answered with garbage"):
        board_profile(Told({"environment": 3}), base, {}, "")  # type: ignore[arg-type]
