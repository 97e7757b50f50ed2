"""A profile that is made from another: `extends` names it, and only what differs is written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from edgeprune.core.documents import read_mapping
from edgeprune.core.errors import ConfigError

_OWN = ("description", "aliases", "cores", "memory", "sources", "channel_step_from")
"""What a profile says of one board: never taken over by another one."""


def with_base(
    path: Path, files_of: Callable[[str], Sequence[Path]], seen: tuple[Path, ...] = ()
) -> dict[str, Any]:
    """Read the keys of a profile, with those of the profile that it extends, and so on.

    A key that is written stands in place of the base's, whole; `notes` are added before the base's.

    Args:
        files_of: the files that a name may stand for, the nearest first; a user's profile may so extend the
            shipped one of its own name.
        seen: the profiles that were read on the way here.

    Raises:
        ConfigError: a file cannot be read; the base is unknown, stands for several, or leads in a circle.
    """
    data = read_mapping(path, ConfigError)
    name = data.get("extends")
    if name is None:
        return data
    if not isinstance(name, str):
        raise ConfigError(f"{path}: extends: the name of a target is expected, not {name!r}")
    chain = (*seen, path.resolve())
    try:
        files = files_of(name)
    except ConfigError as exc:
        raise ConfigError(f"{path}: extends: {exc}") from exc
    base = next((file for file in files if file.resolve() not in chain), None)
    if base is None:
        raise ConfigError(f"{path}: extends: {name!r} leads back to this profile")
    inherited = with_base(base, files_of, chain)
    if "alias" in inherited:
        raise ConfigError(f"{path}: extends: {name!r} stands for several targets; name one of them")
    kept = {key: value for key, value in inherited.items() if key not in _OWN}
    return kept | data | _notes(kept.get("notes"), data.get("notes"))


def _notes(base: Any, own: Any) -> dict[str, Any]:
    """Return the notes of both; where one has another form the profile's check says so."""
    if not isinstance(base, list) or not isinstance(own, list):
        return {}
    return {"notes": [*own, *(note for note in base if note not in own)]}
