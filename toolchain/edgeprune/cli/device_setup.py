"""How `edgeprune device setup` gives a device what it lacks: an environment, or a Python of its own."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgeprune.cli import echo
from edgeprune.cli.options import one_target

if TYPE_CHECKING:
    from edgeprune.runners.looking import Seen
    from edgeprune.runners.parts import Part
    from edgeprune.runners.remote import RemoteRunner


def set_up(runner: RemoteRunner, target: str | None, yes: bool) -> None:
    """Give a device numpy and the runtime of a target, and Python where it has none that is new enough.

    Args:
        target: a profile; by default the runtimes of `cpu` there.
        yes: send a Python without asking.

    Raises:
        ConfigError: nobody is there to be asked, or the target is none, or of another architecture.
        DeviceError: it cannot be reached, or be given that.
    """
    from edgeprune.runners.looking import look, require_able
    from edgeprune.runners.runtimes import OLDEST

    with runner.shell() as shell:
        seen = look(shell)
    if seen.version or seen.python < OLDEST:
        require_able(runner.name, seen)
        _bring(runner, seen, _backends(target, runner.name, seen.machine), yes)
    else:
        _install(runner, _backends(target, runner.name, seen.machine))


def _backends(target: str | None, device: str, machine: str) -> list[str]:
    from edgeprune.bench.testbed import why_unsuited
    from edgeprune.config.targets import resolve_targets
    from edgeprune.core.errors import ConfigError

    profiles = [one_target(target)] if target else resolve_targets(("cpu",), machine)
    for profile in profiles:
        if machine not in profile.arch:
            raise ConfigError(f"{profile.name}: {why_unsuited(profile, device, machine)}")
    return list(dict.fromkeys(profile.backend for profile in profiles))


def _say(text: str) -> None:
    echo(f"device: {text}", err=True)


def _install(runner: RemoteRunner, backends: Sequence[str]) -> None:
    from edgeprune.runners.runtimes import install

    with runner:
        for backend in backends:
            python = install(backend, runner, _say)
            echo(f"{backend} is installed: {python}")


def _bring(runner: RemoteRunner, seen: Seen, backends: Sequence[str], yes: bool) -> None:
    from edgeprune.runners.bringing import bring
    from edgeprune.runners.looking import require_room
    from edgeprune.runners.parts import compose

    own = [name for name in backends if _is_of_system(name)]
    brought = [name for name in backends if name not in own]
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        parts = compose(runner.name, seen.machine, brought, place, lambda _, text: _say(f"fetching {text}"))
        lacking = seen.lacks(parts)
        require_room(runner.name, seen, lacking)
        if lacking and not _agreed(runner.name, seen, lacking, yes):
            return
        with runner.shell() as shell:
            python = bring(shell, seen, parts, _say)
    echo(f"{', '.join(brought) or 'numpy'} is installed: {python}")
    for name in own:
        _say(
            f"{name} is part of the device's own system, whose modules this Python does not see: only a "
            "program of it that builds engines can be used"
        )


def _is_of_system(name: str) -> bool:
    """Whether a runtime is brought by nobody: pip has none, the device's own system has it."""
    from edgeprune.core.backend import get_backend

    backend = get_backend(name)
    return bool(backend.MODULE) and not backend.PIP


def _agreed(name: str, seen: Seen, lacking: Sequence[Part], yes: bool) -> bool:
    """Tell what is to be sent, and ask whether it may be.

    Raises:
        ConfigError: nobody is there to be asked.
    """
    from edgeprune.core.errors import ConfigError

    sent, kept = sum(part.sent for part in lacking) / 1e6, sum(part.size for part in lacking) / 1e6
    what = f"{', '.join(part.name for part in lacking)}: {sent:.0f} MB to send, {kept:.0f} MB in {seen.root}"
    if yes:
        _say(f"{seen.own_python}, so it gets {what}")
        return True
    if not sys.stdin.isatty():
        raise ConfigError(f"{name}: {seen.own_python}; it would get {what}: say --yes")
    return click.confirm(f"{name}: {seen.own_python}. Send it {what}?", err=True)
