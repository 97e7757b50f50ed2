"""Artifacts, and the store of whole stages: what a build has made, by content hash.

Standard library only: this file travels to the device with the benchmark worker.
"""

from __future__ import annotations

import hashlib
import json
import os
import resource
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from edgeprune.core.documents import read_json
from edgeprune.core.errors import LONGEST, CompileError, EdgepruneError, ModelError, OutputError
from edgeprune.core.files import inside, read_parts, size_of, write_text_atomically
from edgeprune.core.onnx_files import external_files

Kind = Literal["torch", "onnx", "program", "engine"]
MANIFEST = "manifest.json"
_KEPT = "engine.json"
STAGES = "stages"
SUMMARY = "summary.json"
_LOCK = ".lock"
LITTLE_SPACE_MB = 256
SOURCE_ENDING = ".source.onnx"
"""In place of an engine's ending: the file that it was compiled from, where only a device loads it."""
WEIGHTS = ".bin"
# OpenVINO's and ncnn's graphs have their weights beside them, TensorRT's engines an account of what they are.
_BESIDE = {".xml": WEIGHTS, ".param": WEIGHTS, ".engine": ".json", ".plan": ".json"}


@dataclass(frozen=True)
class Built:
    """Where and in what time an engine was compiled.

    Attributes:
        device: model of the CPU, where it tells one; `arch` as `platform.machine` names it.
        runtime: name and version of the runtime that compiled it.
    """

    device: str | None
    arch: str
    runtime: str
    seconds: float


@dataclass(frozen=True)
class Artifact:
    """A model in one form: where it is, what it is, and what it was made from.

    Attributes:
        path: a file, or a folder for formats of several files (OpenVINO's ``model.xml`` + ``model.bin``).
        kind: ``torch`` checkpoint, ``onnx`` graph, ``program`` of torch.export, or an ``engine`` that a
            runtime loads.
        precision: ``fp32``, ``fp16``, ``bf16`` or ``int8``.
        sha256: hex digest of the content: of a file and its weights, of a folder's paths and files; of a
            checkpoint that of the network in it (`models.identity`), whichever file that lies in.
        parent: digest of the artifact that this one was made from, if any.
        built: of an engine that a build compiled.
    """

    path: Path
    kind: Kind
    precision: str
    sha256: str
    parent: str | None = None
    built: Built | None = None

    @classmethod
    def of(
        cls, path: Path, kind: Kind, precision: str, parent: str | None = None, built: Built | None = None
    ) -> Artifact:
        """Describe what lies at `path`, hashing its content."""
        return cls(path, kind, precision, digest_with_weights(path), parent, built)

    @property
    def size_bytes(self) -> int:
        """Bytes on disk, over all files of the artifact."""
        return sum(path.stat().st_size for path in parts_of(self.path))


def parts_of(path: Path) -> tuple[Path, ...]:
    """Return the files of an artifact: all in a folder, or a file and its weights.

    Raises:
        ModelError: an ONNX file cannot be read, or names weights outside its folder.
    """
    if path.is_dir():
        return tuple(sorted(entry for entry in path.rglob("*") if not entry.is_dir()))
    if path.suffix == ".onnx":
        return (path, *external_files(path))
    beside = path.with_suffix(_BESIDE[path.suffix]) if path.suffix in _BESIDE else None
    return (path, beside) if beside and beside.exists() else (path,)


def source_beside(engine: Path) -> Path | None:
    """Return the ONNX file beside an engine that it was compiled from, if it is there."""
    source = engine.with_suffix(SOURCE_ENDING)
    there = os.path.isfile(source)  # noqa: PTH113  # Path.is_file raises where the name is too long
    return source if there else None


def lone(folder: Path, usual: str) -> Path | None:
    """Return the file of a folder that has a usual name, else the only one of that ending, else None."""
    if (folder / usual).is_file():
        return folder / usual
    found = [entry for entry in folder.glob(f"*{Path(usual).suffix}") if entry.is_file()]
    return found[0] if len(found) == 1 else None


