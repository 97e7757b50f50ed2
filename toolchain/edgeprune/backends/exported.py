"""What Ultralytics' exporter writes beside a model: `metadata.yaml`, which alone tells some shapes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeprune.core.documents import read_mapping
from edgeprune.core.errors import ModelError

FILE = "metadata.yaml"


@dataclass(frozen=True)
class ExportedFacts:
    """The part of `metadata.yaml` that a measurement needs.

    Attributes:
        imgsz: height and width of the input in pixels.
        channels: of the image, 3 where nothing else is told.
        batch: images at once, 1 where nothing else is told.
    """

    imgsz: tuple[int, int]
    channels: int = 3
    batch: int = 1


def exported_facts(folder: Path) -> ExportedFacts:
    """Read the `metadata.yaml` of a folder.

    Raises:
        ModelError: there is none, or it does not tell the size.
    """
    if not (folder / FILE).is_file():
        raise ModelError(f"{folder}: nothing tells the size of the input: no {FILE} is there")
    data = read_mapping(folder / FILE, ModelError)
    size, channels, batch = _sides(data.get("imgsz")), data.get("channels", 3), data.get("batch", 1)
    if size is None or not isinstance(channels, int) or not isinstance(batch, int) or batch < 1:
        raise ModelError(f"{folder / FILE}: imgsz: height and width in pixels are expected")
    return ExportedFacts(size, channels, batch)


def _sides(value: Any) -> tuple[int, int] | None:
    sides = value if isinstance(value, list) else [value, value]
    if len(sides) == 2 and all(isinstance(side, int) and side > 0 for side in sides):
        return sides[0], sides[1]
    return None
