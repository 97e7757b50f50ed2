"""The GitHub Action and the GitLab template: their shell steps are run as the CI systems run them."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
import yaml

from edgeprune.cli.check import command

ROOT = Path(__file__).resolve().parents[1]
ACTION = ROOT / ".github" / "actions" / "edgeprune-check" / "action.yml"
GITLAB = ROOT / ".gitlab" / "edgeprune-check.yml"
# It records its arguments as they came, writes what --report asks for, and ends as it is told to.
STUB = """#!{python}
import json, os, pathlib, sys
pathlib.Path(os.environ["RECORD"]).write_text(json.dumps(sys.argv[1:]))
for word in sys.argv[1:]:
    if word.startswith("--report="):
        name, _, file = word.removeprefix("--report=").partition("=")
        pathlib.Path(file).write_text(f"<{{name}}>\\n")
sys.exit(int(os.environ.get("ENDS", "0")))
"""
# The whole command, with real workers, as few samples as pairs can have and no warm-up to speak of.
SHORT = """#!{python}
from edgeprune.bench.effort import BenchProfile, Effort
from edgeprune.cli import main
block = BenchProfile(blocks=1, min_queries=64, min_seconds=0.02, warmup_s=0.0, warmup_cap_s=0.1)
main(obj=Effort(pairing=block))
"""
NASTY = """a b; touch pwned $(touch pwned) `touch pwned` "q" 'r' \\ * && exit 0"""


@dataclass(frozen=True)
class Stepped:
    """How a step ended, and what it was asked to run."""

    code: int
    stdout: str
    stderr: str
    folder: Path
    record: Path

    @property
    def arguments(self) -> list[str]:
        asked: list[str] = json.loads(self.record.read_text())
        return asked


def _fake(folder: Path, text: str) -> Path:
    folder.mkdir(exist_ok=True)
    program = folder / "edgeprune"
    program.write_text(text.format(python=sys.executable))
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return folder


def _run(command: list[str], env: dict[str, str], folder: Path, text: str) -> Stepped:
    record = folder / "record.json"
    work = folder / "work"
    work.mkdir(exist_ok=True)
    path = f"{_fake(folder / 'bin', text)}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        command,
        env={**os.environ, "PATH": path, "RECORD": str(record), "EDGEPRUNE_CACHE": str(folder)} | env,
        cwd=work,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    return Stepped(done.returncode, done.stdout, done.stderr, work, record)


def _action_step(folder: Path, text: str = STUB, ends: int = 0, **inputs: str) -> Stepped:
    action = yaml.safe_load(ACTION.read_text(encoding="utf-8"))
    (step,) = action["runs"]["steps"]
    values = {name: str(told.get("default", "")) for name, told in action["inputs"].items()}
    values |= {name.replace("_", "-"): value for name, value in inputs.items()}
    env = {
        name: re.sub(r"\$\{\{ inputs\.([\w-]+) \}\}", lambda found: values[found[1]], str(value))
        for name, value in step["env"].items()
    }
    for file in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY"):
        (folder / file).touch()
        env[file] = str(folder / file)
    script = folder / "step.sh"
    script.write_text(step["run"], encoding="utf-8")
    # GitHub's runner: the script is a file, and the shell ends at the first error.
    return _run([step["shell"], "-e", str(script)], env | {"ENDS": str(ends)}, folder, text)


def _gitlab_job(folder: Path, text: str = STUB, ends: int = 0, **variables: str) -> Stepped:
    job = _job()
    env = {name: str(value) for name, value in job["variables"].items()}
    env |= {f"EDGEPRUNE_{name.upper()}": value for name, value in variables.items()}
    # GitLab's runner: the script is evaluated behind a pipe, and the shell ends at the first error.
    runner = 'set -eo pipefail; : | eval "$JOB"; exit 0'
    env |= {"ENDS": str(ends), "JOB": "\n".join(job["script"])}
    return _run(["bash", "-c", runner], env, folder, text)


def _job() -> dict[str, Any]:
    job: dict[str, Any] = yaml.safe_load(GITLAB.read_text(encoding="utf-8"))[".edgeprune-check"]
    return job


both = pytest.mark.parametrize("run", [_action_step, _gitlab_job], ids=["github", "gitlab"])


def _values(arguments: list[str], option: str) -> list[str]:
    return [word.partition("=")[2] for word in arguments if word.startswith(f"--{option}=")]


@both
def test_every_input_reaches_the_command_as_one_word(run: Any, tmp_path: Path) -> None:
    ended = run(
        tmp_path,
        baseline=NASTY,
        candidate="-x",
        target="t\nu",
        device="ssh://a b@c",
        tau="0.1",
        max_drop="0.02",
        budgets=f"fps>=30\n\n{NASTY}\n",
        threads="2",
    )
    assert ended.code == 0, ended.stderr
    assert ended.arguments[0] == "check"
    told = {name: _values(ended.arguments, name) for name in ("baseline", "candidate", "target", "budget")}
    assert told == {
        "baseline": [NASTY],
        "candidate": ["-x"],
        "target": ["t\nu"],
        "budget": ["fps>=30", NASTY],
    }
    assert [_values(ended.arguments, name) for name in ("device", "tau", "max-drop", "threads")] == [
        ["ssh://a b@c"],
        ["0.1"],
        ["0.02"],
        ["2"],
    ]
    assert not list(tmp_path.rglob("pwned"))


@both
def test_what_is_left_empty_is_left_to_the_command(run: Any, tmp_path: Path) -> None:
    ended = run(tmp_path, baseline="a", candidate="b")
    named = {word.partition("=")[0] for word in ended.arguments[1:]}
    assert named == {"--baseline", "--candidate", "--threads", "--report"}
    known = {name for option in command.params for name in option.opts}
    assert named <= known


def test_the_action_interpolates_nothing_into_its_script() -> None:
    (step,) = yaml.safe_load(ACTION.read_text(encoding="utf-8"))["runs"]["steps"]
    assert "${{" not in step["run"]
    assert {f"${{{{ inputs.{name} }}}}" for name in yaml.safe_load(ACTION.read_text())["inputs"]} == set(
        step["env"].values()
    )


@pytest.mark.parametrize(
    ("code", "verdict"),
    [
        (0, "pass"),
        (3, "error"),
        (6, "not-comparable"),
        (7, "budget"),
        (8, "inconclusive"),
        (10, "regression"),
    ],
)
def test_the_action_publishes_the_verdict_and_ends_with_its_code(
    tmp_path: Path, code: int, verdict: str
) -> None:
    ended = _action_step(tmp_path, ends=code, baseline="a", candidate="b")
    assert ended.code == code
    assert (tmp_path / "GITHUB_OUTPUT").read_text() == f"verdict={verdict}\nexit-code={code}\n"
    assert (tmp_path / "GITHUB_STEP_SUMMARY").read_text() == "<markdown>\n"
    assert "<github>" in ended.stdout


def test_an_inconclusive_check_may_be_a_warning_a_regression_may_not(tmp_path: Path) -> None:
    told = {"baseline": "a", "candidate": "b", "inconclusive": "warn"}
    assert _action_step(tmp_path, ends=8, **told).code == 0
    assert _action_step(tmp_path, ends=10, **told).code == 10
    assert "verdict=inconclusive\n" in (tmp_path / "GITHUB_OUTPUT").read_text()


def test_a_report_of_an_earlier_run_is_not_published_again(tmp_path: Path) -> None:
    silent = STUB.replace("for word in sys.argv[1:]:", "for word in []:")
    _action_step(tmp_path, baseline="a", candidate="b", reports="my reports")
    assert (tmp_path / "work" / "my reports" / "edgeprune-check.xml").is_file()
    (tmp_path / "GITHUB_STEP_SUMMARY").unlink()
    ended = _action_step(tmp_path, silent, 6, baseline="a", candidate="b", reports="my reports")
    assert ended.code == 6
    assert (tmp_path / "GITHUB_STEP_SUMMARY").read_text() == ""


def test_gitlab_publishes_what_the_job_writes_and_warns_when_it_is_inconclusive(tmp_path: Path) -> None:
    job = _job()
    ended = _gitlab_job(tmp_path, ends=8, baseline="a", candidate="b")
    assert job["allow_failure"]["exit_codes"] == [ended.code] == [8]
    assert job["artifacts"]["when"] == "always", "a regression's reports are the ones that are read"
    assert (ended.folder / job["artifacts"]["reports"]["junit"]).is_file()


def test_the_examples_on_the_page_use_what_there_is() -> None:
    page = (ROOT / "docs" / "check.md").read_text(encoding="utf-8")
    github, gitlab = map(yaml.safe_load, re.findall(r"^```yaml\n(.*?)^```$", page, re.MULTILINE | re.DOTALL))
    steps = github["jobs"]["gate"]["steps"]
    (gate,) = (step for step in steps if "edgeprune-check" in step["uses"])
    inputs = yaml.safe_load(ACTION.read_text(encoding="utf-8"))["inputs"]
    required = {name for name, told in inputs.items() if told.get("required")}
    assert required <= set(gate["with"]) <= set(inputs)
    upload = steps[-1]
    assert upload["if"] == "always()" and upload["with"]["path"] == inputs["reports"]["default"]
    assert gitlab["gate"]["extends"] == ".edgeprune-check"
    assert set(gitlab["gate"]["variables"]) <= set(_job()["variables"])
    assert set(_job()["artifacts"]["paths"]) == {"edgeprune-reports"}


def test_the_real_command_runs_in_the_step(convnet: Path, tmp_path: Path) -> None:
    ended = _action_step(
        tmp_path, SHORT, baseline=str(convnet), candidate=str(convnet), budgets="p50_ms<=1000"
    )
    # A tiny network on a busy machine may end either way; every way has to be told, and with its reports.
    assert ended.code in {0, 8, 10}, ended.stderr
    suites = ET.parse(ended.folder / "edgeprune-reports" / "edgeprune-check.xml").getroot()
    names = [case.get("name") for case in suites.iter("testcase")]
    assert {"p50 latency", "fps", "p50_ms<=1000", "peak memory"} <= set(names)
    page = (ended.folder / "edgeprune-reports" / "edgeprune-check.md").read_text(encoding="utf-8")
    assert page.startswith("## edgeprune check: ")


def test_the_report_of_a_real_check_that_ends_in_an_error_is_published(convnet: Path, tmp_path: Path) -> None:
    ended = _action_step(
        tmp_path, SHORT, baseline=str(convnet), candidate=str(convnet), device="nowhere", reports="told"
    )
    assert ended.code == 3
    assert "verdict=error\n" in (tmp_path / "GITHUB_OUTPUT").read_text()
    assert (tmp_path / "GITHUB_STEP_SUMMARY").read_text().startswith("## edgeprune check: ❌ error\n")
    assert "::error title=edgeprune check%3A error::--device 'nowhere'" in ended.stdout
    suites = ET.parse(ended.folder / "told" / "edgeprune-check.xml").getroot()
    assert suites.find("testsuite/testcase/error") is not None
