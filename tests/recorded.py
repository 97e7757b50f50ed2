"""Recorded devices of tests/data/sensors, unpacked: a root folder to read, and programs to ask."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

SENSORS = Path(__file__).parent / "data" / "sensors"


@dataclass(frozen=True)
class Recorded:
    """What a device said.

    Attributes:
        root: its files.
        said: what its programs printed, by command line.
    """

    root: Path
    said: dict[str, str] = field(default_factory=dict)

    def ask(self, *command: str) -> str | None:
        return self.said.get(" ".join(command))

    def write(self, path: str, text: str) -> None:
        """Add a file, or change it."""
        file = self.root / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


Record = Callable[[str], Recorded]


def unpack(name: str, root: Path) -> Recorded:
    """Lay out the files of the device of a name below `root`."""
    device = Recorded(root)
    for part in (SENSORS / f"{name}.txt").read_text().split("== ")[1:]:
        where, _, text = part.partition("\n")
        if where.startswith("$ "):
            device.said[where[2:]] = text.strip()
        else:
            device.write(where, text)
    return device
