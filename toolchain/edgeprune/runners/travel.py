"""What travels to a device: the workers and what they import, as one zip file that Python imports from.

The modules of runtimes that other packages bring go with them, under the entry points that name them.
"""

from __future__ import annotations

import contextlib
import zipfile
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from importlib.util import find_spec
from pathlib import Path

import edgeprune
from edgeprune.core.backend import GROUP, get_backend, plugins
from edgeprune.core.errors import ConfigError

# Standard library, numpy and the runtime are all that these need; tests/test_imports.py holds them to it.
TRAVELS = (
    "__init__.py",
    "core/__init__.py",
    "core/artifact.py",
    "core/backend.py",
    "core/backend_types.py",
    "core/documents.py",
    "core/errors.py",
    "core/files.py",
    "core/meanings.py",
    "core/onnx_files.py",
    "core/onnx_outline.py",
    "core/packages.py",
    "core/privacy.py",
    "core/processes.py",
    "core/protobuf.py",
    "core/redaction.py",
    "core/resources.py",
    "core/threads.py",
    "core/variables.py",
    "images/__init__.py",
    "images/batches.py",
    "images/heads/*.py",
    "images/pixels.py",
    "images/size.py",
    "backends/*.py",
    "worker/**/*.py",
)


def write_package(path: Path) -> Path:
    """Write the zip file; the same sources always give the same bytes, so it is pushed once."""
    package = Path(edgeprune.__file__).parent
    files = {file: file.relative_to(package.parent) for pattern in TRAVELS for file in package.glob(pattern)}
    points = dict(_travelling())
    for point in points.values():
        files |= _sources(point.module.partition(".")[0])
    texts = {place.as_posix(): file.read_bytes() for file, place in files.items()}
    if points:
        listed = "".join(f"{name} = {points[name].value}\n" for name in sorted(points))
        about = "Metadata-Version: 2.1\nName: edgeprune-runtimes\nVersion: 0\n"
        texts |= {
            "edgeprune_runtimes.dist-info/METADATA": about.encode(),
            "edgeprune_runtimes.dist-info/entry_points.txt": f"[{GROUP}]\n{listed}".encode(),
        }
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in sorted(texts.items()):
            archive.writestr(zipfile.ZipInfo(name), text, zipfile.ZIP_DEFLATED)  # dated 1980
    return path


def _travelling() -> Iterator[tuple[str, EntryPoint]]:
    """Yield name and entry point of each runtime of another package that goes to a device."""
    for name, point in plugins().items():
        with contextlib.suppress(ConfigError):
            if get_backend(name).TRAVELS:
                yield name, point


def _sources(module: str) -> dict[Path, Path]:
    """Return the files of a top-level module or package, each with its place in the archive."""
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        return {}
    origin = Path(spec.origin)
    found = origin.parent.rglob("*.py") if spec.submodule_search_locations else (origin,)
    top = origin.parents[1] if spec.submodule_search_locations else origin.parent
    return {file: file.relative_to(top) for file in found}
