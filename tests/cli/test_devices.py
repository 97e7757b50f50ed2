"""Several devices at once, devices by name, partial results, and what `edgeprune devices` tells."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from edgeprune.records.bench_result import load_result
from edgeprune.runners import known
from edgeprune.runners.local import LocalRunner
from made_effort import quick
from sshd import Device


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the working folder, with no devices of the user's own."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_two_devices_at_once_give_results_by_device(
    run: Any, device: Device, convnet: Path, folder: Path
) -> None:
    (folder / "devices.yaml").write_text(f"board:\n  address: {device.address()}\n  target: x86-ort\n")
    ended = run("bench", convnet, "--device", "local", "--device", "board", "--out", "out", "--json")
    assert ended.code == 0 and ended.errors == []
    assert [result["device"] for result in json.loads(ended.stdout)] == ["local", "board"]
    for name in ("local", "board"):
        result = load_result(folder / "out" / name / f"{convnet.name}.json")
        assert result.device == name and len(result.blocks[0].samples_ns) >= 60


def test_a_device_that_fails_does_not_lose_the_others_results(run: Any, convnet: Path, folder: Path) -> None:
    ended = run(
        "bench", convnet, "--device", "ssh://nobody@127.0.0.1:1", "--device", "local",
        "--history", "h.sqlite", "--out", "out",
    )  # fmt: skip
    assert ended.code == 4
    assert ended.error.startswith("edgeprune: ssh://nobody@127.0.0.1:1: cannot be reached")
    assert load_result(folder / "out" / "local" / f"{convnet.name}.json").device == "local"
    assert not (folder / "out" / "ssh---nobody-127.0.0.1-1").exists()
    assert "local" in ended.stdout and convnet.name in ended.stdout
    assert len(json.loads(run("history", "show", "--json", "--db", "h.sqlite").stdout)) == 1


def test_what_is_wrong_on_all_devices_is_said_once(run: Any) -> None:
    ended = run("bench", "missing.onnx", "--device", "local", "--device", "replay://x/y")
    assert ended.code == 4 and ended.error.count("missing.onnx: ") == 1


def test_a_result_that_broke_off_is_kept_marked_and_named(
    run: Any, convnet: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, runs = LocalRunner.run, iter(range(99))

    def dies_third(self: LocalRunner, args: Any, timeout: float, on_line: Any = None) -> Any:
        if "edgeprune.worker.benchmark" in args and next(runs) == 2:
            args = (sys.executable, "-c", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
        return real(self, args, timeout, on_line)

    monkeypatch.setattr(LocalRunner, "run", dies_third)
    ended = run("bench", convnet, "--out", "out", "--history", "h.sqlite", effort=quick(blocks=3))
    assert ended.code == 4 and "killed by SIGKILL (out of memory?)" in ended.error
    kept = Path("out") / f"{convnet.name}.json"
    assert ended.error.endswith(f"what was finished is kept, marked incomplete: {kept}")
    result = load_result(folder / kept)
    assert len(result.blocks) == 2 and not result.valid
    assert "incomplete: 2 of 3 processes had finished" in " ".join(ended.stdout.split())
    assert json.loads(run("history", "show", "--json", "--db", "h.sqlite").stdout) == []


def test_a_bench_is_recorded_and_replayed(run: Any, convnet: Path, folder: Path) -> None:
    first = run("bench", convnet, "--record", "recorded", "--history", "h.sqlite", "--json")
    again = run("bench", convnet, "--device", "replay://recorded", "--history", "h.sqlite", "--json")
    assert first.code == again.code == 0
    (one,), (other,) = json.loads(first.stdout), json.loads(again.stdout)
    assert other["blocks"] == one["blocks"] and other["device"] == "local" and other["replayed"]
    (entry,) = json.loads(run("history", "show", "--json", "--db", "h.sqlite").stdout)  # one run, not two
    assert entry["started_utc"] == one["started_utc"]


def test_devices_tells_what_is_there_and_what_is_not(run: Any, device: Device, folder: Path) -> None:
    (folder / "config" / "edgeprune").mkdir(parents=True)
    listed = f"board: {{address: '{device.address()}', target: x86-ort}}\nlost: {{address: 'ssh://x@127.0.0.1:1'}}\n"
    (folder / "config" / "edgeprune" / known.FILE).write_text(listed)
    ended = run("devices", "--json")
    assert ended.code == 0 and ended.errors == []
    seen = {one["name"]: one for one in json.loads(ended.stdout)}
    assert set(seen) >= {"local", "board", "lost"}
    for name in ("local", "board"):
        state = seen[name]["state"]
        assert seen[name]["reachable"] and state["cores"] >= 1 and "onnxruntime" in state["runtimes"]
    assert seen["board"]["target"] == "x86-ort"
    assert not seen["lost"]["reachable"] and "cannot be reached" in seen["lost"]["error"]
    shown = run("devices").stdout
    assert (
        f"board ({device.address()}): " in shown
        and "lost (ssh://x@127.0.0.1:1): cannot be reached: " in shown
    )


def test_an_emulated_architecture_is_listed_once_the_cache_holds_it(
    run: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEPRUNE_CACHE", str(folder / "cache"))
    assert "emulated" not in run("devices").stdout
    made = {"debian-0": {"packages": {}}, "numpy-0": {"wheels": ["numpy==2.2.6"]}}
    for name, facts in (made | {"ncnn-0": {"wheels": ["ncnn==1.0"]}}).items():
        place = folder / "cache" / "emulated" / "aarch64" / name
        place.mkdir(parents=True)
        (place / "complete.json").write_text(json.dumps(facts))
    seen = json.loads(run("devices", "--json").stdout)[-1]
    assert seen["address"] == "emulated://aarch64" and seen["state"]["runtimes"] == {"ncnn": "1.0"}
    assert "emulated: never timed, aarch64" in run("devices").stdout


def test_a_device_without_numpy_is_reachable_and_says_what_it_lacks(run: Any, device: Device) -> None:
    device.python_is(f'exec "{sys.executable}" -S "$@"')
    ended = run("devices", "--json", "--device", device.address())
    (seen,) = (one for one in json.loads(ended.stdout) if one["address"] == device.address())
    assert seen["reachable"] and "edgeprune device setup" in seen["error"] and seen["state"]["cores"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("- a\n", "a mapping of keys to values is expected"),
        ("pi: ssh://pi@board\n", "pi: a name with its address and target is expected"),
        ("pi: {address: 'ssh://pi', traget: cpu}\n", "pi: unknown key 'traget' (did you mean 'target'?)"),
        ("pi: {address: 'ftp://pi'}\n", "pi: --device 'ftp://pi'"),
        ("pi: {address: 'ssh://pi', target: jetsn}\n", "unknown target 'jetsn'"),
        ("local: {address: 'ssh://pi'}\n", "local: a name with its address"),
    ],
)
def test_a_wrong_devices_file_is_one_line(run: Any, folder: Path, text: str, says: str) -> None:
    (folder / "devices.yaml").write_text(text)
    ended = run("devices")
    assert ended.code == 3 and "devices.yaml: " in ended.error and says in ended.error


def test_a_name_that_is_not_known_is_answered_with_the_one_meant(
    run: Any, folder: Path, convnet: Path
) -> None:
    (folder / "devices.yaml").write_text("board: {address: 'ssh://pi@board'}\n")
    ended = run("bench", convnet, "--device", "bord")
    assert ended.code == 3 and "(did you mean 'board'?)" in ended.error
