"""The device that a command measures on: this machine, or the one that `--device` names."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from edgeprune.backends import get_backend
from edgeprune.bench.effort import Effort
from edgeprune.config.targets import DeviceProfile
from edgeprune.core.backend import modules_of
from edgeprune.core.documents import parse_json
from edgeprune.core.errors import CompileError, ConfigError, DeviceError, NotMeasuredWarning, tell
from edgeprune.runners import Runner
from edgeprune.runners.devices import LOCAL
from edgeprune.runners.local import LocalRunner
from edgeprune.worker.environment import read_environment
from edgeprune.worker.facts import BUILDERS, PROVIDERS

_FACTS_TIMEOUT_S = 120.0
_IDENTITY = ("machine", "board", "cpu", "cores", "affinity", "kernel")
_TOLD = {*_IDENTITY, "os", "load", "thermal_c", "frequency"}


@dataclass(frozen=True)
class Testbed:
    """A device in use.

    Attributes:
        runner: entered, with an interpreter that imports the runtimes that were named.
        environment: what `read_environment` told there when it was entered.
        versions: of those runtimes on the device, by backend.
        effort: how much is measured there.
        builds_only: those of the runtimes of which only a program is there that builds engines: nothing runs
            them in a worker.
    """

    runner: Runner
    environment: dict[str, Any]
    versions: dict[str, str]
    effort: Effort = field(default_factory=Effort)
    builds_only: frozenset[str] = frozenset()

    @property
    def is_local(self) -> bool:
        """Whether it is this machine."""
        return self.runner.name == LOCAL

    @property
    def machine(self) -> dict[str, Any]:
        """What makes a latency this device's: processor, cores, kernel; GPUs and a Jetson's power mode."""
        told = {key: self.environment[key] for key in _IDENTITY}
        if gpus := [gpu.get("name") for gpu in self.environment.get("gpus") or ()]:
            told["gpus"] = gpus
        if mode := (self.environment.get("jetson") or {}).get("power_mode"):
            told["power_mode"] = mode
        return told

    def measures(self, profile: DeviceProfile) -> bool:
        """Whether engines of a target are measured there: it is a device of the target's kind."""
        if self.is_local:
            return profile.runs_here
        return suits(profile, self.runner.machine) and profile.backend not in self.builds_only

    def compiles(self, profile: DeviceProfile) -> bool:
        """Whether engines of a target are compiled there, and not on this machine."""
        return not self.is_local and profile.compile_on == "device" and suits(profile, self.runner.machine)

    def evaluates(self, profile: DeviceProfile) -> bool:
        """Whether the accuracy of a target is measured there: so it has to be where its engine only is."""
        there = "device" in (profile.compile_on, profile.evaluate_on)
        return not self.is_local and there and self.measures(profile)

    def version(self, backend: str) -> str | None:
        """Return the version of a runtime on the device, None where it is not there."""
        return get_backend(backend).version() if self.is_local else self.versions.get(backend)

    def require(self, profile: DeviceProfile) -> None:
        """Refuse a target that cannot be measured here.

        Raises:
            CompileError: it is another kind of device, or one that only builds engines.
        """
        if self.measures(profile):
            return
        if profile.backend in self.builds_only and suits(profile, self.runner.machine):
            backend = get_backend(profile.backend)
            get = backend.advice(self.environment) if backend.advice else backend.HOW_TO_GET
            why = (
                f"{self.runner.name} has no Python module {backend.MODULE}, only a program that builds its "
                f"engines: nothing is measured there; {get}"
            )
        elif self.is_local:
            why = "this target is not this machine; nothing can be measured here"
        else:
            why = why_unsuited(profile, self.runner.name, self.runner.machine)
        raise CompileError(f"{profile.name}: {why}")


def suits(profile: DeviceProfile, machine: str) -> bool:
    """Whether a target is of an architecture, and runs Linux as every other machine that is reached."""
    return machine in profile.arch and profile.system == "linux"


def why_unsuited(profile: DeviceProfile, device: str, machine: str) -> str:
    """Say why a target is not of a device, and what is measured there."""
    if machine in profile.arch and profile.system != "linux":
        return (
            "this target runs in an app on the phone, and what edgeprune starts over ssh or adb is no app; "
            "--target android-ort is measured there, on the CPU"
        )
    return f"this target is not {device}, which is {machine}: it is of {' or '.join(profile.arch)}"


def local(effort: Effort | None = None) -> Testbed:
    """Return this machine."""
    return Testbed(LocalRunner(), read_environment(), {}, effort or Effort())


