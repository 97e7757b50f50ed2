"""Artifacts and the store: content decides; what a kill, a full disk or a flipped byte left is made again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeprune.core import artifact
from edgeprune.core.artifact import MANIFEST, Artifact, Store, content_key, digest
from edgeprune.core.errors import OutputError

INPUTS = {"model": "abc", "ratio": 0.3}


def _make(folder: Path) -> None:
    (folder / "model.xml").write_text("<net/>")
    (folder / "deep").mkdir()
    (folder / "deep" / "model.bin").write_bytes(bytes(range(256)))


def _never(folder: Path) -> None:
    raise AssertionError(f"{folder}: a whole stage must not be made again")


def _content(folder: Path) -> dict[str, bytes]:
    """Every file but the manifests, which tell how long a stage took."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST)
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


# Artifacts


def test_an_artifact_knows_its_content(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"12345")
    artifact = Artifact.of(path, "onnx", "fp32", parent="p")
    assert artifact.size_bytes == 5
    assert artifact.sha256 == "5994471abb01112afcc18159f6cc74b4f511b99806da59b3caf5a9c173cacfc5"
    assert (artifact.path, artifact.parent, artifact.built) == (path, "p", None)


def test_a_folder_counts_every_file(tmp_path: Path) -> None:
    _make(tmp_path)
    assert Artifact.of(tmp_path, "engine", "int8").size_bytes == 6 + 256


files = st.dictionaries(st.text("abc", min_size=1, max_size=3), st.binary(max_size=20), max_size=5)


@given(files, files)
def test_folders_have_one_digest_exactly_when_their_files_are_equal(
    tmp_path_factory: pytest.TempPathFactory, one: dict[str, bytes], other: dict[str, bytes]
) -> None:
    def digest_of(content: dict[str, bytes]) -> str:
        folder = tmp_path_factory.mktemp("content")
        for name, data in content.items():
            (folder / name).write_bytes(data)
        return digest(folder)

    assert (digest_of(one) == digest_of(other)) == (one == other)
    assert digest_of(one) == digest_of(dict(reversed(one.items())))


json_like = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)
inputs = st.dictionaries(st.text(max_size=6), json_like, max_size=4)


@given(inputs, inputs)
def test_a_key_stands_for_its_inputs_in_any_order(one: dict[str, object], other: dict[str, object]) -> None:
    assert content_key(one) == content_key(dict(reversed(one.items())))
    if json.dumps(one, sort_keys=True) != json.dumps(other, sort_keys=True):
        assert content_key(one) != content_key(other)


# The store


def test_a_stage_is_made_once(tmp_path: Path) -> None:
    store = Store(tmp_path)
    place = store.stage("export", INPUTS, _make)
    assert store.reused == []
    assert _content(place).keys() == {"model.xml", "deep/model.bin"} and (place / MANIFEST).is_file()
    assert store.stage("export", dict(reversed(INPUTS.items())), _never) == place
    assert store.reused == ["export"]
    assert Store(tmp_path).find("export", INPUTS) == place


def test_what_is_reused_takes_as_long_as_when_it_was_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moment = SimpleNamespace(s=100.0)
    monkeypatch.setattr(artifact, "time", SimpleNamespace(monotonic=lambda: moment.s))

    def make(folder: Path) -> None:
        moment.s += 40.0
        _make(folder)

    first = Store(tmp_path)
    first.stage("export", INPUTS, make)
    first.stage("export", INPUTS, _never)  # it is in the time already
    assert first.now() == 140.0
    later = Store(tmp_path)
    assert later.now() == 140.0
    for _ in range(2):
        later.stage("export", INPUTS, _never)
        assert later.now() == 180.0


def test_other_inputs_or_another_name_are_another_stage(tmp_path: Path) -> None:
    store = Store(tmp_path)
    places = {
        store.stage("export", INPUTS, _make),
        store.stage("export", INPUTS | {"ratio": 0.4}, _make),
        store.stage("prune", INPUTS, _make),
    }
    assert len(places) == 3
    assert store.reused == []


def test_a_stage_can_be_read_by_others(tmp_path: Path) -> None:
    assert Store(tmp_path).stage("export", INPUTS, _make).stat().st_mode & 0o777 == 0o755


