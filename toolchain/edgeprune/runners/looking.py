"""What a device is, as its shell tells: whether it has a Python, and whether one can be brought to it."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from edgeprune.core.errors import DeviceError
from edgeprune.runners.parts import Part
from edgeprune.runners.shell import Shell
from edgeprune.runners.sysroot import ARCHITECTURES
from edgeprune.runners.userland import FOLDER, MARK, OURS, VERSION, require_plain

SPARE = 32 << 20  # bytes: what Python compiles its modules to, and the files of a bench
_VERSION = "import sys; print(*sys.version_info[:2])"
# One word and its value a line. The first folder above that exists tells how much is free.
_LOOK = f"""
P="$R"; while [ -n "$P" ] && [ ! -d "$P" ]; do P="${{P%/*}}"; done
echo "root $R"; echo "machine $(uname -m)"; echo "shell $(command -v sh)"
echo "sha256sum $(command -v sha256sum)"
echo free $(df -k "${{P:-/}}")
if [ -d "$R/{FOLDER}" ] && [ ! -f "$R/{FOLDER}/{OURS}" ]; then echo "taken $R/{FOLDER}"; fi
echo "version $(cat "$R/{FOLDER}/{MARK}" 2>/dev/null)"
for part in "$R/{FOLDER}"/*; do if [ -d "$part" ]; then echo "part ${{part##*/}}"; fi; done
"""
_ASK_PYTHON = f"""
echo "python $(python3 -c '{_VERSION}' 2>/dev/null)"
"""


@dataclass(frozen=True)
class Seen:
    """What a device's shell tells.

    Attributes:
        root: the device's folder for all that is pushed.
        machine: its architecture.
        shell: the path of its shell.
        free: bytes that are free there, None where `df` does not tell.
        python: the version of its own `python3`, such as (3, 8); empty where there is none that runs.
        version: of the userland that lies there; empty without one.
        parts: the folders of it.
        hashes: whether it has `sha256sum`.
        taken: the folder that a userland would have, where something of the user's has that name.
    """

    root: str
    machine: str
    shell: str
    free: int | None
    python: tuple[int, ...]
    version: str
    parts: tuple[str, ...]
    hashes: bool
    taken: str = ""

    @property
    def own_python(self) -> str:
        """What messages say of its own Python."""
        return f"its python3 is {'.'.join(map(str, self.python))}" if self.python else "it has no python3"

    def lacks(self, parts: Sequence[Part]) -> tuple[Part, ...]:
        """Return those of the parts that have to be sent."""
        there = self.parts if self.version in ("", VERSION) else ()
        return tuple(part for part in parts if part.folder not in there)


def look(shell: Shell) -> Seen:
    """Ask a device what it is.

    Raises:
        DeviceError: it cannot be reached, or answered with garbage.
    """
    said = shell.run(f"{_LOOK}{shell.connection.own_python}{_ASK_PYTHON}")
    lines = [line.partition(" ") for line in said.splitlines()]
    told = {word: value.strip() for word, _, value in lines}
    try:
        return Seen(
            told["root"],
            told["machine"],
            told["shell"],
            _free(told["free"]),
            tuple(int(number) for number in told["python"].split()),
            told["version"],
            tuple(value for word, _, value in lines if word == "part"),
            bool(told["sha256sum"]),
            told.get("taken", ""),
        )
    except (KeyError, ValueError) as exc:
        raise DeviceError(f"{shell.name}: it answered with garbage when asked what it is") from exc


def require_able(name: str, seen: Seen) -> None:
    """Refuse a device that no userland can be brought to.

    Raises:
        ConfigError: its folder has a name that is not taken.
        DeviceError: it is of another architecture, the userland's folder is something else's, or it has no
            program that checks what arrives.
    """
    if seen.machine not in ARCHITECTURES:
        raise DeviceError(
            f"{name}: {seen.own_python}, and edgeprune brings one to {', '.join(ARCHITECTURES)} only, not to "
            f"{seen.machine}: install Python 3.10 or newer there"
        )
    require_plain(seen.root, name)
    if seen.taken:
        raise DeviceError(f"{name}: {seen.taken}: it is not edgeprune's: name another folder in the address")
    if not seen.hashes:
        raise DeviceError(f"{name}: it has no sha256sum, which checks what arrives: a newer Android has it")


def require_room(name: str, seen: Seen, lacking: Sequence[Part]) -> None:
    """Refuse a device with too little space, before anything is sent.

    Raises:
        DeviceError: it has too little.
    """
    needed = sum(part.size + part.sent for part in lacking) + (SPARE if lacking else 0)
    if seen.free is not None and seen.free < needed:
        raise DeviceError(
            f"{name}: {seen.root}: {needed / 1e6:.0f} MB are needed and {seen.free / 1e6:.0f} MB are free: "
            "make room, or name another folder in the address"
        )


def _free(told: str) -> int | None:
    """Return the bytes that `df -k` tells: the number before the share in percent, wherever lines end."""
    words = told.split()
    free = [before for before, word in itertools.pairwise(words) if word.endswith("%") and before.isdigit()]
    return int(free[-1]) * 1024 if free else None