def as_testbed(runner: Runner, profiles: Sequence[DeviceProfile], effort: Effort | None = None) -> Testbed:
    """Return the device of a runner that has been entered, for those of the targets that it can run.

    Of the others a `NotMeasuredWarning` says why nothing is measured.

    Raises:
        ConfigError: it can run none of the targets.
        DeviceError: its Python lacks a runtime, or it answered with garbage.
    """
    if runner.name == LOCAL:
        return local(effort)
    fit = [one for one in profiles if suits(one, runner.machine)]
    others = [
        f"{one.name}: {why_unsuited(one, runner.name, runner.machine)}" for one in profiles if one not in fit
    ]
    if others and not fit:
        raise ConfigError("; ".join(others))
    for why in others:
        tell(NotMeasuredWarning(f"{why}; nothing is measured of it"))
    backends = list(dict.fromkeys(one.backend for one in fit))
    try:
        python = runner.python(*modules_of(backends))
    except DeviceError as exc:
        built = {one.backend for one in fit if one.compile_on == "device"}
        return _building_only(runner, backends, built, effort or Effort(), exc)
    _require_providers(runner, python, fit)
    return Testbed(runner, *facts_of(runner, python, backends), effort or Effort())


def _require_providers(runner: Runner, python: str, profiles: Iterable[DeviceProfile]) -> None:
    """Refuse targets for what a device does not have, before anything is built for it.

    Raises:
        CompileError: a target is for a provider, such as a core, that the device's runtime does not find.
    """
    for profile in profiles:
        if profile.compile_on == "host" or profile.provider is None:
            continue
        has = _told(runner, python, PROVIDERS, [profile.backend]).get(profile.backend, [])
        if not any(profile.provider in (one, one.partition(".")[0]) for one in has):
            note = get_backend(profile.backend).PROVIDERS_NOTE
            raise CompileError(
                f"{profile.name}: {runner.name} has no {profile.provider}: {profile.backend} there runs on "
                f"{', '.join(has)}{f' ({note})' if note else ''}; take a target for that"
            )


def _building_only(
    runner: Runner, backends: Sequence[str], built: Collection[str], effort: Effort, lacking: DeviceError
) -> Testbed:
    """Return a device that lacks runtimes of which it compiles engines, where a program there builds them.

    Args:
        built: runtimes whose engines the device compiles.
        lacking: what the device's Python said.

    Raises:
        DeviceError: it lacks others as well, or has no such program; the message says how to get it.
    """
    others = [name for name in backends if name not in built]
    if not built:
        raise lacking
    python = runner.python(*modules_of(others))
    environment, versions = facts_of(runner, python, backends)
    builders = _builders_of(runner, python, built)
    for name in built:
        backend = get_backend(name)
        if name not in builders:
            get = backend.advice(environment) if backend.advice else backend.HOW_TO_GET
            raise DeviceError(f"{runner.name}: its Python has no {backend.MODULE}: {get}") from lacking
    return Testbed(runner, environment, versions | builders, effort, frozenset(built))


def _builders_of(runner: Runner, python: str, backends: Iterable[str]) -> dict[str, str]:
    """Return the versions of the programs there that build engines of runtimes, by runtime."""
    return _told(runner, python, BUILDERS, backends)


def _told(runner: Runner, python: str, what: str, backends: Iterable[str]) -> dict[str, Any]:
    """Ask a device for one of `worker.facts.OF_RUNTIMES`, by runtime."""
    asked = (python, "-m", "edgeprune.worker.facts", what, *sorted(backends))
    told = parse_json(runner.run(asked, _FACTS_TIMEOUT_S).stdout.splitlines()[-1], runner.name, DeviceError)
    return dict(told[what.removeprefix("--")])


def facts_of(runner: Runner, python: str, backends: Iterable[str]) -> tuple[dict[str, Any], dict[str, str]]:
    """Ask a device what it is.

    Args:
        python: an interpreter there.

    Returns:
        What `read_environment` tells there, and the versions of those runtimes that it has, by backend.

    Raises:
        DeviceError: it failed, or answered with garbage.
    """
    modules = modules_of(backends)
    asked = (python, "-m", "edgeprune.worker.facts", *modules)
    told = runner.run(asked, _FACTS_TIMEOUT_S).stdout
    try:
        facts = parse_json(told.splitlines()[-1], runner.name, DeviceError)
        versions = {modules[module]: version for module, version in facts["versions"].items()}
        environment = dict(facts["environment"])
        if not environment.keys() >= _TOLD:
            raise ValueError
        return environment, versions
    except (DeviceError, ValueError, IndexError, KeyError, TypeError, AttributeError) as exc:
        raise DeviceError(f"{runner.name}: it answered with garbage when asked what it is") from exc
