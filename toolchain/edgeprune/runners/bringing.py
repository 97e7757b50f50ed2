"""A userland brought to a device, and all that edgeprune has put there removed: by the device's own shell.

Each file is sent once, from the byte where a lost connection has left it, and checked there by its sha256. A
part is put together aside and renamed when it is whole; the file that makes it a userland is written last.
Nothing is written outside the folder.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence

from edgeprune.core.backend import get_backend
from edgeprune.core.errors import DeviceError, DroppedError
from edgeprune.runners.looking import Seen
from edgeprune.runners.parts import LIBRARY, SITE, Part, Piece
from edgeprune.runners.remote import persist
from edgeprune.runners.shell import Shell
from edgeprune.runners.sysroot import ARCHITECTURES, PYTHON
from edgeprune.runners.userland import (
    FOLDER,
    KEPT,
    MARK,
    OURS,
    START,
    VERSION,
    bare_python,
    start_script,
)

LOAD_TIMEOUT_S = REMOVE_TIMEOUT_S = 600.0
_ASIDE = ".new"
# By one process, since to start Python from its zip file takes long: pairs of a zip file and its folder.
_UNPACK = (
    "import os, sys, zipfile; "
    "[(zipfile.ZipFile(file).extractall(folder), os.remove(file)) "
    "for file, folder in zip(sys.argv[1::2], sys.argv[2::2]) if os.path.exists(file)]"
)
# What edgeprune makes: it leaves what else lies in a folder that the address names.
_REMOVE = f"""
[ -d "$R" ] || exit 0
cd "$R"
for job in work-*/job-*; do
if [ -f "${{job%/*}}/.edgeprune" ] && [ -f "$job/group" ] && [ ! -f "$job/ended" ] &&
kill -0 "$(cat "$job/group")" 2>/dev/null
then echo "a measurement runs there: wait for its end" >&2; exit 1; fi
done
for work in work-*; do if [ -f "$work/.edgeprune" ]; then echo "$work"; rm -rf "$work" || exit 1; fi; done
if [ -f {FOLDER}/{OURS} ]; then echo {FOLDER}; rm -rf {FOLDER} || exit 1; fi
if [ -f venv/pyvenv.cfg ]; then echo venv; rm -rf venv || exit 1; fi
if [ -d {KEPT} ]; then echo {KEPT}; rm -rf {KEPT} || exit 1; fi
for file in files/{"[0-9a-f]" * 64}*; do if [ -f "$file" ]; then echo files; rm -f "$file" || exit 1; fi; done
cd /
rmdir "$R/files" "$R" 2>/dev/null
case "$R" in */edgeprune/device) rmdir "${{R%/*}}" 2>/dev/null;; esac
exit 0
"""


def bring(shell: Shell, seen: Seen, parts: Sequence[Part], say: Callable[[str], None]) -> str:
    """Send what a device lacks of a userland, put it together there, and start it once.

    Run again after it broke off, it goes on where it was. Parts of other versions are removed at the end.

    Returns:
        The script that starts its Python.

    Raises:
        DeviceError: the device has no space, could not be reached again, what arrives there is not what is
            sent, or what was sent does not start.
    """
    home = f"{seen.root}/{FOLDER}"
    if seen.version not in ("", VERSION):
        say(f"the userland there is of version {seen.version}, this one of version {VERSION}: it is replaced")
        persist(lambda: shell.run(f'rm -rf "{home}"'))
    lacking = seen.lacks(parts)
    for part in lacking:
        say(f"{part.name}: {part.sent / 1e6:.0f} MB")
        _send(shell, home, part)
    system = parts[0]
    for part in lacking:
        _unpack(shell, seen.machine, home, part, system)
    _finish(shell, seen, home, parts)
    _try_out(shell, home, [part.name for part in parts[1:]])
    return f"{home}/{START}"


def remove(shell: Shell) -> list[str]:
    """Remove all that edgeprune has put on a device, and its folder if nothing else lies there.

    Returns:
        The kinds of what was removed, none where nothing lay there.

    Raises:
        DeviceError: it cannot be reached, or a measurement runs there.
    """
    shell.run(":")  # where it was never reached, it is not tried for two minutes
    return list(dict.fromkeys(persist(lambda: shell.run(_REMOVE, REMOVE_TIMEOUT_S)).splitlines()))


def _send(shell: Shell, home: str, part: Part) -> None:
    aside = f"{home}/{part.folder}{_ASIDE}"
    folders = {f"{aside}/{piece.path}".rpartition("/")[0] for piece in part.pieces}
    made = " ".join(f'"{folder}"' for folder in sorted(folders))
    there = _there(shell, aside, part.pieces, f'mkdir -p {made}; : > "{home}/{OURS}"\n')
    for piece in part.pieces:
        if there[piece.path] != piece.sha256:
            _put(shell, aside, piece, there[piece.path])


def _put(shell: Shell, aside: str, piece: Piece, there: str | int) -> None:
    """Send one file; after a drop, go on where it stopped.

    Args:
        there: what lies there, as of `_there`.
    """
    known: str | int | None = there
    arrived = 0

    def attempt() -> bool:
        nonlocal known, arrived
        state, known = _there(shell, aside, (piece,))[piece.path] if known is None else known, None
        if state == piece.sha256:
            return True
        arrived = state if isinstance(state, int) else 0
        return shell.put(piece.file, piece.sha256, f"{aside}/{piece.path}", arrived)

    # What lies there may not be its beginning: it is then removed, and sent once more from the first byte.
    if not any(persist(attempt, lambda: arrived) for _ in range(2)):
        raise DeviceError(
            f"{shell.name}: {piece.file.name!r}: what arrives there is not what is sent (sha256 differs)"
        )


def _there(shell: Shell, folder: str, pieces: Sequence[Piece], before: str = "") -> dict[str, str | int]:
    """Return by path the sha256 of a file that lies there, or how many bytes of it have arrived.

    Args:
        before: a script that runs first and prints nothing.
    """
    # A script that a drop has left may still write to its file: what has arrived goes on as a copy of it.
    copied = '{ cat "$f.part" > "$f.old" && mv -f "$f.old" "$f.part"; } || rm -f "$f.old"; wc -c < "$f.part"'
    script = "".join(
        f'f="{folder}/{piece.path}"; if [ -f "$f" ]; then sha256sum < "$f"; '
        f'elif [ -f "$f.part" ]; then {copied}; else echo 0; fi\n'
        for piece in pieces
    )
    words = [line.split()[0] for line in persist(lambda: shell.run(before + script)).splitlines()]
    states = (word if len(word) == 64 else int(word) for word in words)
    return dict(zip((piece.path for piece in pieces), states, strict=True))


def _unpack(shell: Shell, machine: str, home: str, part: Part, system: Part) -> None:
    aside, place = f"{home}/{part.folder}{_ASIDE}", f"{home}/{part.folder}"
    loader = ARCHITECTURES[machine].loader
    lines = [f'chmod 700 "{aside}/lib/{loader}"'] if part is system else []
    python = bare_python(aside if part is system else f"{home}/{system.folder}", loader, PYTHON)
    # The library last: until then Python reads it from its zip file.
    zipped = sorted(
        (piece for piece in part.pieces if piece.unpack), key=lambda piece: piece.unpack == LIBRARY
    )
    words = " ".join(f'"{aside}/{piece.path}" "{aside}/{piece.unpack}"' for piece in zipped)
    there = " || ".join(f'[ -f "{aside}/{piece.path}" ]' for piece in zipped)
    lines.append(f'if {there or "false"}; then {python} -c "{_UNPACK}" {words} || exit 1; fi')
    lines.append(f'rm -rf "{place}"; mv "{aside}" "{place}"')
    # Asked again after its answer was lost, it finds nothing to do.
    script = f'if [ -d "{aside}" ]; then\n' + "\n".join(lines) + "\nfi"
    persist(lambda: shell.run(script, LOAD_TIMEOUT_S))


def _finish(shell: Shell, seen: Seen, home: str, parts: Sequence[Part]) -> None:
    """Write what names the parts, and remove the parts that it does not name."""
    system = f"{home}/{parts[0].folder}"
    wanted = {part.name for part in parts}
    others = [folder for folder in seen.parts if _name(folder) not in wanted and not folder.endswith(_ASIDE)]
    sites = [*(part.folder for part in parts[1:]), *(others if seen.version == VERSION else ())]
    listed = "; ".join(f'echo "{home}/{folder}"' for folder in sites)
    kept = "|".join([parts[0].folder, *sites])
    started, again = f"{system}/usr/bin/{START}", f"{home}/{START}"
    script = f"""
