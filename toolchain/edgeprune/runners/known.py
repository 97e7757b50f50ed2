"""The user's own devices by name: `devices.yaml` in the working folder, or in the user's configuration.

```yaml
pi:
  address: ssh://pi@board
  target: rpi5
```
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict

from edgeprune.config.targets import resolve_targets
from edgeprune.core.documents import read_mapping, validate
from edgeprune.core.errors import ConfigError, did_you_mean
from edgeprune.core.resources import config_dir
from edgeprune.runners.devices import LOCAL, runner_for

FILE = "devices.yaml"


class Place(NamedTuple):
    """A device to measure on.

    Attributes:
        name: what the user calls it: a name of the file, or the address itself.
        target: profile that lone engines are run by there, unless another is named.
    """

    name: str
    address: str
    target: str | None = None


class _Known(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    address: str
    target: str | None = None


def known_places() -> dict[str, Place]:
    """Return the devices of the user's files by name; the working folder's file has the first word.

    Raises:
        ConfigError: a file is not YAML, or holds an unknown key, address or target.
    """
    found: dict[str, Place] = {}
    for file in (config_dir() / FILE, Path.cwd() / FILE):
        if file.is_file():
            found |= _read(file)
    return found


def _read(file: Path) -> dict[str, Place]:
    places = {}
    for name, data in read_mapping(file, ConfigError).items():
        where = f"{file}: {name}"
        if not isinstance(name, str) or not isinstance(data, dict) or "://" in name or name == LOCAL:
            raise ConfigError(f"{where}: a name with its address and target is expected")
        known = validate(_Known, data, where, ConfigError)
        try:
            runner_for(known.address)
            if known.target is not None:
                resolve_targets((known.target,))
        except ConfigError as exc:
            raise ConfigError(f"{where}: {exc}") from exc
        places[name] = Place(name, known.address, known.target)
    return places


def place_of(device: str) -> Place:
    """Return the device that `--device` names: by a name of the user's files, or by its address.

    Raises:
        ConfigError: it is neither.
    """
    if device == LOCAL or "://" in device:
        runner_for(device)  # an address of another form ends here
        return Place(device, device)
    places = known_places()
    if device not in places:
        known = ", ".join(places) or f"none in {FILE}"
        raise ConfigError(
            f"--device {device!r}: neither {LOCAL}, an address such as ssh://user@host, nor a known name "
            f"({known}){did_you_mean(device, places)}"
        )
    return places[device]
