"""Device profiles: what is true of a target, read from one YAML file in `targets/` and validated.

A profile holds no address: a host comes from `--device`. An alias file names the profiles it stands for, by
machine architecture, so that `cpu` means the right thing on x86-64 and on aarch64.
"""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from edgeprune.errors import ConfigError, did_you_mean
from edgeprune.resources import bundled

Precision = Literal["fp32", "fp16", "bf16", "int8"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
BackendName = Literal["onnxruntime", "openvino", "tensorrt", "ncnn", "litert", "executorch"]
SchemeName = Literal[
    "ort-u8s8", "ort-s8s8", "nncf", "trt-s8s8", "ncnn-minmax", "ncnn-kl", "litert-s8", "executorch-s8"
]  # fmt: skip
Architecture = Literal["x86_64", "aarch64"]
Model = TypeVar("Model", bound=BaseModel)


class DeviceProfile(BaseModel):
    """One target: its architecture, runtime, precisions, channel steps and quantisation scheme.

    Attributes:
        precisions: the precisions that get a row of their own, in the order they are shown.
        ship: the precision the artifact is meant to run in; pruning rounds channels for it.
        channel_step: channels per vector or tile of this runtime, by precision: pruned widths are multiples.
        scheme: the int8 quantisation scheme that this runtime runs fast.
        options: runtime options by precision, handed to the backend as they are.
        provider: what executes in runtimes that leave a choice: a provider of ONNX Runtime, a device of
            OpenVINO. None is the CPU.
        format: what ONNX Runtime is given: the ``onnx`` file, or ``ort`` for its builds for phones.
        environments: by precision, sets of environment variables that the build tries beside the plain
            one; the fastest by measurement is kept.
        system: operating system; with `arch` it decides whether rows are timed on this machine.
        built_on: ``host`` when this machine builds the engine, ``device`` if only that can.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    description: str
    arch: tuple[Architecture, ...]
    system: Literal["linux", "android"] = "linux"
    backend: BackendName
    precisions: tuple[Precision, ...] = Field(min_length=1)
    ship: Precision = "int8"
    channel_step: dict[Precision, int]
    scheme: SchemeName
    options: dict[Precision, dict[str, str]] = {}
    provider: str | None = None
    format: Literal["onnx", "ort"] = "onnx"
    environments: dict[Precision, tuple[dict[str, str], ...]] = {}
    built_on: Literal["host", "device"] = "host"
    notes: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> DeviceProfile:
        if self.ship not in self.precisions:
            raise ValueError(f"ship: {self.ship!r} is not among precisions {list(self.precisions)}")
        for precision in self.precisions:
            step = self.channel_step.get(precision, 0)
            if step < 1:
                raise ValueError(
                    f"channel_step.{precision}: a step of at least 1 is needed for each precision"
                )
        if self.provider is not None and self.backend not in ("onnxruntime", "openvino"):
            raise ValueError(f"provider: {self.backend} leaves no choice; leave this key out")
        if self.format == "ort" and self.backend != "onnxruntime":
            raise ValueError(f"format: 'ort' is a format of onnxruntime, not of {self.backend}")
        return self

    @property
    def step(self) -> int:
        """Channel step of the precision that ships, in channels."""
        return self.channel_step[self.ship]

    def environments_for(self, precision: str) -> tuple[dict[str, str], ...]:
        """Return the sets of environment variables to try at a precision, none as a rule."""
        return next((sets for key, sets in self.environments.items() if key == precision), ())

    @property
    def runs_here(self) -> bool:
        """Whether this machine has the target's architecture and system and builds its engine."""
        here = platform.machine() in self.arch and platform.system().lower() == self.system
        return self.built_on == "host" and here


def target_files(folder: Path | None = None) -> dict[str, Path]:
    """Return every profile and alias file by name, sorted."""
    folder = folder or bundled("targets")
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def load_profile(path: Path) -> DeviceProfile:
    """Read and validate one profile.

    Raises:
        ConfigError: an unreadable file, an unknown key, or a value outside its choices.
    """
    return validate(DeviceProfile, _read_mapping(path) | {"name": path.stem}, where=str(path))


def resolve_targets(names: tuple[str, ...], machine: str | None = None) -> tuple[DeviceProfile, ...]:
    """Turn target names, aliases and profile paths into profiles, each once, in the order given.

    Args:
        names: profile names, alias names, or paths to a profile's YAML file.
        machine: architecture that decides an alias; this machine's by default.

    Raises:
        ConfigError: an unknown target, or an alias that has nothing for this architecture.
    """
    machine = machine or platform.machine()
    files = target_files()
    found: dict[str, DeviceProfile] = {}
    for name in names:
        path = Path(name) if name.endswith((".yaml", ".yml")) else files.get(name)
        if path is None:
            raise ConfigError(
                f"unknown target {name!r}{did_you_mean(name, files)}; `edgeprune targets` lists them all"
            )
        alias = _read_mapping(path).get("alias")
        members = [load_profile(path)] if alias is None else _members(path, alias, machine, files)
        found |= {profile.name: profile for profile in members}
    return tuple(found.values())


def _members(path: Path, alias: Any, machine: str, files: dict[str, Path]) -> list[DeviceProfile]:
    if not isinstance(alias, dict) or machine not in alias:
        raise ConfigError(f"{path}: alias: nothing is listed for this machine's architecture {machine!r}")
    members = alias[machine]
    if not isinstance(members, list) or not members:
        raise ConfigError(f"{path}: alias.{machine}: a list of target names is expected, not {members!r}")
    for member in members:
        if member not in files:
            raise ConfigError(
                f"{path}: alias.{machine}: unknown target {member!r}{did_you_mean(str(member), files)}"
            )
    return [load_profile(files[member]) for member in members]


def _read_mapping(path: Path) -> dict[str, Any]:
    return read_yaml(path)


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML mapping by safe_load.

    Raises:
        ConfigError: the file is missing, is not YAML, or is not a mapping.
    """
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as exc:
        raise ConfigError(f"{path}: cannot be read: {exc.strerror}") from exc
    except (yaml.YAMLError, UnicodeDecodeError) as exc:
        raise ConfigError(f"{path}: not valid YAML: {' '.join(str(exc).split())}") from exc
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: a mapping of keys to values is expected, not {type(data).__name__}")
    return data


def validate(model: type[Model], data: dict[str, Any], where: str) -> Model:
    """Validate `data` as `model`, turning pydantic's report into one line that names file and key.

    Raises:
        ConfigError: the first thing that is wrong, with the nearest known key or value.
    """
    try:
        return model.model_validate(data)
    except ValidationError as exc:
        raise ConfigError(f"{where}: {' '.join(_first_error(model, exc).split())}") from exc


def _first_error(model: type[BaseModel], exc: ValidationError) -> str:
    error = exc.errors()[0]
    key = ".".join(
        str(part) for part in error["loc"] if part != "[key]"
    )  # pydantic's mark of a mapping's key
    value = error.get("input")
    match error["type"]:
        case "extra_forbidden" | "unexpected_keyword_argument":  # of a model, of a dataclass
            known = _keys_at(model, error["loc"][:-1])
            return f"unknown key {key!r}{did_you_mean(str(error['loc'][-1]), known)}"
        case "literal_error":
            choices = [
                word.strip(" '") for word in error["ctx"]["expected"].replace(" or ", ", ").split(", ")
            ]
            return f"{key}: {value!r} is not one of {', '.join(choices)}{did_you_mean(str(value), choices)}"
        case "missing":
            return f"{key}: this key is required"
        case "model_type" | "dict_type":
            return f"{key}: a section of keys and values is expected, not {value!r}"
        case "value_error":
            message = error["msg"].removeprefix("Value error, ")
            return f"{key}: {message}" if key else message
        case _:
            return f"{key}: {error['msg']}, not {value!r}"


def _keys_at(model: type[BaseModel], loc: tuple[int | str, ...]) -> list[str]:
    for part in loc:
        field = model.model_fields.get(str(part))
        inner = field.annotation if field else None
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            return []
        model = inner
    return list(model.model_fields)
