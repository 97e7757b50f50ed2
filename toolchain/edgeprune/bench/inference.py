"""An engine on a device as what evaluates any engine: images go there, its outputs come back.

The images travel as the network's canvas, resized and padded here, so that the device computes on the very
pixels that this machine would, without OpenCV. They go in parts, each one file named by its content: for the
next engine the device has them already. What is made of a canvas after that is numpy alone, and done there.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeprune.bench.answers import FIRST_S, Answer, ask_engine
from edgeprune.images.pixels import to_canvas
from edgeprune.images.preprocess import Preprocess, read_image, to_tensor
from edgeprune.images.size import sides
from edgeprune.records.bench_result import Job
from edgeprune.runners import Runner

Array = npt.NDArray[Any]

PART_BYTES = 80 << 20
MOST_IMAGES = 512
IMAGE_S = 20.0
"""The longest that an image may take on a device before the engine is taken to hang."""


@dataclass
class DeviceEngine:
    """An engine on a device, called with images, float32 (n, 3, H, W), for outputs (n, ...).

    Attributes:
        job: of the engine; its inputs are replaced.
        say: told the share of the expected images that is done.
        answer: what ran there, once it was asked.
    """

    job: Job
    runner: Runner
    spec: Preprocess
    say: Callable[[float], None] = lambda share: None
    answer: Answer | None = None
    _expected: int = 0
    _done: int = 0
    _parts: Iterator[Sequence[Path]] = field(default_factory=lambda: iter(()))
    _ready: dict[bytes, list[Array]] = field(default_factory=dict)

    def expect(self, images: Sequence[Path]) -> None:
        """Note which images will be asked for, in this order: parts of them are then answered at once."""
        height, width = sides(self.spec.imgsz)
        size = min(PART_BYTES // (3 * height * width), MOST_IMAGES)
        size = max(size // self.spec.batch, 1) * self.spec.batch  # or an input would lie in two parts
        starts = range(0, len(images), size)
        self._ready.clear()
        self._parts = iter([images[start : start + size] for start in starts])
        self._expected, self._done = len(images), 0

    def __call__(self, images: npt.NDArray[np.float32]) -> list[Array]:
        """Return the outputs for images: of a part that was expected, else asked for by themselves.

        Raises:
            DeviceError: the device was lost, or its worker crashed, hung, or answered with garbage.
            ModelError: the outputs have no regular shape.
        """
        wanted = [_key(image) for image in images]
        while any(key not in self._ready for key in wanted):
            part = next(self._parts, None)
            if part is None:
                return self._ask_tensors(images)
            self._answer(part)
        rows = [self._ready[key] for key in wanted]
        return [np.stack(outputs) for outputs in zip(*rows, strict=True)]

    def _answer(self, part: Sequence[Path]) -> None:
        """Have a part of the images answered; what was left of the part before is dropped."""
        canvases = np.stack([to_canvas(read_image(image), self.spec)[0] for image in part])
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "images.npz"
            np.savez_compressed(file, canvases=canvases)
            outputs = self._ask(file, len(part), Path(folder))
        self._done += len(part)
        self.say(self._done / self._expected)
        keys = [_key(to_tensor(canvas, self.spec)[0]) for canvas in canvases]
        self._ready = dict(zip(keys, map(list, zip(*outputs, strict=True)), strict=True))

    def _ask_tensors(self, images: npt.NDArray[np.float32]) -> list[Array]:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "inputs.npy"
            np.save(file, np.ascontiguousarray(images), allow_pickle=False)
            return self._ask(file, len(images), Path(folder))

    def _ask(self, inputs: Path, count: int, folder: Path) -> list[Array]:
        def said(about: Mapping[str, Any]) -> None:
            if about.get("phase") == "answer" and self._expected:
                self.say((self._done + about["share"] * count) / self._expected)

        update = {"inputs": str(inputs), "preprocess": self.spec.told()}
        job = self.job.model_copy(update=update)
        self.answer, outputs = ask_engine(job, self.runner, folder, FIRST_S + count * IMAGE_S, said)
        return outputs


def _key(image: Array) -> bytes:
    return hashlib.blake2b(np.ascontiguousarray(image).data, digest_size=16).digest()
