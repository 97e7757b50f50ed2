"""What a hostile user types and what lies at the paths: values of options, documents, a place to run in."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from hypothesis import strategies as st

from edgeprune.cli import COMMANDS
from edgeprune.config.recipe import Recipe
from edgeprune.config.targets import target_files
from made_summaries import a_summary

WRITTEN = {"out", "record", "plot", "db", "history", "storage", "reports"}
"""Options that name what a command writes."""

DEEP = "[" * 5000
TEXTS = (
    "", " ", "-", "--", "-1", "~", "..", "/", "%s%n", "{0}", "$(touch proof)", "; touch proof", "a" * 5000,
    "\0", "a\0b", "\udcff", "\ud800", "\x1b[2J", "a\nb", "\r", "é́", "٣", "１２", "nan", "1e999", "None",
    "true", "__import__('os')", "ssh://", "ssh://-oProxyCommand=touch", "ssh://h:99999", "ssh://u@h:x",
    "adb://", "adb://-x", "replay://", "replay:///dev/zero", "emulated://vax", "emulated://", "http://x",
    "file:///etc/passwd", "local:1", "cpu", "rpi5", "x86-ort", "jetson", "/dev/zero.yaml", "prune.ratio=",
    "=", "=1", "imgsz=2001-99-99", "imgsz=!!python/name:os.system", "prune=1", "prune.ratio.x=1",
    f"prune.skip={DEEP}", "imgsz=&a [*a]", "seed=99999999999999999999", "finetune.device=x;y", "fps>=",
    "fps>=1e999", "p50_ms<=nan", "top1>=2", "json=", "=file", "table=\0", "bogus=x", "fps=>30",
)  # fmt: skip
NUMBERS = (
    "0", "-1", "1e308", "-1e308", "1e-300", "nan", "inf", "-inf", "1e999", "0x10", "1_0", "", "9" * 5000,
    "10000000", "100000", "1.5", "-0", "+5", "1,5", "30", "64",
)  # fmt: skip
URLS = (
    "postgresql://127.0.0.1:1/x",
    "postgresql://u:secret@127.0.0.1:1/x?password=hidden",
    "sqlite://",
    "nosuch://x",
    "mysql://x/y",
    "sqlite:////dev/zero",
    "://",
    "a://b://c",
    "postgresql://[",
    "sqlite:///\0",
)
DOCUMENTS = (
    b"", b"\0", b"\xff\xfe", b"{", b"[]", b"null", b"[1, 2]", b"1e999", b"NaN", DEEP.encode(),
    b'{"a":' * 3000, b"a: &a [*a]", b"imgsz: 2001-99-99", b"!!python/object/apply:os.system [touch proof]",
    b"a: 1\na: 2", b"? [a]\n: b", b"'", b"%YAML 9.9", b"\t- x", b"a: " + b"9" * 5000, b"\xef\xbb\xbf{}",
    "a: \ud83d".encode("utf-8", "surrogatepass"), b"7767517\n1 1\nInput in0 0 1 in0",
    b"7767517\n999999999 1\n", b"<net><layers/></net>", b"<net " + b"<a>" * 2000, b"PK\x03\x04",
    b"\x80\x02cos\nsystem\n.", b"\x08\x07\x3a", b"SQLite format 3\0" + bytes(100),
)  # fmt: skip
LEAVES: tuple[Any, ...] = (
    None, True, -1, 0, 2**63, 1e308, 1e-300, float("nan"), float("inf"), "", "x" * 3000,
    "\x1b]0;title\x07", "../../../etc/passwd", "/dev/zero", "\0", [], {}, [[[[]]]], {"a": {"b": 1}},
    "2001-99-99", "rpi5", [1, "a", None], {"": None},
)  # fmt: skip


_SOUND = {
    "target": ("x86-ort", "x86-openvino", "jetson"),
    "targets": ("cpu", "x86-ort", "jetson"),
    "device": ("local", "pi"),
    "devices": ("local", "pi"),
    "assignments": ("prune.ratio=0.3", "imgsz=64", "prune.scope=local"),
    "budgets": ("fps>=30", "peak_mb<=100"),
    "criterion": ("l1", "slim"),
    "name": ("x86-ort", "litert"),
    "address": ("ssh://pi@board", "adb://serial", "pi"),
}
FILES = (
    *(f"doc{ending}" for ending in ("", ".yaml", ".json", ".pt", ".onnx", ".xml", ".param", ".bin", ".db")),
    *("doc.pte", "doc.engine", "build/summary.json", "devices.yaml"),
    *("line\nbreak.json", os.fsdecode(b"\xff.json")),
)


def leaves() -> dict[str, tuple[tuple[str, ...], click.Command]]:
    """Return every command that does something, by its name on the command line."""
    found: dict[str, tuple[tuple[str, ...], click.Command]] = {}
    for name, (module, _) in COMMANDS.items():
        command = import_module(module).command
        if isinstance(command, click.Group):
            found |= {f"{name} {sub}": ((name, sub), one) for sub, one in command.commands.items()}
        if not isinstance(command, click.Group) or command.invoke_without_command:
            found[name] = ((name,), command)
    return found


@dataclass(frozen=True)
class Place:
    """A folder to run in: what the user has, where commands may write, and the user's other folders."""

    root: Path

    @property
    def inputs(self) -> Path:
        """Return what the user has."""
        return self.root / "inputs"

    @property
    def outs(self) -> Path:
        """Return where commands are told to write."""
        return self.root / "outs"

    def seen(self) -> dict[str, Any]:
        """Return what lies outside the outputs: of each path its kind, and its content."""
        return {
            str(path.relative_to(self.root)): _state(path)
            for folder in ("home", "cache", "cwd", "tmp", "inputs")
            for path in sorted((self.root / folder).rglob("*"))
        }


