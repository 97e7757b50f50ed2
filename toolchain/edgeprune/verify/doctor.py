"""What this machine can do: its CPU, the installed packages, and each runtime, proven by a model run in it.

Torch is not imported, so a diagnosis takes seconds.
"""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import import_module, metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion
from pydantic import BaseModel, ConfigDict, computed_field

from edgeprune.backends import BACKENDS, REFERENCE, all_backends, get_backend, known_backends
from edgeprune.config.targets import resolve_targets
from edgeprune.core.backend_types import Prover
from edgeprune.core.errors import ConfigError, EdgepruneError, OutputError
from edgeprune.core.extras import how_to_get
from edgeprune.core.files import read_bytes
from edgeprune.core.packages import (
    UNKNOWN,
    distribution_named,
    distributions_of,
    modules_of,
    name_of,
    version_of,
)
from edgeprune.verify.probe import MODEL, NOT_INSTALLED, probe_apart
from edgeprune.worker.environment import read_environment
from edgeprune.worker.sensors.cgroup import bytes_of, cores_of

Status = Literal["ok", "warn", "fail"]

# The instructions that decide how much int8 and bf16 gain, by the names of /proc/cpuinfo.
INT8_DOT = ("avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm")
BF16 = ("avx512_bf16", "amx_bf16", "bf16")
VECTOR = ("avx2", "avx512f", "asimd", "sve", "sve2")