def _flip(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


DAMAGES = {
    "flipped byte": lambda place: _flip(place / "deep" / "model.bin"),
    "truncated file": lambda place: (place / "model.xml").write_text("<ne"),
    "missing file": lambda place: (place / "model.xml").unlink(),
    "missing manifest": lambda place: (place / MANIFEST).unlink(),
    "half manifest": lambda place: (place / MANIFEST).write_text((place / MANIFEST).read_text()[:-20]),
    "empty manifest": lambda place: (place / MANIFEST).write_text(""),
    "manifest of another shape": lambda place: (place / MANIFEST).write_text("[1, 2]"),
    "manifest without files": lambda place: (place / MANIFEST).write_text('{"files": 3}'),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_stage_is_made_again(tmp_path: Path, damage: str) -> None:
    store = Store(tmp_path)
    place = store.stage("export", INPUTS, _make)
    whole = _content(place)
    DAMAGES[damage](place)
    assert store.find("export", INPUTS) is None
    assert store.stage("export", INPUTS, _make) == place
    assert _content(place) == whole


@pytest.mark.parametrize("error", [ValueError("bad graph"), KeyboardInterrupt()])
def test_a_stage_that_fails_leaves_nothing(tmp_path: Path, error: BaseException) -> None:
    def fail(folder: Path) -> None:
        _make(folder)
        raise error

    store = Store(tmp_path)
    with pytest.raises(type(error)):
        store.stage("export", INPUTS, fail)
    assert list(tmp_path.iterdir()) == []


# Builds that are killed, in processes of their own

BUILD = """
import os, signal, sys
from pathlib import Path
from edgeprune.core import artifact

def die(*args, **kwargs):
    os.kill(os.getpid(), signal.SIGKILL)

def make(folder):
    (folder / "weights.bin").write_bytes(b"x" * 1000)

def make_half(folder):
    make(folder)
    if when == "making":
        die()
    if when == "writing the manifest":
        os.fsync = die
    if when == "renaming":
        Path.rename = die

root, when = Path(sys.argv[1]), sys.argv[2]
store = artifact.Store(root)
with store.locked():
    store.stage("first", {"n": 1}, make)
    store.stage("second", {"n": 2}, make_half)
"""


@pytest.mark.parametrize("when", ["making", "writing the manifest", "renaming"])
def test_kill_9_loses_only_the_running_stage(tmp_path: Path, when: str) -> None:
    done = subprocess.run([sys.executable, "-c", BUILD, str(tmp_path), when], check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL
    assert list(tmp_path.glob(".partial-second-*")), "the process was to die in the middle of the stage"

    store = Store(tmp_path)
    with store.locked():
        assert not list(tmp_path.glob(".partial-*"))
        assert store.find("second", {"n": 2}) is None
        store.stage("first", {"n": 1}, _never)
        second = store.stage("second", {"n": 2}, _make)
    assert store.reused == ["first"]
    assert store.find("second", {"n": 2}) == second


HOLD = """
import sys
from pathlib import Path
from edgeprune.core.artifact import Store
with Store(Path(sys.argv[1])).locked():
    print("locked", flush=True)
    sys.stdin.read()
"""


def test_two_builds_in_one_folder_are_refused_until_the_first_is_gone(tmp_path: Path) -> None:
    args = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(args, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == b"locked\n"
        with pytest.raises(OutputError, match="another edgeprune build is at work"), Store(tmp_path).locked():
            raise AssertionError("two builds hold the folder")
        first.kill()
    with Store(tmp_path).locked():
        assert tmp_path.is_dir()


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for root in (tmp_path / "file", tmp_path / "file" / "out", Path("/proc/edgeprune")):
        with pytest.raises(OutputError, match="cannot be written"), Store(root).locked():
            raise AssertionError(f"{root} cannot be a build folder")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB; only root can mount one."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small disk needs root")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk_leaves_no_half_stage(small_disk: Path) -> None:
    def make(size: int, folder: Path) -> None:
        (folder / "weights.bin").write_bytes(b"x" * size)

    store = Store(small_disk)
    with store.locked():
        first = store.stage("first", {}, lambda folder: make(1000, folder))
        with pytest.raises(OSError, match="No space left"):
            store.stage("second", {}, lambda folder: make(10**6, folder))
        assert store.find("second", {}) is None
        assert {path.name for path in small_disk.iterdir()} == {".lock", first.name}
        store.stage("first", {}, _never)
        store.stage("second", {}, lambda folder: make(1000, folder))
