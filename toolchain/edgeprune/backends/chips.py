"""The one option of a runtime whose engines are for one chip: which chip that is."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from edgeprune.core.errors import ConfigError, did_you_mean


def require_chip(options: Mapping[str, str], key: str, known: Collection[str], runtime: str) -> str:
    """Return the chip that the options of a profile name.

    Raises:
        ConfigError: an unknown chip or option, or no chip.
    """
    if other := next((name for name in options if name != key), None):
        raise ConfigError(f"{other}: {runtime} takes one option, {key}")
    names = ", ".join(known)
    if key not in options:
        raise ConfigError(f"{key}: an engine of {runtime} is for one chip, which has to be named: {names}")
    chip = options[key]
    if chip not in known:
        raise ConfigError(f"{key}: unknown chip {chip!r}{did_you_mean(chip, known)}; known are {names}")
    return chip
