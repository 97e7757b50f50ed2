"""What a device is and which runtimes it has, told by a process on it.

``python -m edgeprune.bench.facts_worker BACKEND ...`` prints one line of JSON: ``environment`` (of
`environment.read_environment`) and ``versions``, one a backend, None for a runtime that is not there. It
travels to the device: it needs the standard library and the runtimes that it is asked for.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

from edgeprune.backends import get_backend
from edgeprune.bench.environment import read_environment


def main(backends: Sequence[str]) -> None:
    """Print the line."""
    versions = {name: get_backend(name).version() for name in backends}
    print(json.dumps({"environment": read_environment(), "versions": versions}))


if __name__ == "__main__":
    main(sys.argv[1:])
