"""A figure of the user's own as the metric: a function in a file of theirs, run in a process of its own.

`--metric my_eval.py:evaluate` calls ``evaluate(predict)`` for every candidate; see docs/onnx.md. The network
stays in this process: the other one sends it images, and gets outputs.
"""

from __future__ import annotations

import ast
import io
import json
import re
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from torch import nn

from edgeprune.adapters.delegating import Delegating
from edgeprune.adapters.user_code import code_key
from edgeprune.core.errors import ConfigError, how_it_ended, shorten
from edgeprune.core.files import read_bytes
from edgeprune.core.processes import own_python
from edgeprune.images.dataset import Dataset
from edgeprune.images.postprocess import Postprocess
from edgeprune.images.preprocess import Preprocess
from edgeprune.models.adapter import ModelAdapter, ModelInfo, Predict
from edgeprune.records.resampling.evidence import Means
from edgeprune.records.scores import Accuracy

if TYPE_CHECKING:
    from edgeprune.config.recipe import Recipe
    from edgeprune.models.source import ModelSource

SILENCE_S = 600.0
"""So long may a metric compute without asking for a prediction, in seconds."""
LONGEST_NAME = 40


@dataclass(frozen=True)
class Judged(Delegating):
    """An adapter whose models are judged by a function of the user's.

    Attributes:
        file: the user's Python file.
        function: its name there.
    """

    file: Path
    function: str

    def parts(self) -> Mapping[str, Any]:
        """Return what results depend on: the user's file as well, and what it imports from beside it."""
        metric = {"code": code_key(self.file), "function": self.function}
        return {**self.inner.parts(), "metric": metric}

    def info(self, model: nn.Module) -> ModelInfo:
        """Describe a model, judged by the user's figure."""
        return replace(self.inner.info(model), metric=self._name)

    def evaluate(
        self, predict: Predict, dataset: Dataset, split: str, spec: Preprocess, post: Postprocess
    ) -> Accuracy:
        """Call the user's function and return its figure.

        Raises:
            ConfigError: it raises, hangs, ends its process, or returns no finite number, nor one an image.
        """
        images = dataset.images[split]
        told = {
            "file": str(self.file.absolute()),
            "function": self.function,
            "split": split,
            "images": [str(image.absolute()) for image in images],
            "names": list(post.names),
            "preprocess": spec.told(),
        }
        scores = self._ask(predict, told)
        found = Accuracy(metric=self._name, split=split, images=len(images), score=float(scores.mean()))
        return found.made_of(Means(scores)) if scores.ndim else found

    def causes(
        self, predict: Predict, dataset: Dataset, split: str, spec: Preprocess, post: Postprocess
    ) -> tuple[str, ...]:
        """Say what the figure has to be like, which nothing measures."""
        return (
            f"{self._where} has to return more for a network that works, such as a share of right answers",
        )

    @property
    def _where(self) -> str:
        return f"--metric {self.file}:{self.function}"

    @property
    def _name(self) -> str:
        return re.sub(r"[^\w@.,:+() -]", "_", f"{self.function} ({self.file.name})")[:LONGEST_NAME]

    def _ask(self, predict: Predict, told: Mapping[str, Any]) -> npt.NDArray[np.float64]:
        with self._process(told) as (connection, process, log):
            while True:
                if not connection.poll(SILENCE_S):
                    raise ConfigError(
                        f"{self._where}: neither asked for a prediction nor returned for {SILENCE_S:g} "
                        "seconds; it hangs, or computes too much at a time"
                    )
                try:
                    message = connection.recv_bytes()
                except (EOFError, OSError):
                    process.wait()
                    said = log.read_text(errors="replace").strip().splitlines()[-1:]
                    more = f": {shorten(said[0])}" if said else ""
                    raise ConfigError(
                        f"{self._where}: its process {how_it_ended(process.returncode)}{more}"
                    ) from None
                if message[:1] == b"{":
                    return self._scores(json.loads(message))
                images = np.load(io.BytesIO(message), allow_pickle=False)
                connection.send_bytes(packed([np.asarray(output) for output in predict(images)]))

    @contextmanager
    def _process(self, told: Mapping[str, Any]) -> Iterator[tuple[Connection, subprocess.Popen[bytes], Path]]:
        """Start the process, and end it when the context is left."""
        ours, theirs = socket.socketpair()
        with tempfile.TemporaryDirectory() as folder, ours, theirs:
            log = Path(folder) / "log"
            with log.open("wb") as stream:
                process = subprocess.Popen(
                    own_python("edgeprune.adapters.metric_process", str(theirs.fileno())),
                    stdin=subprocess.DEVNULL,
                    stdout=stream,
                    stderr=stream,
                    pass_fds=[theirs.fileno()],
                )
            theirs.close()
            connection = Connection(ours.detach())
            try:
                connection.send_bytes(json.dumps(told).encode())
                yield connection, process, log
            finally:
                connection.close()
                process.kill()
                process.wait()

    def _scores(self, answer: Mapping[str, Any]) -> npt.NDArray[np.float64]:
        if fault := answer.get("fault"):
            raise ConfigError(f"{self._where}: {shorten(fault)}")
        if answer.get("scores") is None:
            raise ConfigError(
                f"{self._where}: it returned {answer.get('shown')}; one finite number is needed, or a list "
                "with one an image; higher is better"
            )
        return np.array(answer["scores"], dtype=np.float64)


def packed(arrays: list[Any]) -> bytes:
    """Return arrays as the bytes of an npz file."""
    buffer = io.BytesIO()
    np.savez(buffer, *arrays)
    return buffer.getvalue()


def wrap(adapter: ModelAdapter, source: ModelSource, recipe: Recipe) -> ModelAdapter:
    """Return an adapter that judges by the source's metric; the file is read, and not run yet.

    Raises:
        ConfigError: there is no such file or function, or the file is no Python.
    """
    assert source.metric is not None
    name, colon, function = source.metric.rpartition(":")
    if not colon or not name or not function.isidentifier():
        raise ConfigError(f"--metric {source.metric}: write it as FILE.py:FUNCTION")
    path = Path(name)
    try:
        tree = ast.parse(read_bytes(path, ConfigError), str(path))
    except (SyntaxError, ValueError) as exc:
        line = f", line {exc.lineno}" if isinstance(exc, SyntaxError) and exc.lineno else ""
        raise ConfigError(f"--metric {path}{line}: no Python: {getattr(exc, 'msg', exc)}") from exc
    found = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
    if function not in found:
        has = f"; it has {', '.join(found)}" if found else ""
        raise ConfigError(f"--metric {path}: there is no function {function!r} in it{has}")
    return Judged(adapter, path, function)
