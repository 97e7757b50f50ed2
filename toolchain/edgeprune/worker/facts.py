"""What a device is, how it is doing and which runtimes it has, told by its own Python.

``python -m edgeprune.worker.facts MODULE ... --builders BACKEND ...`` prints one line of JSON:
``environment`` (of `environment.read_environment`), ``versions`` of those of the modules that are installed
there, and ``builders``, the versions of those runtimes' programs that build engines. No module is imported:
that takes seconds on a small board. Standard library only: it travels to the device.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

from edgeprune.core.backend import get_backend
from edgeprune.core.packages import versions_of
from edgeprune.worker.environment import read_environment

BUILDERS = "--builders"


def read_facts(asked: Sequence[str]) -> dict[str, Any]:
    """Return what the line holds.

    A version is that of the package which brings the module: `onnxruntime` may come from `onnxruntime-gpu`.

    Args:
        asked: modules, and behind `BUILDERS` runtimes.
    """
    at = asked.index(BUILDERS) if BUILDERS in asked else len(asked)
    found = {name: get_backend(name).builder() for name in asked[at + 1 :]}
    return {
        "environment": read_environment(),
        "versions": versions_of(asked[:at]),
        "builders": {name: version for name, version in found.items() if version},
    }


if __name__ == "__main__":
    print(json.dumps(read_facts(sys.argv[1:])))
