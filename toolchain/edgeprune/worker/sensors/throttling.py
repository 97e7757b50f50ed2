"""Whether a device slowed itself down: x86's counters, the Raspberry Pi's bits, a Jetson's events."""

from __future__ import annotations

from pathlib import Path

from edgeprune.worker.sensors.files import ROOT, Ask, number_of, said_by, text_of

# https://www.raspberrypi.com/documentation/computers/os.html#get_throttled: bits 0-3 tell what is on now,
# the same bits 16 higher what has happened since boot.
PI_BITS = {0: "under-voltage", 1: "frequency capped", 2: "throttled", 3: "soft temperature limit"}
_NOW, _SINCE_BOOT = 0xF, 0xF0000


def read_core_events(root: Path = ROOT) -> int | None:
    """Return how often the cores were throttled for heat since boot (x86), summed."""
    paths = (root / "sys/devices/system/cpu").glob("cpu[0-9]*/thermal_throttle/core_throttle_count")
    counts = [count for count in map(number_of, paths) if count is not None]
    return sum(counts) if counts else None


def read_pi_throttled(root: Path = ROOT, ask: Ask = said_by) -> str | None:
    """Return the Raspberry Pi's bits as its firmware writes them: ``50000`` or ``throttled=0x50000``."""
    for path in (root / "sys/devices/platform").glob("soc*/soc*:firmware/get_throttled"):
        if told := text_of(path):
            return told
    model = text_of(root / "proc/device-tree/model") or ""
    return ask("vcgencmd", "get_throttled") if model.startswith("Raspberry Pi") else None


def newly_set(before: str | None, after: str | None) -> int:
    """Return the Raspberry Pi's bits of what happened in between, 0 where one of the two is unknown."""
    old, new = pi_bits(before), pi_bits(after)
    return 0 if old is None or new is None else (new & _NOW) | (new & ~old & _SINCE_BOOT)


def pi_bits(text: str | None) -> int | None:
    """Return the number of ``throttled=0x50000``, ``0x50000`` or ``50000``; None for any other text."""
    try:
        return int((text or "").rpartition("=")[2], 16)
    except ValueError:
        return None


def pi_words(bits: int) -> str:
    """Say in words what some of the Raspberry Pi's bits mean."""
    either = bits | bits >> 16
    return ", ".join(word for bit, word in PI_BITS.items() if either >> bit & 1) or f"{bits:#x}"


def read_overcurrent_events(root: Path = ROOT) -> dict[str, int] | None:
    """Return the counts of a Jetson's over-current throttling since boot, by event (``oc1`` ...).

    NVIDIA Jetson Linux Developer Guide, "Over-Current (OC) Event Monitoring".
    """
    events = {}
    for path in sorted((root / "sys/class/hwmon").glob("hwmon*/oc*_event_cnt")):
        count = number_of(path)
        if count is not None:
            events[path.name.removesuffix("_event_cnt")] = count
    return events or None