# Modules that another distribution may bring instead, such as opencv-python-headless: the metadata of the one
# that is required cannot tell them, since it is not installed.
BROUGHT = {"opencv-python": "cv2"}
EXTRAS = {
    "build": "to prune, train and convert",
    "charts": "to draw the charts of reports",
    "postgres": "to keep the history in PostgreSQL",
    "search": "for edgeprune search, beside [build]",
    "tensorboard": "to write the curves of fine-tuning",
    "nvidia": "to read the sensors of an NVIDIA GPU",
}
_OF_BUILDS = "torch-pruning"  # what nothing but the extra `build` brings
_ALWAYS = (REFERENCE,)  # the runtime that every install has
_CHECKED_APART = ("dev", "rtx", *BACKENDS)
"""Extras that are no feature of their own: `check_runtime` and `check_prover` prove what they bring."""
HEADLESS = (
    "pip uninstall --yes opencv-python && pip install --force-reinstall --no-deps opencv-python-headless"
)


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Machine(_Record):
    """The facts of this machine.

    Attributes:
        cores: logical cores that are online.
        cores_usable: what CPU affinity and the container's quota leave of them; a quota may be a fraction.
        memory_mb: physical memory, or the container's limit where that is lower, in MB (1e6 bytes).
        features: the instructions it has out of those that matter to int8 and bf16.
        governor: the frequency governor of each core, None where the kernel does not tell.
        gpus: NVIDIA GPUs with their driver, as nvidia-smi names them.
    """

    python: str
    system: str
    architecture: str
    cpu: str
    features: tuple[str, ...]
    cores: int
    cores_usable: float
    memory_mb: int
    governor: str | None
    gpus: tuple[str, ...]


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes:
        status: ``ok``; ``warn`` when other targets or steady timings suffer, ``fail`` when builds do.
        advice: what to do about it, empty when there is nothing to do.
    """

    name: str
    status: Status
    detail: str
    advice: str = ""


class Diagnosis(_Record):
    """What this machine can do, and why not the rest."""

    machine: Machine
    system: tuple[Check, ...]
    packages: tuple[Check, ...]
    runtimes: tuple[Check, ...]
    ahead_of_time: tuple[Check, ...] = ()

    @property
    def checks(self) -> tuple[Check, ...]:
        """Every check, in the order to show them."""
        return (*self.system, *self.packages, *self.runtimes, *self.ahead_of_time)

    @computed_field  # type: ignore[prop-decorator]  # pydantic's documented form; mypy#1362
    @property
    def ok(self) -> bool:
        """Whether nothing failed: every needed package is there, every runtime of the target `cpu` works."""
        return all(check.status != "fail" for check in self.checks)


def diagnose() -> Diagnosis:
    """Look at this machine, its packages and its runtimes."""
    names = known_backends()
    with ThreadPoolExecutor(len(names)) as pool:
        runtimes = pool.map(check_runtime, names)
        machine = inspect_machine()
        return Diagnosis(
            machine=machine,
            system=_system_checks(machine),
            packages=check_packages(),
            runtimes=tuple(runtimes),
            ahead_of_time=tuple(check_prover(found) for one in all_backends() if (found := one.prover)),
        )


def lines(diagnosis: Diagnosis) -> list[tuple[Status, str, str, str]]:
    """Return every check as (status, name, detail, advice), in the order to show them."""
    return [(check.status, check.name, check.detail, check.advice) for check in diagnosis.checks]


def inspect_machine() -> Machine:
    """Read the facts of this machine."""
    import cpuinfo

    facts = read_environment()
    cpu = cpuinfo.get_cpu_info()
    flags = set(cpu.get("flags", ()))
    governors = {core["scaling_governor"] for core in (facts["frequency"] or {}).values()} - {None}
    return Machine(
        python=f"{platform.python_version()} at {sys.executable}",
        system=platform.platform(),
        architecture=platform.machine(),
        cpu=cpu.get("brand_raw") or facts["cpu"] or "unknown",
        features=tuple(name for name in (*VECTOR, *INT8_DOT, *BF16) if name in flags),
        cores=facts["cores"],
        cores_usable=min(len(facts["affinity"]), cores_of(facts["cgroup"]["cpu"])),
        memory_mb=int(min(facts["memory_kb"]["MemTotal"] * 1024, bytes_of(facts["cgroup"]["memory"])) / 1e6),
        governor=", ".join(sorted(governors)) or None,
        gpus=_gpus(),
    )


def _gpus() -> tuple[str, ...]:
    smi = shutil.which("nvidia-smi")
    if not smi:
        return ()
    query = [smi, "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return ()
    return tuple(line.strip() for line in done.stdout.splitlines() if line.strip())


def _system_checks(machine: Machine) -> tuple[Check, ...]:
    gpus = "; ".join(machine.gpus) or "no NVIDIA GPU; CPU targets need none"
    return (
        Check("python", "ok", f"{machine.python} on {machine.system}"),
        _cpu_check(machine),
        Check("cores", "ok", f"{machine.cores_usable:g} usable of {machine.cores}"),
        Check("memory", "ok", f"{machine.memory_mb} MB"),
        _governor_check(machine.governor),
        Check("gpu", "ok", gpus),
    )


def _cpu_check(machine: Machine) -> Check:
    int8 = " ".join(name for name in INT8_DOT if name in machine.features)
    bf16 = " ".join(name for name in BF16 if name in machine.features)
    detail = (
        f"{machine.cpu} ({machine.architecture}); int8: {int8 or 'no dot products'}; bf16: {bf16 or 'none'}"
    )
    if int8:
        return Check("cpu", "ok", detail)
    return Check("cpu", "warn", detail, "int8 may gain little over fp32 on this CPU; a build measures it")


def _governor_check(governor: str | None) -> Check:
    if governor is None:
        return Check("governor", "warn", "not shown by this kernel, so clocks may vary while timing")
    if governor == "performance":
        return Check("governor", "ok", governor)
    advice = "for steadier timings: sudo cpupower frequency-set --governor performance"
    return Check("governor", "warn", governor, advice)


def check_packages() -> tuple[Check, ...]:
    """Check each package that edgeprune's own metadata requires: installed, new enough, importable.

    So is what the extra `build` brings, once it is installed. What other extras lack, runtimes apart, is a
    warning.
    """
    own = distribution_named("edgeprune")
    if own is None:
        advice = "pip install edgeprune, or pip install --editable . in its checkout"
        return (Check("edgeprune", "fail", "run from a folder, not installed", advice),)
    wanted = _requirements(own)
    if not wanted:
        return (Check("edgeprune", "fail", "its metadata lists no requirements", "install edgeprune again"),)
    # An extra's requirement carries a marker that is false without that extra.
    needed = [_package(one) for one in wanted if _of_extra(one, "build" if _builds() else "")]
    apart = (*_CHECKED_APART, "build") if _builds() else _CHECKED_APART
    extras = [name for name in own.metadata.get_all("Provides-Extra") or () if name not in apart]
    return (*needed, *filter(None, (_extra(name, wanted) for name in extras)))


def _builds() -> bool:
    """Whether this install is to prune, train and convert, not only to measure."""
    return distribution_named(_OF_BUILDS) is not None


def _of_extra(one: Requirement, extra: str) -> bool:
    return one.marker is None or one.marker.evaluate({"extra": extra})


def _requirements(distribution: metadata.Distribution) -> list[Requirement]:
    try:
        return [Requirement(text) for text in distribution.requires or ()]
    except (OSError, ValueError):  # InvalidRequirement is a ValueError
        return []


def _package(wanted: Requirement) -> Check:
    get = f"pip install '{_plainly(wanted)}'"
    found = _bringing(wanted.name)
    if found is None:
        return Check(wanted.name, "fail", NOT_INSTALLED, get)
    version, modules = version_of(found), modules_of(found)
    again = f"pip install --force-reinstall --no-deps '{_plainly(wanted)}'"
    if version == UNKNOWN:
        return Check(wanted.name, "fail", "its metadata is damaged: it tells no version", again)
    own = canonicalize_name(name_of(found)) == canonicalize_name(wanted.name)
    shown = version if own else f"{version} of {name_of(found)}"
    if not _fits(wanted, version):
        return Check(wanted.name, "fail", f"{shown}, but {wanted.specifier} is needed", get)
    if modules and not any(map(_is_there, modules)):
        return Check(wanted.name, "fail", f"{shown}, but its files are gone: no module {modules[0]}", again)
    if "cv2" in modules:  # the one whose shared libraries are the system's, so only an import tells
        try:
            import_module("cv2")
        except ImportError as exc:
            return Check(wanted.name, "fail", f"{shown}: {exc}", HEADLESS)
    return Check(wanted.name, "ok", shown)


def _extra(name: str, wanted: Sequence[Requirement]) -> Check | None:
    """Check an extra of edgeprune; None where it needs nothing on this machine."""
    needed = [one for one in wanted if _of_extra(one, name) and not _of_extra(one, "")]
    checks = [_package(one) for one in needed]
    missing = [check.name for check in checks if check.detail == NOT_INSTALLED]
    lacks = [f"{', '.join(missing)} {NOT_INSTALLED}"] if missing else []
    lacks += [f"{one.name} {one.detail}" for one in checks if one.status != "ok" and one.name not in missing]
    if not checks or not lacks:
        return (
            Check(f"[{name}]", "ok", ", ".join(f"{one.name} {one.detail}" for one in checks))
            if checks
            else None
        )
    advice = f"{EXTRAS.get(name, 'an extra')}: {how_to_get(name)}"
    return Check(f"[{name}]", "warn", "; ".join(lacks), advice)


def _bringing(name: str) -> metadata.Distribution | None:
    """Return the distribution of a name, or another one that brings the same module."""
    found = distribution_named(name)
    if found is None:
        found = next(distributions_of(BROUGHT.get(name, name.replace("-", "_"))), None)
    return found


def _plainly(wanted: Requirement) -> str:
    """Return a requirement as pip takes it, without its marker."""
    return str(wanted).partition(";")[0].strip()


def _fits(wanted: Requirement, version: str) -> bool:
    try:
        return wanted.specifier.contains(version, prereleases=True)
    except InvalidVersion:
        return False


def _is_there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except (ImportError, ValueError):  # a half-imported module has no spec
        return False


def check_runtime(name: str) -> Check:
    """Prove in a process of its own that the runtime `name` compiles and runs a model here.

    A runtime that the target `cpu` does not need gets a warning, not a failure, when it does not work.
    So does one that is not there on an install which only measures.
    """
    works, detail = probe_apart(name)
    if works:
        return Check(name, "ok", detail)
    missing = detail.startswith(NOT_INSTALLED)
    advice = (
        get_backend(name).HOW_TO_GET
        if missing
        else f"see the whole story with: python -m edgeprune.verify.probe {name}"
    )
    fails = name in _needed_runtimes() and (_builds() or name in _ALWAYS or not missing)
    return Check(name, "fail" if fails else "warn", detail, advice)


def check_prover(prover: Prover) -> Check:
    """Prove that a model is built ahead of time here; what does not run models is no runtime."""
    name = prover.NAME.lower()
    if prover.version() is None:
        return Check(name, "warn", NOT_INSTALLED, f"{prover.WHY}: {prover.HOW_TO_GET}")
    with tempfile.TemporaryDirectory() as folder:
        try:
            proof = prover.prove(MODEL, Path(folder) / "log")
        except EdgepruneError as exc:
            said = read_bytes(Path(folder) / "log", OutputError).decode(errors="replace").strip().splitlines()
            return Check(name, "warn", " ".join([*said[-1:], str(exc)]), f"reinstall: {prover.HOW_TO_GET}")
    built = f"built a model for {', '.join(proof.capabilities)} without a GPU"
    return Check(name, "ok", f"{proof.version}; {built}")


def _needed_runtimes() -> set[str]:
    try:
        return {profile.backend for profile in resolve_targets(("cpu",))}
    except ConfigError:  # an architecture that the alias does not list needs none
        return set()
