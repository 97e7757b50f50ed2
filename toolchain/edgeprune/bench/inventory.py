"""Which devices can be reached, and how they are doing."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from pydantic import BaseModel, ConfigDict

from edgeprune.backends import all_backends, known_backends
from edgeprune.bench.testbed import facts_of
from edgeprune.core.errors import DeviceError, EdgepruneError
from edgeprune.runners.adb import list_attached
from edgeprune.runners.devices import LOCAL, runner_for
from edgeprune.runners.emulated import SCHEME
from edgeprune.runners.known import Place, known_places, place_of
from edgeprune.runners.sysroot import ARCHITECTURES, parts
from edgeprune.worker.sensors.thermal import hottest

_STATE: dict[str, Any] = dict.fromkeys(("board", "cores", "os", "load", "temperature_c")) | {"governors": []}


class Seen(BaseModel):
    """One device.

    Attributes:
        state: of `_state`; None where it could not be asked.
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
        found += [Place(f"adb://{serial}", f"adb://{serial}") for serial in list_attached()]
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
        wheels = [
            wheel.split("==") for name in found if name in known_backends() for wheel in found[name]["wheels"]
        ]
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
    lacking = None
    try:
        with runner_for(place.address) as runner:
            try:
                python = runner.python()
            except DeviceError as exc:
                python, lacking = "python3", str(exc)
            state = _state(*facts_of(runner, python, [one.name for one in all_backends()]))
    except EdgepruneError as exc:
        # What keeps its Python from measuring may be what keeps it from answering.
        return Seen(**facts, reachable=lacking is not None, state=None, error=lacking or str(exc))
    return Seen(**facts, reachable=True, state=state, error=lacking)


def _state(environment: Mapping[str, Any], versions: Mapping[str, str]) -> dict[str, Any]:
    """Return the machine, its load, hottest zone in degrees Celsius, governors, and runtimes by version."""
    governors = {core["scaling_governor"] for core in (environment["frequency"] or {}).values()}
    return {
        **{key: environment[key] for key in ("machine", "board", "cpu", "cores", "os")},
        "load": environment["load"][0] if environment["load"] else None,
        "temperature_c": hottest(environment["thermal_c"]),
        "governors": sorted(governor for governor in governors if governor),
        "runtimes": versions,
    }
