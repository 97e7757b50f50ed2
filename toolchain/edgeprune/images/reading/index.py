"""What is known of the files of a data set: digests by their state on disk, findings by their digest.

A file whose state is as it was is not read again; one that was only touched is hashed again, and has the same
digest. Kept in one file of the build folder's `stages/`.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from edgeprune import __version__
from edgeprune.core.errors import DataError
from edgeprune.core.files import read_parts, reason, write_text_atomically
from edgeprune.images.reading.pictures import Picture, examine

FILE = ".data-index.json"
State = tuple[int, int, int, int]


def content_sha256(path: Path) -> str:
    """Return the sha256 of a file's content.

    Raises:
        DataError: it cannot be read.
    """
    total = hashlib.sha256()
    for part in read_parts(path, DataError):
        total.update(part)
    return total.hexdigest()


class Index:
    """Digests and findings, read from a file where there is one; a new one begins empty.

    Args:
        file: where it is kept; None keeps it in memory.

    Attributes:
        agreed: key of the reading that was found to be ultralytics' own.
    """

    def __init__(self, file: Path | None = None) -> None:
        self._file = file
        self.agreed = ""
        self._written = ""
        self._known: dict[str, tuple[State, str]] = {}
        self._pictures: dict[str, Picture] = {}
        self._seen: dict[str, tuple[State, str]] = {}
        self._found: dict[str, Picture] = {}
        if file is not None:
            self._read(file)

    def digest(self, path: Path) -> str:
        """Return the sha256 of a file's content.

        Raises:
            DataError: it cannot be read.
        """
        name = str(path)
        try:
            state = _state(path)
            known = self._seen.get(name) or self._known.get(name)
            if known is None or known[0] != state:
                known = (state, content_sha256(path))
        except (OSError, ValueError) as exc:
            raise DataError(f"{path}: cannot be read: {reason(exc)}") from exc
        self._seen[name] = known
        return known[1]

    def picture(self, path: Path) -> Picture:
        """Return what is known of an image, which is decoded if its content is new.

        Raises:
            DataError: it cannot be read.
        """
        key = f"{self.digest(path)}{path.suffix.lower()}"
        found = self._found.get(key) or self._pictures.get(key)
        if found is None:
            try:
                found = examine(path)
            except OSError as exc:
                raise DataError(f"{path}: cannot be read: {reason(exc)}") from exc
        self._found[key] = found
        return found

    def save(self) -> None:
        """Write what was asked for since the index was read; the rest is of files that are gone."""
        if self._file is None:
            return
        content = {
            "versions": _versions(),
            "agreed": self.agreed,
            "files": {name: [*state, digest] for name, (state, digest) in self._seen.items()},
            "pictures": {key: asdict(picture) for key, picture in self._found.items()},
        }
        text = json.dumps(content, separators=(",", ":"), sort_keys=True) + "\n"
        if text != self._written:
            write_text_atomically(self._file, text)
            self._written = text

    def _read(self, file: Path) -> None:
        """Take in what an earlier build has written; a damaged file is one that is not there."""
        try:
            self._written = file.read_text(encoding="utf-8")
            content: dict[str, Any] = json.loads(self._written)
            self._known = {
                name: ((size, modified, changed, inode), digest)
                for name, (size, modified, changed, inode, digest) in content["files"].items()
            }
            if content["versions"] == _versions():
                self.agreed = str(content["agreed"])
                self._pictures = {key: Picture(**value) for key, value in content["pictures"].items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            self._known, self._pictures, self.agreed = {}, {}, ""


def _versions() -> dict[str, str]:
    """Return the versions of what decodes; findings of other ones are forgotten."""
    import cv2
    import PIL

    reads_heif = "yes" if find_spec("pi_heif") else "no"
    return {
        "edgeprune": __version__,
        "opencv": cv2.__version__,
        "pillow": PIL.__version__,
        "heif": reads_heif,
    }


def _state(path: Path) -> State:
    found = path.stat()
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino
