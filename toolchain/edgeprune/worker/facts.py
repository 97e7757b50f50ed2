"""What a device is, how it is doing and which runtimes it has, told by its own Python.

``python -m edgeprune.worker.facts MODULE ...`` prints one line of JSON: ``environment`` (of
`environment.read_environment`), and ``versions`` of those of the modules that are installed there. No module
is imported: that takes seconds on a small board.

``--builders BACKEND ...`` asks for ``builders`` alone: the versions of those runtimes' programs that build
engines. ``--providers BACKEND ...`` asks for ``providers``: what each of those runtimes, which is imported,
may run on. Standard library only: it travels to the device.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from typing import Any

from edgeprune.core.backend import Backend, get_backend
from edgeprune.core.packages import versions_of
from edgeprune.worker.environment import read_environment

BUILDERS, PROVIDERS = "--builders", "--providers"
OF_RUNTIMES: dict[str, Callable[[Backend], object]] = {
    BUILDERS: lambda backend: backend.builder(),
    PROVIDERS: lambda backend: backend.providers() if backend.providers else None,
}


def read_facts(asked: Sequence[str]) -> dict[str, Any]:
    """Return what the line holds.

    A version is that of the package which brings the module: `onnxruntime` may come from `onnxruntime-gpu`.

    Args:
        asked: modules; or one of `OF_RUNTIMES`, and runtimes behind it.
    """
    if asked and asked[0] in OF_RUNTIMES:
        found = {name: OF_RUNTIMES[asked[0]](get_backend(name)) for name in asked[1:]}
        return {asked[0].removeprefix("--"): {name: told for name, told in found.items() if told}}
    return {"environment": read_environment(), "versions": versions_of(asked)}


if __name__ == "__main__":
    print(json.dumps(read_facts(sys.argv[1:])))
