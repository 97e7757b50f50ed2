"""Which devices can be reached, and how they are doing."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from pydantic import BaseModel, ConfigDict

from edgeprune.errors import DeviceError, EdgepruneError
from edgeprune.runners.adb import attached
from edgeprune.runners.devices import LOCAL, runner_for
from edgeprune.runners.emulated import SCHEME
from edgeprune.runners.known import Place, known_places, place_of
from edgeprune.runners.runtimes import RUNTIMES
from edgeprune.runners.sysroot import ARCHITECTURES, parts

_TIMEOUT_S = 60.0
# What pip calls the runtime that a backend needs; TensorRT's own package is told by its own name.
PACKAGES = {package: name for name, runtime in RUNTIMES.items() for package in runtime.packages} | {
    "tensorrt": "tensorrt"
}


_STATE: dict[str, Any] = dict.fromkeys(("board", "cores", "os", "load", "temperature_c")) | {"governors": []}


class Seen(BaseModel):
    """One device.

    Attributes:
        state: of `bench/state.py`, with the versions of ``runtimes``; None where it could not be asked.
        error: why not, or why no runtime is known; None where all is well.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    address: str
    target: str | None
    reachable: bool
    state: dict[str, Any] | None
    error: str | None


def places_to_look_at(devices: Iterable[str]) -> list[Place]:
    """Return this machine, the devices of the user's files, those that adb knows, and those that are named.

    Raises:
        ConfigError: a name or address, or one of the user's files, is wrong.
    """
    found = [Place(LOCAL, LOCAL), *known_places().values()]
    with contextlib.suppress(DeviceError):  # no adb here, so no device behind it
        found += [Place(f"adb://{serial}", f"adb://{serial}") for serial in attached()]
    found += [place_of(device) for device in devices]
    return list({place.address: place for place in reversed(found)}.values())[::-1]


def look(places: Sequence[Place]) -> list[Seen]:
    """Ask all devices at once; return what each is, in the order of `places`, then what can be emulated.

    An emulated architecture is listed when the cache holds its system; it is not run for that.
    """
    with ThreadPoolExecutor(max(len(places), 1)) as pool:
        return [*pool.map(_seen, places), *_emulated()]


def _emulated() -> Iterator[Seen]:
    for machine, architecture in ARCHITECTURES.items():
        found = parts(machine)
        if "debian" not in found:
            continue
        wheels = [wheel.split("==") for name in found if name in RUNTIMES for wheel in found[name]["wheels"]]
        lacking = None if shutil.which(architecture.emulator) else f"there is no {architecture.emulator} here"
        address = f"{SCHEME}://{machine}"
        yield Seen(
            name=address,
            address=address,
            target=None,
            reachable=lacking is None,
            state=_STATE
            | {
                "machine": machine,
                "cpu": f"{architecture.processor}, emulated: never timed",
                "runtimes": dict(wheels),
            },
            error=lacking,
        )


def _seen(place: Place) -> Seen:
    facts: dict[str, Any] = {"name": place.name, "address": place.address, "target": place.target}
    try:
        with runner_for(place.address) as runner:
            lacking = None
            try:
                python = runner.python()
            except DeviceError as exc:
                python, lacking = "python3", str(exc)
            asked = (python, "-m", "edgeprune.bench.state", *PACKAGES)
            state = json.loads(runner.run(asked, _TIMEOUT_S).stdout.splitlines()[-1])
    except EdgepruneError as exc:
        return Seen(**facts, reachable=False, state=None, error=str(exc))
    except (ValueError, IndexError):
        return Seen(**facts, reachable=False, state=None, error=f"{place.address}: it answered with garbage")
    packages = state.pop("packages")
    state["runtimes"] = {PACKAGES[package]: version for package, version in packages.items()}
    return Seen(**facts, reachable=True, state=state, error=lacking)
