"""Device profiles: what is true of a target, read from one YAML file in `targets/` and validated.

A profile holds no address: a host comes from `--device`. It may be made from another one, see `derived`, and
go by several names. An alias file names the profiles it stands for, by
machine architecture, so that `cpu` means the right thing on x86-64 and on aarch64.
"""

from __future__ import annotations

import contextlib
import platform
import warnings
from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, Field, ValidationInfo, model_validator

from edgeprune.config.derived import with_base
from edgeprune.config.limits import LIMITS
from edgeprune.config.section import IS_NUMBER, Section
from edgeprune.core.backend import Backend, get_backend, known_backends, known_schemes
from edgeprune.core.documents import read_mapping, validate
from edgeprune.core.errors import ConfigError, OldFormWarning, did_you_mean, which_target
from edgeprune.core.resources import config_dir, find_bundled
from edgeprune.core.variables import require_tuning

Precision = Literal["fp32", "fp16", "bf16", "int8"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
Architecture = Literal["x86_64", "aarch64"]
Place = Literal["host", "device"]
_PLACES = ("compile_on", "evaluate_on", "time_on")
_FOR_PEOPLE = {
    "name",
    "description",
    "extends",
    "aliases",
    "maker",
    "cores",
    "memory",
    "sources",
    "channel_step_from",
    "notes",
}


_OF_A_USER = "a file of a user's"
"""Context of a validation: such a profile names what is installed here, the one in a build need not."""


def _known(name: str, names: Collection[str]) -> str:
    if name not in names:
        raise ValueError(f"{name!r} is not one of {', '.join(names)}{did_you_mean(name, names)}")
    return name


def _installed(name: str, info: ValidationInfo) -> str:
    return _known(name, known_backends()) if info.context == _OF_A_USER else name


SchemeName = Annotated[str, AfterValidator(lambda name: _known(name, known_schemes()))]
"""An int8 scheme that any runtime takes."""
ChannelStep = Annotated[int, Field(**LIMITS["channel_step"].constraints()), IS_NUMBER]
Variables = Annotated[dict[str, str], AfterValidator(require_tuning)]
"""Environment variables that a row is run with: only those that tune a runtime, see `core/variables.py`."""


class DeviceProfile(Section):
    """One target: its architecture, runtime, precisions, channel steps and quantization scheme.

    Attributes:
        precisions: the precisions that get a row of their own, in the order they are shown.
        ship: the precision the artifact is meant to run in; pruning rounds channels for it.
        channel_step: channels per vector or tile of this runtime, by precision: pruned widths are multiples.
        scheme: the int8 quantization scheme that this runtime runs fast.
        options: runtime options by precision, handed to the backend as they are.
        provider: what executes in runtimes that leave a choice: a provider of ONNX Runtime, a device of
            OpenVINO. None is the CPU.
        format: what the runtime is given: ``onnx`` for what it compiles of such a file; ``ort`` is for ONNX
            Runtime's builds for phones.
        environments: by precision, sets of environment variables that the build tries beside the plain
            one; the fastest by measurement is kept.
        system: operating system; with `arch` it decides whether rows are timed on this machine.
        compile_on: where the engine is compiled: on the ``host``, or on the ``device`` if only that can.
        evaluate_on: where accuracy is measured. For an engine that only the device compiles, the ``host``
            measures the file that it is compiled from.
        time_on: where latency is measured: the ``host`` times what is of its own kind, and has the device
            that a command names time the rest; ``device`` says that the host never does.
        extends: the profile that this one was made from; its keys are here already.
        aliases: what else people call it; each is taken for its name.
        maker: who makes the board or chip; empty where it does not matter.
        cores, memory, sources: of the board, in words for people, and where they were read.
        channel_step_from: whether `channel_step` was measured, and else where it was taken from.
    """

    name: str
    description: str
    arch: tuple[Architecture, ...]
    system: Literal["linux", "android"] = "linux"
    backend: Annotated[str, AfterValidator(_installed)]
    precisions: tuple[Precision, ...] = Field(min_length=1)
    ship: Precision = "int8"
    channel_step: dict[Precision, ChannelStep]
    scheme: str
    options: dict[Precision, dict[str, str]] = Field(default={})
    provider: str | None = None
    format: str = "onnx"
    environments: dict[Precision, tuple[Variables, ...]] = Field(default={})
    compile_on: Place = "host"
    evaluate_on: Place = "host"
    time_on: Place = "host"
    extends: str | None = None
    aliases: tuple[str, ...] = ()
    maker: str = ""
    cores: str = ""
    memory: str = ""
    sources: tuple[str, ...] = ()
    channel_step_from: str = ""
    notes: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _consistent(self, info: ValidationInfo) -> DeviceProfile:
        if self.ship not in self.precisions:
            raise ValueError(f"ship: {self.ship!r} is not among precisions {list(self.precisions)}")
        for precision in self.precisions:
            if precision not in self.channel_step:
                raise ValueError(f"channel_step.{precision}: a step is needed for each precision")
        if info.context == _OF_A_USER:
            self._require_facts(get_backend(self.backend))
        if self.compile_on == "device" and self.time_on == "host":
            raise ValueError("time_on: what only the device compiles is timed there: write time_on: device")
        return self

    def _require_facts(self, backend: Backend) -> None:
        """Check what depends on the runtime; every message begins with the key."""
        if self.provider is not None and backend.providers is None:
            raise ValueError(f"provider: {self.backend} leaves no choice; leave this key out")
        named = {} if self.provider is None else {"provider": self.provider}
        if backend.PRECISIONS and (others := set(self.precisions) - set(backend.PRECISIONS)):
            makes = f"{self.backend} makes {' and '.join(backend.PRECISIONS)} only"
            raise ValueError(f"precisions: {makes}, not {', '.join(sorted(others))}")
        for precision in self.precisions:
            try:
                backend.require_options(named | self.options.get(precision, {}), precision)
            except ConfigError as exc:
                raise ValueError(f"options.{precision}.{exc}") from exc
        for key, value, taken in (
            ("format", self.format, backend.FORMATS),
            ("scheme", self.scheme, backend.SCHEMES),
        ):
            if value not in taken:
                near = did_you_mean(value, taken)
                raise ValueError(f"{key}: {self.backend} takes {' or '.join(taken)}, not {value!r}{near}")

    @property
    def step(self) -> int:
        """Channel step of the precision that ships, in channels."""
        return self.channel_step[self.ship]

    @property
    def traits(self) -> dict[str, Any]:
        """What building and timing on the target depend on, JSON-like: all but what is said of it to people.

        For the keys of stages: two targets that differ in nothing else share what was made for one of them.
        """
        return self.model_dump(mode="json", exclude=_FOR_PEOPLE)

    def environments_for(self, precision: str) -> tuple[dict[str, str], ...]:
        """Return the sets of environment variables to try at a precision, none as a rule."""
        return next((sets for key, sets in self.environments.items() if key == precision), ())

    @property
    def runs_here(self) -> bool:
        """Whether this machine has the target's architecture and system, and times its engine."""
        here = platform.machine() in self.arch and platform.system().lower() == self.system
        return self.time_on == "host" and here

    @property
    def names_path(self) -> str | None:
        """The first runtime option that reads or writes a file of its own, None where none does."""
        pairs = ((key, value) for options in self.options.values() for key, value in options.items())
        return next((key for key, value in pairs if "/" in value or "\\" in value), None)


def own_folder() -> Path | None:
    """Return the folder of the user's own profiles, if they have a home folder; it need not be there."""
    try:
        return config_dir() / "targets"
    except ConfigError:
        return None


def target_files() -> dict[str, Path]:
    """Return every profile and alias file by name, sorted: those that are shipped, and the user's own.

    A profile of the user's stands in place of a shipped one of its name.
    """
    found = {path.stem: path for folder in _folders() for path in folder.glob("*.yaml")}
    return dict(sorted(found.items()))


def _folders() -> tuple[Path, ...]:
    """Return the folders that hold profiles; what lies in the last one counts most."""
    return tuple(filter(None, (find_bundled("targets"), own_folder())))


def target_names() -> dict[str, Path]:
    """Return every name that a target goes by, with its file: its own name, or one of its `aliases`.

    A name of its own comes before an alias, and a user's alias before a shipped one. What cannot be read has
    no aliases.
    """
    files = target_files()
    found: dict[str, Path] = {}
    for path in sorted(files.values(), key=lambda path: path.parent == own_folder()):
        found |= dict.fromkeys(_aliases(path), path)
    return found | files


def _aliases(path: Path) -> list[str]:
    with contextlib.suppress(ConfigError):
        aliases = read_mapping(path, ConfigError).get("aliases")
        return list(map(str, aliases)) if isinstance(aliases, list) else []
    return []


def _require_one(alias: str, path: Path) -> None:
    """Refuse an alias that several profiles of one folder claim: nothing tells which board is meant.

    Raises:
        ConfigError: the profiles that claim it.
    """
    claim = [file for file in path.parent.glob("*.yaml") if alias in _aliases(file)]
    if len(claim) > 1:
        raise ConfigError(
            f"target {alias!r}: it is an alias of {' and of '.join(map(str, sorted(claim)))}; "
            "take it out of one of them, or name the profile"
        )


def shipped_profiles() -> tuple[DeviceProfile, ...]:
    """Return the profiles that are shipped, by name; aliases stand for some of them."""
    files = sorted(find_bundled("targets").glob("*.yaml"))
    return tuple(load_profile(path) for path in files if "alias" not in read_mapping(path, ConfigError))


def load_profile(path: Path) -> DeviceProfile:
    """Read and validate one profile.

    A profile with ``built_on``, as they were up to 0.3, is read, with an `OldFormWarning` that says what to
    write.

    Raises:
        ConfigError: an unreadable file, an unknown key, or a value outside its choices.
    """
    data = with_base(path, _files_of) | {"name": path.stem}
    if "built_on" in data and not any(key in data for key in _PLACES):
        data = _with_places(data, path)
    return validate(DeviceProfile, data, str(path), ConfigError, _OF_A_USER)


def _files_of(name: str) -> tuple[Path, ...]:
    """Return the files that a name may stand for: the user's own before the shipped one that it replaces.

    Raises:
        ConfigError: no target goes by it.
    """
    stem = name
    if name not in target_files():
        names = target_names()  # which reads all of them
        if name not in names:
            raise ConfigError(f"unknown target {name!r}{which_target(name, names)}")
        _require_one(name, names[name])
        stem = names[name].stem
    return tuple(path for folder in reversed(_folders()) if (path := folder / f"{stem}.yaml").is_file())


def _with_places(data: dict[str, Any], path: Path) -> dict[str, Any]:
    """Return a profile's keys with the three that took the place of ``built_on``."""
    place = data["built_on"]
    if place not in ("host", "device"):
        raise ConfigError(f"{path}: built_on: it was 'host' or 'device'; {', '.join(_PLACES)} took its place")
    compiled = "host" if data.get("format") == "ort" else place  # the host has always written these files
    places = {"compile_on": compiled, "evaluate_on": "host", "time_on": place}
    lines = ", ".join(f"`{key}: {value}`" for key, value in places.items())
    warnings.warn(f"{path}: in place of `built_on: {place}` write {lines}", OldFormWarning, stacklevel=2)
    return {key: value for key, value in data.items() if key != "built_on"} | places


def resolve_targets(names: tuple[str, ...], machine: str | None = None) -> tuple[DeviceProfile, ...]:
    """Turn target names, aliases and profile paths into profiles, each once, in the order given.

    Args:
        names: names and aliases of profiles, names of alias files, or paths to a profile's YAML file.
        machine: architecture that decides an alias; this machine's by default.

    Raises:
        ConfigError: an unknown target, an alias that has nothing for this architecture or that several
            profiles claim, or two profiles of one name.
    """
    machine = machine or platform.machine()
    own_names = files = target_files()
    if any(name not in files for name in names):
        files = target_names()
    found: dict[str, tuple[Path, DeviceProfile]] = {}
    places = {name: Path(name) if name.endswith((".yaml", ".yml")) else files.get(name) for name in names}
    if unknown := [name for name, path in places.items() if path is None]:
        said = "; ".join(f"unknown target {name!r}{which_target(name, files)}" for name in unknown)
        raise ConfigError(f"{said}; `edgeprune targets` lists them all")
    for name, path in places.items():
        assert path is not None  # the unknown ones are told above
        if files.get(name) == path and name not in own_names:
            _require_one(name, path)
        alias = read_mapping(path, ConfigError).get("alias")
        for member in [path] if alias is None else _members(path, alias, machine, files):
            profile = load_profile(member)
            other, _ = found.setdefault(profile.name, (member, profile))
            if other.resolve() != member.resolve():
                files_of_it = f"{other} and {member}"
                raise ConfigError(
                    f"two targets go by the name {profile.name!r}: {files_of_it}; rename one of the files"
                )
    return tuple(profile for _, profile in found.values())


def _members(path: Path, alias: Any, machine: str, files: dict[str, Path]) -> list[Path]:
    if not isinstance(alias, dict) or machine not in alias:
        raise ConfigError(f"{path}: alias: nothing is listed for this machine's architecture {machine!r}")
    members = alias[machine]
    if not isinstance(members, list) or not members:
        raise ConfigError(f"{path}: alias.{machine}: a list of target names is expected, not {members!r}")
    for member in members:
        if member not in files:
            raise ConfigError(
                f"{path}: alias.{machine}: unknown target {member!r}{which_target(str(member), files)}"
            )
    return [files[member] for member in members]
