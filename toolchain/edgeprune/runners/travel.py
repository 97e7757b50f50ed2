"""What travels to a device: the workers and what they import, as one zip file that Python imports from."""

from __future__ import annotations

import zipfile
from pathlib import Path

import edgeprune

# Standard library, numpy and the runtime are all that these need; tests/test_imports.py holds them to it.
TRAVELS = (
    "__init__.py",
    "errors.py",
    "meanings.py",
    "privacy.py",
    "processes.py",
    "redaction.py",
    "variables.py",
    "artifact.py",
    "documents.py",
    "files.py",
    "onnx_files.py",
    "decode.py",
    "packages.py",
    "pixels.py",
    "backends/*.py",
    "bench/__init__.py",
    "bench/affinity.py",
    "bench/answer_worker.py",
    "bench/environment.py",
    "bench/facts_worker.py",
    "bench/layer_worker.py",
    "bench/limits.py",
    "bench/live.py",
    "bench/node_worker.py",
    "bench/scenarios/*.py",
    "bench/sensors/*.py",
    "bench/telemetry.py",
    "bench/turns.py",
    "bench/worker.py",
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