def digest(path: Path, error: type[EdgepruneError] = ModelError) -> str:
    """Return the sha256 of a file's content, or of a folder's relative paths and contents.

    Raises:
        error: a part of it cannot be read, or is no regular file.
    """
    return _hashed(parts_of(path) if path.is_dir() else (path,), path, error)


def digest_with_weights(path: Path) -> str:
    """Return the sha256 of an artifact: as `digest`, but of a file and of the weights that lie beside it."""
    return _hashed(parts_of(path), path, ModelError)


def _hashed(files: Sequence[Path], path: Path, error: type[EdgepruneError]) -> str:
    total = hashlib.sha256()
    for file in files:
        if path.is_dir():
            name = os.fsencode(file.relative_to(path).as_posix())
            total.update(b"%b\0%d\0" % (name, size_of(file, error)))
        elif len(files) > 1:
            total.update(b"%d\0" % size_of(file, error))
        for chunk in read_parts(file, error):
            total.update(chunk)
    return total.hexdigest()


def content_key(inputs: Mapping[str, Any]) -> str:
    """Return a short stable hash of JSON-like inputs, the name of the stage that has them."""
    text = json.dumps(inputs, sort_keys=True, default=str, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def require_own_folder(out: Path, names: Iterable[str]) -> None:
    """Refuse an output folder where a user's own files lie under the names that are to be written.

    Args:
        names: of the files and folders that are replaced there. In a folder that a build, sweep or search has
            been at work in, which its lock or its summary shows, they are ours.

    Raises:
        OutputError: such a file or folder is there; all are named.
    """
    if (out / STAGES / _LOCK).is_file() or _has_summary(out):
        return
    found = [name for name in names if os.path.lexists(out / name)]
    if found:
        raise OutputError(
            f"{out}: {' and '.join(found)} there would be replaced, and edgeprune has not made it: "
            "name another output folder"
        )


def _has_summary(out: Path) -> bool:
    try:
        summary = read_json(out / SUMMARY, OutputError)
    except OutputError:
        return False
    return isinstance(summary, dict) and "schema_version" in summary


class Store:
    """The whole stages of a build folder, each in `root/<name>-<key>` with a manifest of its files' digests.

    A stage is made in a hidden folder beside its place and renamed when it is whole, so `kill -9` at any
    moment loses at most the running stage. A stage whose files no longer match its manifest is made again.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.reused: list[str] = []
        self.seconds: dict[str, float] = {}
        self._reused_s = 0.0
        self.versions: dict[str, str] = {}
        self._counted: set[Path] = set()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the build folder for this process and sweep what killed builds left unfinished.

        Raises:
            OutputError: the folder cannot be written, another build holds it, or the disk ran full meanwhile.
        """
        from edgeprune.core.locks import exclusive  # a device, where this file travels to, has no filelock

        busy = "another edgeprune build is at work in this folder"
        with exclusive(self.root / _LOCK, "the output folder", busy):
            for left in self.root.glob(".partial-*"):
                shutil.rmtree(left, ignore_errors=True)
            try:
                yield
            except Exception as exc:
                self._blame_the_disk(exc)
                raise

    def _blame_the_disk(self, exc: Exception) -> None:
        """Turn a failed write into an error of its own: the libraries that write name the disk in many ways.

        torch raises a RuntimeError without a reason, numpy and shutil an OSError without a number.
        """
        free = shutil.disk_usage(self.root).free // 1_000_000
        largest = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
        cause = exc.__cause__ or exc
        why = f"the disk is full: {free} MB are left after what was unfinished is removed"
        if free >= LITTLE_SPACE_MB:
            why = f"files of more than {largest} bytes cannot be written here (ulimit -f)"
        about_writing = any(word in str(cause) for word in ("writ", "unexpected pos", "too large"))
        limited = free < LITTLE_SPACE_MB or (largest != resource.RLIM_INFINITY and about_writing)
        if limited and isinstance(cause, OSError | RuntimeError):
            said = (str(cause).splitlines() or [type(cause).__name__])[0]
            raise OutputError(f"{self.root}: {why}; whole stages are kept ({said})") from exc

    def now(self) -> float:
        """Return a monotonic time in seconds, in which what is reused takes as long as when it was made.

        A build that was killed and goes on so comes to a bound of time where an unbroken one would have.
        """
        return time.monotonic() + self._reused_s

    def find(self, name: str, inputs: Mapping[str, Any]) -> Path | None:
        """Return the folder of a whole stage made from these inputs, or None."""
        place = self.root / f"{name}-{content_key(inputs)}"
        return place if _is_whole(place) else None

    def stage(self, name: str, inputs: Mapping[str, Any], make: Callable[[Path], None]) -> Path:
        """Return the folder of the stage `name` made from `inputs`, making it when it is not there yet.

        Args:
            name: the stage, used in the folder's name.
            inputs: everything the result depends on, JSON-like; its hash is the key.
            make: writes the stage's files into the folder it is given.

        Raises:
            CompileError: as `make` raised it; a message that it had to shorten is whole in `logs/<name>.log`
                of the build folder.
        """
        if found := self.find(name, inputs):
            self.reused.append(name)
            self._reused_s += self._count(name, found)
            return found
        place = self.root / f"{name}-{content_key(inputs)}"
        partial = Path(tempfile.mkdtemp(prefix=f".partial-{name}-", dir=self.root))
        started = time.monotonic()
        try:
            make(partial)
            files = {file.relative_to(partial).as_posix(): digest(file) for file in parts_of(partial)}
            seconds = round(time.monotonic() - started, 3)
            manifest = {"stage": name, "inputs": inputs, "files": files, "seconds": seconds}
            write_text_atomically(partial / MANIFEST, json.dumps(manifest, indent=1, default=str) + "\n")
            shutil.rmtree(place, ignore_errors=True)
            partial.chmod(0o755)  # mkdtemp makes it private to the user
            partial.rename(place)
        except BaseException as exc:
            shutil.rmtree(partial, ignore_errors=True)
            if isinstance(exc, CompileError) and len(str(exc.__cause__ or "")) > LONGEST:
                log = self.root.parent / "logs" / f"{name}.log"
                write_text_atomically(log, f"{exc.__cause__}\n")
                raise CompileError(f"{exc}; the whole message: {log}") from exc.__cause__
            raise
        self._count(name, place)
        return place

    def _count(self, name: str, place: Path) -> float:
        """Add up how long a stage took when it was made, once for each of its folders; return what is new."""
        if place in self._counted:
            return 0.0
        self._counted.add(place)
        taken = float(read_json(place / MANIFEST, OutputError).get("seconds", 0.0))
        self.seconds[name] = self.seconds.get(name, 0.0) + taken
        return taken


def keep_path(stage: Path, name: str) -> None:
    """Note what the artifact in a stage's folder is called, for `kept_path`."""
    write_text_atomically(stage / _KEPT, json.dumps({"path": name}))


def kept_path(stage: Path) -> Path:
    """Return the artifact of a stage's folder, by what `keep_path` noted.

    Raises:
        OutputError: the note is damaged, or leads out of the folder.
    """
    noted = read_json(stage / _KEPT, OutputError)
    if not isinstance(noted, dict) or not isinstance(noted.get("path"), str):
        raise OutputError(f"{stage / _KEPT}: damaged: remove the folder, and the stage is made again")
    return inside(stage, noted["path"], OutputError)


def _is_whole(place: Path) -> bool:
    try:
        files = read_json(place / MANIFEST, OutputError)["files"]
        return all(digest(place / name) == expected for name, expected in files.items())
    except (EdgepruneError, OSError, KeyError, TypeError, AttributeError):
        return False
