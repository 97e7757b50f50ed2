"""`edgeprune report` of several paths: a build here, its engines measured on a device, one page of both."""

from __future__ import annotations

import json
import platform
from pathlib import Path
from typing import Any

import pytest

from made_builds import write_build
from sshd import Device

OWN = "arm64-ort" if platform.machine() == "aarch64" else "x86-ort"


def test_a_build_and_its_engines_on_a_device_are_one_page(
    run: Any, device: Device, convnet: Path, tmp_path: Path
) -> None:
    build, results, db = (
        write_build(tmp_path / "build", {OWN: {"fp32": convnet}}),
        tmp_path / "r",
        tmp_path / "h.db",
    )
    measured = run("bench", build, "--device", device.address(), "--out", results, "--history", db)
    assert measured.code == 0, measured.errors
    before = sorted(path for path in build.rglob("*"))
    ended = run("report", build, results, "--history", db, "--out", tmp_path / "page", "--json")
    assert ended.code == 0 and ended.errors == []
    written = json.loads(ended.stdout)
    assert sorted(Path(path).name for path in written.values()) == ["devices.html", "devices.md"]
    text = Path(written["markdown"]).read_text(encoding="utf-8").replace("\\", "")
    latency = text.partition("**Latency, p50 in ms**")[2].splitlines()
    lines = [line.split("|") for line in latency if line.startswith("| ") and "127.0.0.1" in line]
    ms, *unfit = lines[0][4].split()  # beside the build's own row, in its column
    assert float(ms) > 0
    fastest = "of the rows that the build allows original fp32 is the fastest here"
    again = "each run there of a row that its build allows was unfit: measure again"
    assert (again if unfit else fastest) in text  # a busy machine's run is not recommended
    assert "p50 latency of" in Path(written["html"]).read_text(encoding="utf-8")
    assert sorted(path for path in build.rglob("*")) == before  # nothing is written into what it reads
    said = run("report", build, results, "--out", tmp_path / "page").stdout
    assert said.endswith("devices.md\n")
    assert unfit or "the fastest that its build allows" in said


def test_one_build_can_be_reported_into_another_folder(run: Any, convnet: Path, tmp_path: Path) -> None:
    build = write_build(tmp_path / "build", {OWN: {"fp32": convnet}})
    ended = run("report", build, "--out", tmp_path / "page", "--json")
    assert ended.code == 0, ended.errors
    assert set(json.loads(ended.stdout).values()) == {
        str(tmp_path / "page" / name) for name in ("report.html", "report.md")
    }
    assert not (build / "report.html").exists()
    assert run("report", build / "summary.json", "--out", tmp_path / "again").code == 0
    assert (tmp_path / "again" / "report.html").exists()  # a summary stands for its build


@pytest.mark.parametrize(
    ("paths", "code", "says"),
    [
        ((), 2, "Missing argument"),
        (("build", "build"), 3, "build: it is given twice"),
        (("build", "../in/build"), 3, "it is given twice, also as build"),
        (("build", "empty"), 6, "empty: neither a finished build nor a result of bench is here"),
        (("build", "gone"), 6, "gone: neither a finished build nor a result of bench is here"),
        (("build", "torn.json"), 3, "torn.json: "),
        (("build", "half"), 6, "half: its build has not finished; the same command goes on with it"),
    ],
)
def test_what_is_no_build_and_no_result_is_one_line(
    run: Any, convnet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, paths: Any, code: int, says: str
) -> None:
    place = tmp_path / "in"
    write_build(place / "build", {OWN: {"fp32": convnet}})
    (place / "empty").mkdir()
    (place / "torn.json").write_text("{")
    (place / "half" / "stages").mkdir(parents=True)
    (place / "half" / "stages" / ".data-index.json").write_text('"3f"')
    monkeypatch.chdir(place)
    ended = run("report", *paths, "--out", tmp_path / "page")
    assert ended.code == code and says in ended.error
    assert not (tmp_path / "page").exists()


def test_the_page_of_several_needs_a_folder(run: Any, convnet: Path, tmp_path: Path) -> None:
    builds = [write_build(tmp_path / name, {OWN: {"fp32": convnet}}) for name in ("a", "b")]
    ended = run("report", *builds)
    assert (
        ended.code == 2
        and "the page of several devices needs a folder of its own: --out FOLDER" in ended.error
    )
