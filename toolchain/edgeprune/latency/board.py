"""A device profile of a board that is there: what is read and measured on it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

import yaml

from edgeprune import __version__
from edgeprune.bench.flags import CONTENDED
from edgeprune.bench.testbed import facts_of
from edgeprune.config.targets import DeviceProfile, Precision
from edgeprune.core.backend import known_backends, modules_of
from edgeprune.latency.profile import MeasuredStep
from edgeprune.runners import Runner

_GIGABYTE = 1e9 / 1024  # in the kernel's kilobytes


def board_profile(
    runner: Runner, base: DeviceProfile, measured: Mapping[Precision, MeasuredStep], subject: str
) -> DeviceProfile:
    """Return the profile of a device: that of its kind, with what was read and measured there.

    Args:
        runner: entered.
        base: the profile of its kind.
        measured: channel steps by precision; the others stay as they are in `base`.
        subject: what was measured with, in words.

    Raises:
        DeviceError: it failed, or answered with garbage.
    """
    environment, versions = facts_of(runner, runner.python(*modules_of([base.backend])), known_backends())
    board = environment["board"] or environment["cpu"] or environment["machine"]
    steps = {precision: found.step for precision, found in measured.items() if found.step is not None}
    changes: dict[str, Any] = {
        "description": f"{board}, {base.backend} {versions.get(base.backend, '')}".rstrip(),
        "arch": (environment["machine"],),
        "channel_step": {**base.channel_step, **steps},
        "extends": None,
        "aliases": (),
        "cores": _cores(environment),
        "memory": _memory(environment.get("memory_kb")),
        "sources": (),
        "channel_step_from": _origin(base, measured, subject),
        "notes": (_state(environment, versions), *base.notes),
    }
    return base.model_copy(update=changes)


def to_yaml(profile: DeviceProfile) -> str:
    """Return a profile as the text of its file, without what is the default anyway and without its name."""
    data = profile.model_dump(mode="json", exclude_defaults=True, exclude={"name"})
    return yaml.safe_dump(data | {"ship": profile.ship}, sort_keys=False, allow_unicode=True, width=110)


def _cores(environment: Mapping[str, Any]) -> str:
    """Say how many cores there are, of what, and of how many kinds as the kernel tells them."""
    kinds = environment.get("kinds") or environment.get("capacity") or {}
    counts = Counter(kinds.values())
    what = f"{environment['cores']} x {environment['cpu'] or environment['machine']}"
    if len(counts) < 2:
        return what
    parts = (f"{count} of {kind}" for kind, count in sorted(counts.items(), key=str))
    return f"{what}; by kind or capacity: {', '.join(parts)}"


def _memory(kilobytes: Any) -> str:
    total = kilobytes.get("MemTotal") if isinstance(kilobytes, dict) else None
    return f"{total / _GIGABYTE:.1f} GB" if total else ""


def _origin(base: DeviceProfile, measured: Mapping[Precision, MeasuredStep], subject: str) -> str:
    """Say of each precision whether its step was measured."""
    found = [precision for precision, one in measured.items() if one.step is not None]
    lacking = [precision for precision in base.precisions if precision not in found]
    said = []
    if found:
        when = f"{datetime.now(timezone.utc):%Y-%m-%d}"
        said.append(f"{', '.join(found)} measured on {when} by edgeprune {__version__} with {subject}")
    if lacking:
        said.append(f"{', '.join(lacking)} taken from {base.name}, not measured")
    said += [
        f"{precision} while other processes took {one.foreign:.0%} of a core: measure again"
        for precision, one in measured.items()
        if one.foreign > CONTENDED
    ]
    return "; ".join(said)


def _state(environment: Mapping[str, Any], versions: Mapping[str, str]) -> str:
    """Say how the device was when it was asked."""
    frequency = environment["frequency"] or {}
    governors = sorted(
        {str(core["scaling_governor"]) for core in frequency.values() if core["scaling_governor"]}
    )
    runtimes = ", ".join(f"{name} {version}" for name, version in versions.items())
    return (
        f"Read on the device: {environment['os']}, kernel {environment['kernel']}; "
        f"governor {', '.join(governors) or 'not told'}; runtimes {runtimes or 'none'}."
    )
