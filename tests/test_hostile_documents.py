"""Every kind of document that is read: changed anywhere to anything, it is read or refused in one line."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeprune.backends import executorch, ncnn, ncnn_files, openvino
from edgeprune.config.recipe import Recipe, load_recipe
from edgeprune.config.targets import load_profile, target_files
from edgeprune.core.artifact import SUMMARY
from edgeprune.core.documents import read_mapping
from edgeprune.core.errors import ConfigError, EdgepruneError
from edgeprune.history.commits import Commit
from edgeprune.history.lines import of_lines
from edgeprune.history.reading import read_entries
from edgeprune.history.store import open_history
from edgeprune.images.spec import FILE, spec_of
from edgeprune.records.latency_table import load_table
from edgeprune.records.summary import load_summary
from edgeprune.report.facts import load_report
from edgeprune.runners import known
from edgeprune.runners.recording import CALLS, RECORDING, ReplayRunner
from made_latency import table
from made_summaries import a_summary

BLOCK = {
    "pid": 1, "order": 0, "t_start": 0.0, "warmup_n": 1, "samples_ns": [1, 2], "elapsed_ns": 3,
    "canary_before_ns": 1, "canary_after_ns": 1, "ctxt_invol": 0, "majflt": 0,
}  # fmt: skip
BENCH = {
    "run_id": "run", "started_utc": "2000-01-01T00:00:00Z", "name": "row", "tool": {"version": "1"},
    "artifact": {"sha256": "ab"}, "backend": {"name": "onnxruntime", "version": "1", "threads": 1},
    "scenario": {"name": "single_stream"}, "blocks": [BLOCK], "cold_ms": {"load": 1.0, "first_infer": 1.0},
    "memory": {"baseline_hwm": 1.0, "load_hwm": 2.0, "peak_hwm": 3.0, "method": "VmHWM"},
    "env_before": {"cpu": "a", "machine": "x86_64"}, "env_after": {}, "flags": [],
}  # fmt: skip
PAIR = {
    "order": "AB", "baseline_ms": 1.0, "candidate_ms": 1.0, "baseline_fps": 1.0, "candidate_fps": 1.0,
}  # fmt: skip
CHECK = {
    "cpu": {
        "verdict": "pass", "tau": 0.1, "pairs": [PAIR], "baseline": {},
        "metrics": [{"name": "accuracy", "verdict": "pass", "evidence": "-", "candidate": 0.5}],
        "candidate": {"device": "here", "runtime": "onnxruntime", "precision": "fp32", "threads": 1},
    }
}  # fmt: skip
ENTRY = {
    "id": "a", "kind": "bench", "name": "a", "machine": "m", "backend": "b", "backend_version": None,
    "precision": "fp32", "threads": 1, "scenario": "s", "started_utc": "2000", "valid": True, "p50_ms": 1.0,
    "document": "{}",
}  # fmt: skip
SPEC = {
    "preprocess": {"imgsz": 64},
    "postprocess": {"task": "detect", "head": "raw", "names": ["a"], "boxes": "xywh"},
}
CALL = {"asked": "[]", "error": None, "stdout": "", "stderr": "", "answers": {"0": "{}"}}
STARTED = {"run_id": "r", "recorded_utc": "2000", "device": "d", "machine": "x86_64"}
BUILD = a_summary().model_dump(mode="json")
BUILD["targets"]["x86-ort"]["rows"][0]["bench"] = "bench.json"
IR = (
    '<net><layers><layer id="0" name="x" type="Parameter"><data shape="1,3,64,64" element_type="f32"/>'
    '</layer></layers><edges><edge from-layer="0" from-port="0" to-layer="0" to-port="0"/></edges></net>'
)
TEXTS = {part: json.dumps(value).replace('"', "&quot;") for part, value in SPEC.items()}
IR_SPEC = (
    f'<net><rt_info><edgeprune><preprocess value="{TEXTS["preprocess"]}"/>'
    f'<postprocess value="{TEXTS["postprocess"]}"/></edgeprune></rt_info></net>'
)
PARAM = "7767517\n2 2\nInput in0 0 1 in0\nConvolution c 1 1 in0 out0 0=8 1=3 5=1 6=216\n"


def _added(path: Path) -> None:
    place = path.with_name("history.sqlite")
    place.unlink(missing_ok=True)
    with open_history(str(place)) as history:
        history.add(of_lines(path))
        list(history.entries())


def _replayed(path: Path) -> None:
    with ReplayRunner(f"replay://{path.parent}"):
        pass


def _networks(path: Path) -> None:
    ncnn.input_shape(path.parent)
    ncnn_files.layers_of(path.parent)


# By kind of document: its name in a folder, a sound one, and what reads it.
READ: dict[str, tuple[str, Any, Callable[[Path], object]]] = {
    "recipe": ("r.yaml", Recipe().model_dump(mode="json"), load_recipe),
    "profile": ("p.yaml", read_mapping(target_files()["x86-ort"], ConfigError), load_profile),
    "devices": (known.FILE, {"pi": {"address": "ssh://pi@board", "target": "arm64-ort"}}, known._read),
    "spec": (FILE, SPEC, spec_of),
    "summary": (SUMMARY, a_summary().model_dump(mode="json"), lambda path: load_summary(path.parent)),
    "report": (SUMMARY, a_summary().model_dump(mode="json"), lambda path: load_report(path.parent)),
    "build": (SUMMARY, BUILD, lambda path: read_entries(path.parent, Commit())),
    "bench": ("b.json", BENCH, lambda path: read_entries(path, Commit())),
    "check": ("c.json", CHECK, lambda path: read_entries(path, Commit())),
    "entry": ("h.jsonl", ENTRY, _added),
    "table": ("t.json", table().model_dump(mode="json"), load_table),
    "recording": (RECORDING, STARTED, _replayed),
    "calls": (CALLS, CALL, _replayed),
    "executorch": (
        executorch.FACTS,
        {"delegated": 1, "operators": 1, "left": {}, "integer_convolutions": 0, "input": [1, 3, 64, 64]},
        lambda path: (executorch.input_shape(path.parent), executorch.quantized_ops(path.parent)),
    ),
    "ncnn": (ncnn.SHAPES, {"inputs": ["in0", [1, 3, 64, 64]], "outputs": {"out0": [1, 8]}}, _networks),
    "ir": ("model.xml", IR, openvino.input_shape),
    "ir's spec": ("model.xml", IR_SPEC, spec_of),
    "param": (ncnn_files.PARAM, PARAM, lambda path: ncnn_files.read(path.parent)),
}
every_kind = pytest.mark.parametrize("kind", READ)

HOSTILE = st.sampled_from(
    [None, True, -1, 0, 10**30, 1.5, 1e308, float("nan"), float("inf"), "", "text", "\0", "\ud800", "../../x",
     "/dev/zero", "a" * 5000, [], [[]], {}, {"x": 1}, [1, "2", None], "2001-99-99", "1e999"]
)  # fmt: skip


def _places(value: Any, above: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [above, *(place for key, part in inner for place in _places(part, (*above, key)))]


def _changed(document: Any, place: tuple[Any, ...], value: Any, leave_out: bool) -> Any:
    if not place:
        return value
    whole = copy.deepcopy(document)
    part = whole
    for key in place[:-1]:
        part = part[key]
    if leave_out:
        del part[place[-1]]
    else:
        part[place[-1]] = value
    return whole


def _folder(tmp: pytest.TempPathFactory, kind: str) -> Path:
    folder = tmp.getbasetemp() / f"hostile-{kind}"
    folder.mkdir(exist_ok=True)
    beside = {RECORDING: json.dumps(STARTED), CALLS: json.dumps(CALL), "bench.json": json.dumps(BENCH)}
    for name, text in (beside | {ncnn_files.PARAM: PARAM}).items():
        (folder / name).write_text(text)
    (folder / ncnn_files.BIN).write_bytes(bytes(4 + 4 * 216 + 4 * 8))
    return folder


def _read(kind: str, path: Path, content: bytes) -> None:
    path.write_bytes(content)
    try:
        READ[kind][2](path)
    except EdgepruneError as exc:
        assert "\n" not in str(exc)
        assert len(str(exc)) < 20_000


def _as_text(path: Path, document: Any) -> bytes:
    if isinstance(document, str):
        return document.encode(errors="surrogatepass")
    if path.suffix == ".yaml":
        return yaml.safe_dump(document).encode(errors="surrogatepass")
    return json.dumps(document).encode()


@every_kind
def test_a_sound_document_is_read(tmp_path_factory: pytest.TempPathFactory, kind: str) -> None:
    name, document, read = READ[kind]
    path = _folder(tmp_path_factory, kind) / name
    path.write_bytes(_as_text(path, document))
    read(path)


@every_kind
@settings(max_examples=60)
@given(data=st.data())
def test_a_document_that_is_changed_anywhere_is_read_or_refused_in_one_line(
    tmp_path_factory: pytest.TempPathFactory, kind: str, data: st.DataObject
) -> None:
    name, document, _ = READ[kind]
    path = _folder(tmp_path_factory, kind) / name
    if isinstance(document, str):
        words = document.split(" ")
        words[data.draw(st.integers(0, len(words) - 1))] = str(data.draw(HOSTILE))
        changed: Any = " ".join(words)
    else:
        place = data.draw(st.sampled_from(_places(document)))
        changed = _changed(document, place, data.draw(HOSTILE), data.draw(st.booleans()))
    content = bytearray(_as_text(path, changed))
    if data.draw(st.booleans()) and content:
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    _read(kind, path, bytes(content))


@every_kind
def test_what_is_no_document_is_refused_in_one_line(
    tmp_path_factory: pytest.TempPathFactory, kind: str
) -> None:
    name, document, read = READ[kind]
    path = _folder(tmp_path_factory, kind) / name
    sound = _as_text(path, document)
    for content in (b"", b"\0" * 100, b"\x89PNG\r\n\x1a\n", sound[:-3], b"[" * 100_000, b"{" * 100_000,
                    sound.decode().encode("utf-16"), b"- " * 50_000, b"&a [*a]"):  # fmt: skip
        _read(kind, path, content)
    path.unlink()
    for make in (os.mkfifo, os.mkdir, lambda place: place.symlink_to("/dev/zero")):
        make(path)
        with pytest.raises(EdgepruneError) as told:
            read(path)
        assert "\n" not in str(told.value)
        path.rmdir() if path.is_dir() else path.unlink()
    with path.open("wb") as stream:
        stream.truncate(10 << 30)
    with pytest.raises(EdgepruneError):
        read(path)
    path.unlink()
