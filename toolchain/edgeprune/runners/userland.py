"""How Python is started on a device: the device's own, or that of a userland which edgeprune brought there.

A userland is a folder with Debian's loader, its libraries, Python, and wheels. It is for a device whose
system has no Python 3.10: an Android phone, an old board. Its loader is told by its own options where the
libraries are. So nothing of the device's system is linked, and no variable leaks into programs of it.
"""

from __future__ import annotations

import re

from edgeprune.core.errors import ConfigError

SETUP = "edgeprune device setup {}"
FOLDER = "userland"  # in the device's folder for all that is pushed
OURS = ".edgeprune"  # in it from the first: any other folder of that name is the user's
MARK = "version"  # written last: without it there is no userland
VERSION = "1"  # of how the folder is laid out
START = "python3"
KEPT = "edgeprune-cache"  # engines that the device compiled, and what its builder learned
REFUSED = "edgeprune-userland: "  # before what keeps it from being used
_PLAIN = re.compile(r"[\w ./@+,~%=-]+")
# Of Termux, of a board's login script, of the user: none of them is meant for this loader and this Python.
VARIABLES = ("LD_PRELOAD", "LD_LIBRARY_PATH", "PYTHONHOME", "PYTHONSTARTUP")


def start_line(root: str, own: str, arguments: str) -> str:
    """Return POSIX shell that runs Python on a device: the userland's where there is one.

    Args:
        root: shell text for the device's folder.
        own: shell text that runs before the device's own `python3` is looked for; it may be empty.
        arguments: shell text of Python's arguments.
    """
    other = f"it is of version $have, this edgeprune has version {VERSION}"
    return f"""U={root}/{FOLDER}
if [ -f "$U/{MARK}" ]; then
[ -O "$U" ] || [ "$(id -u)" = 0 ] || {_refuse("it belongs to another user, name another folder")}
read -r have < "$U/{MARK}"
[ "$have" = {VERSION} ] || {_refuse(other)}
exec "$U/{START}" {arguments}
fi
{own}
exec python3 {arguments}"""


def start_script(shell: str, system: str, loader: str, python: str) -> str:
    """Return the script that starts a userland's Python, whoever calls it.

    Args:
        shell: the device's, an absolute path.
        system: the folder of Debian's files there, an absolute path.
        loader: the name of its loader.
        python: such as ``3.11``.
    """
    # By its first argument Python finds its library, and what `sys.executable` is: this script.
    words = f'"$home/usr/bin/{START}" "$home/usr/bin/python{python}"'
    return f"""#!{shell}
unset {" ".join(VARIABLES)}
home="{system}"
exec {_loader("$home", loader)} --argv0 {words} "$@"
"""


def bare_python(system: str, loader: str, python: str) -> str:
    """Return shell text that starts Python before its library is unpacked: it reads it from its zip file."""
    return f'PYTHONHOME="{system}/usr" {_loader(system, loader)} "{system}/usr/bin/python{python}" -s -S'


def require_plain(root: str, name: str) -> None:
    """Refuse a folder whose name a script or a list of folders would take apart.

    Raises:
        ConfigError: it is such a folder.
    """
    if not _PLAIN.fullmatch(root):
        raise ConfigError(f"{name}: to get a Python there, name a folder of plain characters in the address")


def _refuse(why: str) -> str:
    return f'{{ echo "{REFUSED}{why}" >&2; exit 96; }}'


def _loader(home: str, loader: str) -> str:
    # Without the cache: that of a board lists the libraries of the board.
    return f'"{home}/lib/{loader}" --inhibit-cache --library-path "{home}/lib"'
