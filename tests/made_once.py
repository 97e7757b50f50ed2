"""What several tests share and takes long to make: the first that asks makes it, for all workers of xdist."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """Return the folder of that name for this run of the tests, whichever worker has made it.

    Tests that change what lies there take a copy.

    Args:
        make: fills the folder that it is given, at its place. A second worker waits for it. After a failure,
            the next test that asks tries again.
    """
    root = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent  # of all workers
    place, whole = root / f"once-{name}", root / f"once-{name}.whole"
    with FileLock(root / f"once-{name}.lock"):
        if not whole.exists():
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir()
            make(place)
            whole.touch()
    return place
