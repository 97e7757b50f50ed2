"""The command line as a whole: help, mistyped commands, JSON on every command, the module as a program."""

from __future__ import annotations

import functools
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from edgeprune.cli import COMMANDS
from edgeprune.config.targets import DeviceProfile, resolve_targets, target_files
from edgeprune.core.resources import find_bundled
from edgeprune.verify import doctor


def program(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "edgeprune", *args], capture_output=True, text=True, check=False
    )


def test_help_lists_every_command_and_every_exit_code(run: Any) -> None:
    ended = run("--help")
    assert ended.code == 0
    for name in COMMANDS:
        assert re.search(rf"^  {name} ", ended.stdout, re.MULTILINE)
    assert all(re.search(rf"\b{code}\s", ended.stdout) for code in (2, 3, 4, 5, 6, 7, 8, 10, 130))


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_and_each_option(run: Any, command: str) -> None:
    ended = run(command, "-h")
    assert ended.code == 0
    from importlib import import_module

    loaded = import_module(COMMANDS[command][0]).command
    assert loaded.help
    options = [entry for entry in loaded.params if entry.param_type_name == "option"]
    undocumented = [entry.name for entry in options if not entry.help]
    assert set(undocumented) <= {"profile"}  # its choices and default say it all


def test_help_does_not_load_torch() -> None:
    code = (
        "import sys\nfrom edgeprune.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'ultralytics', 'onnx', 'openvino', 'numpy', 'pydantic'} & set(sys.modules)\n"
        "sys.exit(','.join(heavy) or 0)"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")


@pytest.mark.parametrize(("typed", "meant"), [("biuld", "build"), ("doctr", "doctor"), ("target", "targets")])
def test_a_mistyped_command_is_answered_with_the_one_meant(run: Any, typed: str, meant: str) -> None:
    ended = run(typed)
    assert ended.code == 2
    assert f"No such command {typed!r}. (did you mean {meant!r}?)" in ended.errors[-1]


def test_no_command_shows_the_help(run: Any) -> None:
    ended = run()
    assert "Commands:" in ended.stdout + "\n".join(ended.errors)


def test_the_module_runs_as_a_program() -> None:
    ended = program("targets", "--json")
    assert ended.returncode == 0 and ended.stderr == ""
    assert {entry["name"] for entry in json.loads(ended.stdout)} == set(target_files())


def test_an_error_of_the_program_is_one_line_and_its_code(tmp_path: Path) -> None:
    ended = program("report", str(tmp_path))
    assert ended.returncode == 6
    assert (
        ended.stderr
        == f"edgeprune: {tmp_path}/summary.json: no finished build is here: No such file or directory\n"
    )


def test_version_is_that_of_the_package(run: Any) -> None:
    from edgeprune import __version__

    assert run("--version").stdout.strip().endswith(__version__)


def test_targets_lists_every_profile_by_maker_with_its_description(run: Any) -> None:
    for args in (("targets",), ("targets", "list")):
        ended = run(*args)
        assert ended.code == 0
        lines = ended.stdout.splitlines()
        heads = [line for line in lines if not line.startswith(" ")]
        assert {"Any maker", "NVIDIA", "Raspberry Pi"} <= set(heads) and heads[1:] == sorted(heads[1:])
        listed = [line.split()[0] for line in lines if line.startswith("  ")]
        assert sorted(listed) == list(target_files())
    assert lines.index("NVIDIA") < next(index for index, line in enumerate(lines) if "orin-nano" in line)
    assert "NVIDIA Jetson Orin" in ended.stdout and "; also orin, jetson-orin" in ended.stdout
    rows = {row["name"]: row for row in json.loads(run("targets", "--json").stdout)}
    assert rows["rpi5"]["maker"] == "Raspberry Pi" and "pi5" in rows["rpi5"]["aliases"]
    assert rows["rpi5"]["backend"] == "onnxruntime" and rows["rpi5"]["extends"] == "arm64-ort"


def test_targets_show_takes_what_people_call_a_board(run: Any) -> None:
    (orin,) = json.loads(run("targets", "show", "orin", "--json").stdout)
    (pi,) = json.loads(run("targets", "show", "raspberry-pi-5", "--json").stdout)
    assert (orin["name"], pi["name"]) == ("jetson", "rpi5")
    assert "Cortex-A76" in pi["cores"] and pi["sources"] and "not measured" in pi["channel_step_from"]


def test_targets_lists_the_users_own_profiles_and_says_what_is_wrong_with_one(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    folder = tmp_path / "edgeprune" / "targets"
    folder.mkdir(parents=True)
    (folder / "edge-pc.yaml").write_text("description: my edge PC\nbackend: onnx\n")
    ended = run("targets", "--json")
    (own,) = [entry for entry in json.loads(ended.stdout) if entry["own"]]
    assert own["name"] == "edge-pc" and "backend" in own["not_here"]
    shown = run("targets").stdout
    assert "Yours, in" in shown and "edge-pc" in shown.splitlines()[-1]


def test_targets_show_prints_a_profile_that_reads_back(run: Any) -> None:
    (shown,) = json.loads(run("targets", "show", "jetson", "--json").stdout)
    assert DeviceProfile.model_validate(shown) == resolve_targets(("jetson",))[0]
    documents = list(yaml.safe_load_all(run("targets", "show", "cpu").stdout))
    assert [entry["name"] for entry in documents] == [entry.name for entry in resolve_targets(("cpu",))]


def test_a_profile_of_before_is_shown_with_one_warning_of_what_to_write(run: Any, tmp_path: Path) -> None:
    data = yaml.safe_load((find_bundled("targets") / "jetson.yaml").read_text())
    places = {"compile_on": "device", "evaluate_on": "host", "time_on": "device"}
    data = {key: value for key, value in data.items() if key not in places}
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(data | {"built_on": "device"}))
    ended = run("targets", "show", path)
    shown = yaml.safe_load(ended.stdout)
    assert ended.code == 0 and {key: shown[key] for key in places} == places
    assert ended.error == (
        f"edgeprune: warning: {path}: in place of `built_on: device` write `compile_on: device`, "
        "`evaluate_on: host`, `time_on: device`"
    )


def test_an_unknown_target_is_refused(run: Any) -> None:
    ended = run("targets", "show", "x86-otr")
    assert ended.code == 3
    assert "(did you mean 'x86-ort'?)" in ended.error


def test_doctor_says_the_same_to_people_and_machines(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "diagnose", functools.cache(doctor.diagnose))  # runs a model in each runtime
    ended = run("doctor", "--json")
    diagnosis = json.loads(ended.stdout)
    assert ended.code == (0 if diagnosis["ok"] else 5)
    shown = run("doctor").stdout
    for check in (*diagnosis["system"], *diagnosis["packages"], *diagnosis["runtimes"]):
        assert check["name"] in shown
    assert {entry["name"] for entry in diagnosis["runtimes"]} == {
        "onnxruntime",
        "openvino",
        "tensorrt",
        "ncnn",
        "litert",
        "executorch",
        "qnn",
        "rknn",
    }


def test_doctor_fails_when_a_needed_package_does(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = doctor.Check("onnx", "fail", "not installed", "pip install onnx")
    monkeypatch.setattr(doctor, "check_packages", lambda: (broken,))
    monkeypatch.setattr(doctor, "check_runtime", lambda name: doctor.Check(name, "ok", "works"))
    monkeypatch.setattr(doctor, "check_prover", lambda prover: doctor.Check("tensorrt-rtx", "ok", "works"))
    ended = run("doctor")
    assert ended.code == 5
    assert re.search(r"FAIL +onnx +not installed\n +-> pip install onnx", ended.stdout)


def test_report_rewrites_both_pages_of_a_build(run: Any, built: Any) -> None:
    for name in ("report.html", "report.md"):
        (built.out / name).unlink()
    written = json.loads(run("report", built.out, "--json").stdout)
    assert [Path(path).name for path in written.values()] == ["report.html", "report.md"]
    assert all(Path(path).stat().st_size > 1000 for path in written.values())
    assert run("report", built.out).stdout.split() == list(written.values())


def test_a_report_of_a_folder_that_is_no_build_ends_with_6(run: Any, tmp_path: Path) -> None:
    assert run("report", tmp_path / "gone").code == 6
    (tmp_path / "summary.json").write_text("{}")
    ended = run("report", tmp_path)
    assert ended.code == 6 and "not a summary of schema version" in ended.error
    assert [path.name for path in tmp_path.iterdir()] == ["summary.json"]
