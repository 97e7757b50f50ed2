"""The steps of README and docs/deploy.md, run word by word, by files of the very names that they use.

Commands of edgeprune run in this process, where training and measuring are cut short; other lines in their
shell. `NOT_RUN` names what does not run, and why.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from edgeprune.cli import main
from edgeprune.config import recipe
from edgeprune.config.targets import resolve_targets
from edgeprune.images import demo
from made_effort import TINY_EFFORT
from made_quick import fast_biases

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "docs" / "deploy.md"]
SHELL = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PYTHON = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NOT_RUN = {
    "make demo": "installs packages and takes minutes",
    "make test": "is what runs this test",
    "edgeprune build --model bccd_yolov8n_320.pt": "made the table of results, in an hour",
}
SHORT = (
    "finetune.epochs=1",
    "finetune.batch=4",
    "quantize.images=4",
    "prune.criterion=l1",
    "prune.activation=keep",
    "quantize.guard=false",  # so few images calibrate badly, and what the guard does then takes minutes
)


def lines_of(page: Path) -> Iterator[str]:
    """Yield the commands of a page's shell blocks, comments left out."""
    for block in SHELL.findall(page.read_text(encoding="utf-8")):
        for line in block.replace("\\\n", " ").splitlines():
            if words := line.partition("    #")[0].strip():
                yield words


def reason(line: str) -> str | None:
    return next((why for begin, why in NOT_RUN.items() if line.startswith(begin)), None)


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one_thread: None) -> Path:
    """Return the working folder of the steps: a trained model, its data and a photograph of it."""
    place = tmp_path / "scratch"
    data = demo.render(place, {"train": 8, "val": 6, "test": 4})
    assert data.name == "data.yaml"
    shutil.copyfile(demo.digits_model(), place / "best.pt")
    shutil.copyfile(place / "images/val/val-0000.jpg", place / "photo.jpg")
    whole = recipe.load_recipe

    def shortened(file: Path | None, assignments: tuple[str, ...] = (), **keys: Any) -> recipe.Recipe:
        return whole(file, (*SHORT, *assignments), **keys)

    monkeypatch.setattr(recipe, "load_recipe", shortened)
    monkeypatch.chdir(place)
    return place


def run(line: str, folder: Path) -> None:
    """Run one line of a page in `folder`, as it stands there."""
    words = shlex.split(line)
    if Path(words[0]).name == "edgeprune":
        ended = CliRunner().invoke(main, words[1:], catch_exceptions=False, obj=TINY_EFFORT)
        assert ended.exit_code == 0, f"{line}\n{ended.output}"
        return
    shell = next((name for name in ("zsh", "fish") if f"{name}_source" in line), "bash")
    if shutil.which(shell):
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        subprocess.run([shell, "-c", line], cwd=folder, env=os.environ | {"PATH": path}, check=True)


def test_the_steps_of_the_readme(scratch: Path) -> None:
    """After the quick start `best/` holds an engine that the scripts of docs/deploy.md run."""
    with fast_biases():
        for line in lines_of(ROOT / "README.md"):
            if reason(line) is None:
                run(line, scratch)
    assert (scratch / "build/report.html").is_file()
    _run_the_script(scratch)


def test_the_steps_of_the_page_on_deployment(scratch: Path) -> None:
    (profile,) = resolve_targets(("x86-ort",))
    if not profile.runs_here:
        pytest.skip("the page's example is for x86-64")
    for line in lines_of(ROOT / "docs/deploy.md"):
        run(line, scratch)
    assert (scratch / "build/best/model-embedded.onnx").is_file()
    _run_the_script(scratch)


def _run_the_script(folder: Path) -> None:
    first, second, detect, _ = PYTHON.findall((ROOT / "docs/deploy.md").read_text(encoding="utf-8"))
    (folder / "deploy.py").write_text(first + second, encoding="utf-8")
    (folder / "detect.py").write_text(detect, encoding="utf-8")
    ended = subprocess.run(
        [sys.executable, "detect.py"], cwd=folder, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout and all(
        re.fullmatch(r"\d 0\.\d+( \d+){4}", line) for line in ended.stdout.splitlines()
    )


def test_what_is_not_run_is_on_a_page_and_has_its_reason() -> None:
    lines = [line for page in PAGES for line in lines_of(page)]
    assert all(any(line.startswith(begin) for line in lines) for begin in NOT_RUN)
    assert sum(reason(line) is None for line in lines) >= 6