def _state(path: Path) -> Any:
    found = path.lstat()
    if not stat.S_ISREG(found.st_mode):
        return stat.S_IFMT(found.st_mode)
    return found.st_mode, hashlib.sha256(path.read_bytes()).hexdigest()


@contextmanager
def entered(root: Path) -> Iterator[Place]:
    """Yield a place of its own for everything that is the user's; no program is on PATH."""
    place = Place(root)
    for folder in ("home/.config/edgeprune", "cache", "cwd", "tmp", "inputs/build", "inputs/folder"):
        (root / folder).mkdir(parents=True)
    os.mkfifo(place.inputs / "fifo.onnx")
    (place.inputs / "loop").symlink_to("loop")
    before = Path.cwd()
    with pytest.MonkeyPatch.context() as patch:
        for name in ("XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME"):
            patch.delenv(name, raising=False)
        patch.setenv("HOME", str(root / "home"))
        patch.setenv("EDGEPRUNE_CACHE", str(root / "cache"))
        patch.setenv("TMPDIR", str(root / "tmp"))
        patch.setenv("PATH", str(root / "inputs" / "folder"))
        patch.setattr("tempfile.tempdir", None)
        os.chdir(root / "cwd")
        try:
            yield place
        finally:
            os.chdir(before)


def lay_out(place: Place, document: bytes) -> None:
    """Put the document at every path that a command reads, and empty the folder that commands write to."""
    for name in FILES:
        (place.inputs / name).write_bytes(document)
    (place.root / "home/.config/edgeprune/devices.yaml").write_bytes(document)
    for name in ("report.html", "report.md"):
        (place.inputs / "build" / name).unlink(missing_ok=True)
    shutil.rmtree(place.outs, ignore_errors=True)
    (place.outs / "folder").mkdir(parents=True)
    (place.outs / "there").write_text("precious")


@st.composite
def documents(draw: st.DrawFn) -> bytes:
    """Draw a document: damaged on purpose, any bytes, or a sound one with a few values changed."""
    kind = draw(st.integers(0, 3))
    if kind == 0:
        return draw(st.sampled_from(DOCUMENTS))
    if kind == 1:
        return draw(st.binary(max_size=60))
    sound = draw(st.sampled_from(_sound()))
    changed = json.loads(json.dumps(sound))
    for _ in range(draw(st.integers(1, 3))):
        changed = _changed(draw, changed)
    if draw(st.booleans()):
        return json.dumps(changed).encode()
    return yaml.safe_dump(changed, allow_unicode=draw(st.booleans())).encode()


def _sound() -> list[Any]:
    return [
        Recipe().model_dump(mode="json"),
        a_summary().model_dump(mode="json"),
        yaml.safe_load(target_files()["x86-ort"].read_text()),
        yaml.safe_load(target_files()["cpu"].read_text()),
        {"path": ".", "train": "images/train", "val": "images/val", "names": {"0": "ant"}},
        {"pi": {"address": "ssh://pi@board", "target": "arm64-ort"}},
        {"imgsz": [32, 32], "batch": 1},
    ]


