"""The process that a metric of the user's runs in: it asks the process that started it for predictions."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeprune.adapters.user_code import last_line, run_file
from edgeprune.images.preprocess import Preprocess, load_input, to_input


class RemotePredict:
    """What the user's function is given.

    Attributes:
        images: paths of the pictures of the split.
        split: its name.
        names: of the classes, as far as they are known.
    """

    def __init__(self, connection: Connection, told: Mapping[str, Any]) -> None:
        self._connection = connection
        size = told["preprocess"]["imgsz"]
        fixed = {"imgsz": size if isinstance(size, int) else tuple(size)}
        self._spec = Preprocess(**{**told["preprocess"], **fixed})
        self.images = [Path(image) for image in told["images"]]
        self.split = str(told["split"])
        self.names = [str(name) for name in told["names"]]

    def __call__(self, images: npt.NDArray[Any]) -> list[npt.NDArray[Any]]:
        """Return the outputs of the candidate for an input, float32 (1, 3, H, W), as `prepare` makes it."""
        buffer = io.BytesIO()
        np.save(buffer, np.ascontiguousarray(images, dtype=np.float32))
        self._connection.send_bytes(buffer.getvalue())
        found = np.load(io.BytesIO(self._connection.recv_bytes()), allow_pickle=False)
        return [found[key] for key in found.files]

    def prepare(self, image: str | Path | npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Make an input, float32 (1, 3, H, W), of an image file, or of BGR pixels uint8 (h, w, 3)."""
        if isinstance(image, np.ndarray):
            return to_input(image, self._spec)[0]
        return load_input(Path(image), self._spec)[0]


def answer(connection: Connection) -> dict[str, Any]:
    """Run the user's function, and return its figure, or its figures, or what was wrong with it."""
    told = json.loads(connection.recv_bytes())
    path = Path(told["file"])
    try:
        function = getattr(run_file(path, "metric_of_the_user"), told["function"])
        value = function(RemotePredict(connection, told))
    except BaseException as exc:
        return {"fault": _fault(exc, path)}
    return {"scores": _finite(value, len(told["images"])), "shown": repr(value)[:80]}


def _finite(value: Any, images: int) -> float | list[float] | None:
    """Return a finite number, or a list of one an image; None of anything else."""
    try:
        scores = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        return None
    fits = scores.shape in ((), (images,)) and bool(np.isfinite(scores).all())
    found: float | list[float] | None = scores.tolist() if fits else None
    return found


def _fault(exc: BaseException, path: Path) -> str:
    """Name an exception, and the last line of the user's file on the way to it."""
    line = last_line(exc, path)
    where = f" (line {line})" if line else ""
    return f"it raised {type(exc).__name__}: {exc}{where}"


if __name__ == "__main__":
    channel = Connection(int(sys.argv[1]))
    channel.send_bytes(json.dumps(answer(channel)).encode())
