"""What a device is and how it is doing, told by its own Python.

``python -m edgeprune.bench.state PACKAGE ...`` prints one line of JSON, with the versions of the packages
that are installed there. Standard library only: it travels to the device.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from importlib import metadata
from typing import Any

from edgeprune.bench.environment import read_environment
from edgeprune.bench.sensors.thermal import hottest


def read_state(packages: Sequence[str]) -> dict[str, Any]:
    """Return the machine, its load, hottest zone in degrees Celsius, governors, and packages by version."""
    env = read_environment()
    governors = {core["scaling_governor"] for core in (env["frequency"] or {}).values()}
    return {
        "machine": env["machine"],
        "board": env["board"],
        "cpu": env["cpu"],
        "cores": env["cores"],
        "os": env["os"],
        "load": env["load"][0] if env["load"] else None,
        "temperature_c": hottest(env["thermal_c"]),
        "governors": sorted(governor for governor in governors if governor),
        "packages": {name: version for name in packages if (version := _version(name))},
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


if __name__ == "__main__":
    print(json.dumps(read_state(sys.argv[1:])))
