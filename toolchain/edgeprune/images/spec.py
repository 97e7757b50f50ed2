"""What travels with an artifact: how an image becomes its input and how its output is read, as one spec.

It stands in the metadata of an ONNX file, in the `rt_info` of an OpenVINO model, and for every runtime in the
`preprocess.json` of the artifact's folder.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, field_validator

from edgeprune.core.artifact import lone
from edgeprune.core.documents import parse_json, read_json, read_xml, validate
from edgeprune.core.errors import ConfigError, ModelError
from edgeprune.core.onnx_outline import read_outline
from edgeprune.images.postprocess import Postprocess, with_names
from edgeprune.images.preprocess import Preprocess

FILE = "preprocess.json"
PARTS = ("preprocess", "postprocess")
ENGINES = (".engine", ".plan")
PREFIX = "edgeprune"
"""Metadata keys are ``edgeprune.preprocess`` and ``edgeprune.postprocess``, each a JSON text."""


class Spec(BaseModel):
    """How an image becomes the input of a network, and how its output is read."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    preprocess: Preprocess
    postprocess: Postprocess

    @field_validator("postprocess", mode="before")
    @classmethod
    def _with_names(cls, value: Any) -> Any:
        return with_names(value) if isinstance(value, dict) else value

    def to_json(self) -> str:
        """Return the content of `preprocess.json`."""
        return json.dumps(self.told(), indent=1) + "\n"

    def metadata(self) -> dict[str, str]:
        """Return the entries of an ONNX file's metadata."""
        return {f"{PREFIX}.{part}": json.dumps(value) for part, value in self.told().items()}

    def told(self) -> dict[str, Any]:
        """Return both parts as JSON has them."""
        return {"preprocess": self.preprocess.told(), "postprocess": self.postprocess.told()}


def spec_of(path: Path) -> Spec:
    """Read the spec of an artifact: an ONNX file, an OpenVINO folder, a `preprocess.json` or its folder.

    What holds no metadata of its own has the `preprocess.json` of the folder it lies in.

    Raises:
        ModelError: the file is unreadable, or there is no spec.
        ConfigError: the spec has an unknown key or a value that edgeprune does not know.
    """
    source = path
    texts = _texts(path)
    if not texts and (beside := _beside(path)):
        source, texts = beside, _of_file(beside)
    if not texts:
        raise ModelError(
            f"{path}: neither its metadata nor a {FILE} beside it says how images are prepared; "
            "take the artifact from the folder of a build"
        )
    where = f"{source}: its {PREFIX} metadata"
    data = {part: parse_json(text, where, ModelError) for part, text in texts.items()}
    return validate(Spec, data, str(source), ConfigError)


def onnx_texts(path: Path) -> dict[str, str]:
    """Return the JSON texts of the spec in an ONNX file's metadata, by part; empty where it has none.

    Raises:
        ModelError: not an ONNX file.
    """
    found = read_outline(path).metadata
    return {part: found[f"{PREFIX}.{part}"] for part in PARTS if f"{PREFIX}.{part}" in found}


def _texts(path: Path) -> dict[str, str]:
    if path.suffix == ".onnx":
        return onnx_texts(path)
    if path.suffix in ENGINES:
        return _told_beside(path)
    xml = (lone(path, "model.xml") or path) if path.is_dir() else path
    return _ir_texts(xml) if xml.suffix == ".xml" and xml.is_file() else {}


def _told_beside(engine: Path) -> dict[str, str]:
    """Return the texts in the account beside an engine that has no place for metadata."""
    told = read_json(engine.with_suffix(".json"), ModelError) if engine.with_suffix(".json").is_file() else {}
    found = told.get("metadata", {}) if isinstance(told, dict) else {}
    return {part: str(found[f"{PREFIX}.{part}"]) for part in PARTS if f"{PREFIX}.{part}" in found}


def _ir_texts(xml: Path) -> dict[str, str]:
    found = read_xml(xml, ModelError).find(f"rt_info/{PREFIX}")
    parts = {} if found is None else {entry.tag: entry.get("value", "") for entry in found}
    return {part: parts[part] for part in PARTS if part in parts}


def _beside(path: Path) -> Path | None:
    places = (path, path / FILE, path.parent / FILE)
    return next((place for place in places if place.name == FILE and place.is_file()), None)


def _of_file(path: Path) -> dict[str, str]:
    data = read_json(path, ModelError)
    if not isinstance(data, dict):
        raise ModelError(f"{path}: a mapping of {' and '.join(PARTS)} is expected")
    return {part: json.dumps(value) for part, value in data.items()}
