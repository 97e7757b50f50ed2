"""What travels to a device: the workers and what they import, as one zip file that Python imports from."""

from __future__ import annotations

import zipfile
from pathlib import Path

import edgeprune

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
    "core/variables.py",
    "images/__init__.py",
    "images/decode.py",
    "images/pixels.py",
    "backends/*.py",
    "worker/**/*.py",
)


def write_package(path: Path) -> Path:
    """Write the zip file; the same sources always give the same bytes, so it is pushed once."""
    package = Path(edgeprune.__file__).parent
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for pattern in TRAVELS:
            for file in sorted(package.glob(pattern)):
                entry = zipfile.ZipInfo(f"edgeprune/{file.relative_to(package).as_posix()}")  # dated 1980
                archive.writestr(entry, file.read_bytes(), zipfile.ZIP_DEFLATED)
    return path
