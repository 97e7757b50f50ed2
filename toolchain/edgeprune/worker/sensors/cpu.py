"""The processor: its model and features, the clock of each core, and which cores are alike."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from edgeprune.worker.sensors.files import ROOT, number_of, text_of, whole

_CPU = "sys/devices/system/cpu"
_MOST_CORES = 8192  # of any kernel: NR_CPUS
# How the kernel names the cores of a hybrid Intel CPU, the most capable first (perf's event sources).
HYBRID_KINDS = ("cpu_core", "cpu_atom", "cpu_lowpower")
_CLOCK = ("scaling_governor", "scaling_min_freq", "scaling_max_freq", "scaling_cur_freq", "cpuinfo_max_freq")
# Favoured cores of one kind differ by a few per cent (Turbo Boost Max, preferred cores); Zen 5c runs at two
# thirds of Zen 5.
_ALIKE = 0.9


def read_model(root: Path = ROOT) -> str | None:
    """Return the model name on x86, or implementer and part on ARM, where /proc/cpuinfo has no name."""
    info: dict[str, str] = {}
    for line in (text_of(root / "proc/cpuinfo") or "").splitlines():
        key, _, value = line.partition(":")
        info.setdefault(key.strip(), value.strip())
    if "model name" in info:
        return info["model name"]
    parts = [f"{key} {info[key]}" for key in ("CPU implementer", "CPU part", "CPU variant") if key in info]
    return ", ".join(parts) or None


def read_cpu_flags(root: Path = ROOT) -> frozenset[str]:
    """Return the first core's features, such as ``avx512_vnni`` or ``asimddp``; empty where unreadable."""
    for line in (text_of(root / "proc/cpuinfo") or "").splitlines():
        key, _, value = line.partition(":")
        if key.strip() in {"flags", "Features"}:  # x86, ARM
            return frozenset(value.split())
    return frozenset()


def read_frequency(root: Path = ROOT) -> dict[str, dict[str, str | None]] | None:
    """Return governor and frequencies (kHz) of each core by its name, such as cpu0; None where not told."""
    cores = {core.name: core / "cpufreq" for core in sorted((root / _CPU).glob("cpu[0-9]*"))}
    return {
        core: {name: text_of(path / name) for name in _CLOCK} for core, path in cores.items() if path.is_dir()
    } or None


def read_khz(cores: Iterable[int], root: Path = ROOT) -> dict[str, int] | None:
    """Return the present frequency (kHz) of those cores that tell it."""
    told = {core: number_of(root / _CPU / f"cpu{core}/cpufreq/scaling_cur_freq") for core in sorted(cores)}
    return {str(core): khz for core, khz in told.items() if khz is not None} or None


def read_capacities(root: Path = ROOT) -> dict[str, str | None] | None:
    """Return the relative capacity of each core: unequal on big.LITTLE and hybrid CPUs."""
    paths = sorted((root / _CPU).glob("cpu[0-9]*/cpu_capacity"))
    return {path.parent.name: text_of(path) for path in paths} or None


def read_kinds(root: Path = ROOT) -> dict[str, str] | None:
    """Return the kind of each core of a hybrid Intel CPU, one of `HYBRID_KINDS`; None on any other CPU.

    Kernels before 6.12 give such cores no capacity, and later ones a different one to each favoured core.
    """
    kinds = {}
    for kind in HYBRID_KINDS:
        for core in cores_in(text_of(root / f"sys/devices/{kind}/cpus")):
            kinds[f"cpu{core}"] = kind
    return kinds or None


def read_top_clocks(root: Path = ROOT) -> dict[str, int] | None:
    """Return the highest frequency (kHz) of each core's kind, None where all are alike or nothing tells.

    It tells Zen 5 from Zen 5c, which have neither a capacity nor a kind.
    """
    told = {}
    for path in (root / _CPU).glob("cpu[0-9]*"):
        if khz := number_of(path / "cpufreq/cpuinfo_max_freq"):
            told[path.name] = khz
    return top_clocks(told)


def top_clocks(told: Mapping[str, int]) -> dict[str, int] | None:
    """Return each core's highest frequency as that of its kind: those within 10 % are alike."""
    kinds: dict[str, int] = {}
    top = max(told.values(), default=0)
    for core, khz in sorted(told.items(), key=lambda item: -item[1]):
        top = top if khz >= _ALIKE * top else khz
        kinds[core] = top
    return kinds if len(set(kinds.values())) > 1 else None


def read_siblings(core: int, root: Path = ROOT) -> set[int]:
    """Return the cores that are threads of the same physical core, itself included."""
    told = cores_in(text_of(root / _CPU / f"cpu{core}/topology/thread_siblings_list"))
    return told | {core}


def cores_in(text: str | None) -> set[int]:
    """Return the cores of one of the kernel's lists, such as ``0-3,8``; empty for any other text."""
    cores: set[int] = set()
    for part in (text or "").split(","):
        first, _, last = part.partition("-")
        begin, end = whole(first), whole(last or first)
        if begin is None or end is None or not 0 <= begin <= end < _MOST_CORES:
            return set()
        cores.update(range(begin, end + 1))
    return cores