mkdir -p "{system}/{SITE}"
{_write(f"{system}/{SITE}/edgeprune.pth", f"{{ {listed}; }}")}
{_write(started, "cat")}
{_write(again, f'cat "{started}"')}
for f in "{home}"/*-*; do case "${{f##*/}}" in {kept}) ;; *) rm -rf "$f";; esac; done
{_write(f"{home}/{MARK}", f"echo {VERSION}")}
"""
    start = start_script(seen.shell, system, ARCHITECTURES[seen.machine].loader, PYTHON)
    persist(lambda: shell.run(script, data=start.encode()))


def _write(place: str, words: str) -> str:
    """Return shell text that makes what a command prints an executable file, whole or not at all."""
    aside = f'"{place}{_ASIDE}"'
    return f'{{ {words} > {aside} && chmod 700 {aside} && mv -f {aside} "{place}"; }} || exit 1'


def _try_out(shell: Shell, home: str, backends: Sequence[str]) -> None:
    modules = [get_backend(name).MODULE if name != "numpy" else name for name in backends]
    wants = f"import {', '.join(filter(None, modules))}"
    try:
        persist(lambda: shell.run(f'"{home}/{START}" -c {shlex.quote(wants)}', LOAD_TIMEOUT_S))
    except DeviceError as exc:
        if isinstance(exc.__cause__, DroppedError):
            raise
        raise DeviceError(
            f"{exc}; the Python that was brought does not {wants}: edgeprune device remove {shell.name}, and "
            "set it up again"
        ) from exc


def _name(folder: str) -> str:
    return folder.rpartition("-")[0]
