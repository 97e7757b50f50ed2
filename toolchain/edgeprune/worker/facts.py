"""What a device is, how it is doing and which runtimes it has, told by its own Python.

``python -m edgeprune.worker.facts MODULE ...`` prints one line of JSON: ``environment`` (of
`environment.read_environment`), and ``versions`` of those of the modules that are installed there. None is
imported: that takes seconds on a small board. Standard library only: it travels to the device.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

from edgeprune.core.packages import versions_of
from edgeprune.worker.environment import read_environment


def read_facts(modules: Sequence[str]) -> dict[str, Any]:
    """Return what the line holds.

    A version is that of the package which brings the module: `onnxruntime` may come from `onnxruntime-gpu`.
    """
    return {"environment": read_environment(), "versions": versions_of(modules)}


if __name__ == "__main__":
    print(json.dumps(read_facts(sys.argv[1:])))