def _changed(draw: st.DrawFn, value: Any) -> Any:
    """Return the value with one of its parts replaced, left out or added."""
    if not isinstance(value, dict | list) or not value or draw(st.integers(0, 3)) == 0:
        return deepcopy(draw(st.sampled_from(LEAVES)))
    key = draw(st.sampled_from(sorted(value) if isinstance(value, dict) else range(len(value))))
    match draw(st.integers(0, 5)):
        case 0 if isinstance(value, dict):
            value.pop(key)
        case 1 if isinstance(value, dict):
            value[draw(st.sampled_from(("", "x", "a.b", "__class__", "\x1b[31m")))] = draw(
                st.sampled_from(LEAVES)
            )
        case _:
            value[key] = _changed(draw, value[key])
    return value


def arguments(command: click.Command) -> st.SearchStrategy[list[Any]]:
    """Return a strategy of command lines: each word a text, or a function of the place to a text."""
    writes = {"file"} if command.name == "export" else set[str]()
    return st.tuples(
        *(_given(parameter, parameter.name in WRITTEN | writes) for parameter in command.params)
    ).map(lambda parts: [word for part in parts for word in part])


def _given(parameter: click.Parameter, is_written: bool) -> st.SearchStrategy[list[Any]]:
    values = _values(parameter, is_written)
    if isinstance(parameter, click.Argument):
        return st.lists(values, min_size=1, max_size=2 if parameter.nargs == -1 else 1)
    option = parameter.opts[0]
    assert isinstance(parameter, click.Option)
    if parameter.is_flag:
        return st.sampled_from([[], [], [option]])
    one = values.map(lambda value: [option, value])
    if parameter.required or parameter.name == "db":  # whose default is a file in the working folder
        return one
    return st.one_of(st.just([]), st.just([]), one)


def _values(parameter: click.Parameter, is_written: bool) -> st.SearchStrategy[Any]:
    """Return hostile values, and as many sound ones: a command line with one fault reaches further."""
    return st.one_of(_sound_values(parameter, is_written), _hostile_values(parameter, is_written))


def _sound_values(parameter: click.Parameter, is_written: bool) -> st.SearchStrategy[Any]:
    kind, name = parameter.type, parameter.name or ""
    if isinstance(kind, click.Choice):
        return st.sampled_from(list(kind.choices))
    if isinstance(kind, click.types._NumberRangeBase):
        return st.sampled_from(("0.5", "2", "64", "8"))
    if name == "reports":
        return st.just(lambda place: f"json={place.outs}/new")
    if is_written:
        return st.just(lambda place: f"{place.outs}/new")
    if name in _SOUND:
        return st.sampled_from(_SOUND[name])
    return _inputs()


def _hostile_values(parameter: click.Parameter, is_written: bool) -> st.SearchStrategy[Any]:
    kind, name = parameter.type, parameter.name or ""
    if isinstance(kind, click.Choice):
        return st.sampled_from(["", "x", "\0"])
    if isinstance(kind, click.types._NumberRangeBase):
        return st.one_of(st.sampled_from(NUMBERS), st.integers().map(str), st.floats().map(repr))
    texts = st.one_of(st.sampled_from(TEXTS), st.text(max_size=12))
    if name == "reports":
        formats = st.sampled_from(("json", "junit", "table", "", "x"))
        return st.one_of(texts, st.tuples(formats, _outputs()).map(_joined))
    if is_written:
        return (
            st.one_of(_outputs(), st.sampled_from(URLS))
            if name in ("db", "history", "storage")
            else _outputs()
        )
    return st.one_of(_inputs(), texts.filter(lambda text: text != "digits"))


def _joined(pair: tuple[str, Any]) -> Any:
    form, output = pair
    return lambda place: f"{form}={output(place)}"


def _inputs() -> st.SearchStrategy[Any]:
    names = (
        "", "doc", "doc.yaml", "doc.json", "doc.pt", "doc.onnx", "doc.xml", "doc.param", "doc.bin",
        "doc.pte", "doc.engine", "doc.db", "build", "build/summary.json", "folder", "devices.yaml",
        "line\nbreak.json", os.fsdecode(b"\xff.json"), "fifo.onnx", "loop", "gone.onnx", "gone/deeper.pt",
        "doc/below.onnx", "a\0b", "n" * 300,
    )  # fmt: skip
    inside = st.sampled_from(names).map(lambda name: lambda place: f"{place.inputs}/{name}")
    return st.one_of(inside, st.sampled_from(("/dev/zero", "/dev/null", "/proc/self/mem", "/dev/stdin")))


def _outputs() -> st.SearchStrategy[Any]:
    names = (
        "new",
        "new/deeper",
        "folder",
        "there",
        "there/below",
        "n" * 300,
        "a\0b",
        "s\udcffx",
        "x.html",
        "x.svg",
    )
    return st.sampled_from(names).map(lambda name: lambda place: f"{place.outs}/{name}")
