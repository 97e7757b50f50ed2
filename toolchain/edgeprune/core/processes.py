"""Python processes of our own: they import what this one imports, and nothing from a folder of the user's.

Python looks into the working folder, or into that of a script, before its own library: a `statistics.py`
there would be imported, and run, in place of Python's. Standard library only, since a worker on a device
starts others.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

# Runs a module as `python -m` does.
_START = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); sys.argv = sys.argv[2:]; "
    "import runpy; runpy.run_module(sys.argv[0], run_name='__main__', alter_sys=True)"
)


def own_python(module: str, *args: str) -> list[str]:
    """Return the command line that runs a module of this package in a process of its own.

    It imports from where this process imports from, save the working folder.
    """
    quiet = ["-B"] if sys.dont_write_bytecode else []
    return [sys.executable, "-I", *quiet, "-c", _START, json.dumps(safe_path()), module, *args]


def safely(args: Sequence[str]) -> list[str]:
    """Return a command line, that of `own_python` where it is this very Python with ``-m`` and a module."""
    python, *rest = args
    return own_python(*rest[1:]) if python == sys.executable and rest[:1] == ["-m"] else [*args]


def safe_path() -> list[str]:
    """Return the folders and archives that this process imports from, Python's own library first.

    The working folder and that of the script are left out; if edgeprune itself lies there, it comes last.
    What the user names by PYTHONPATH comes behind Python's library and before installed packages.
    """
    library = Path(os.__file__).parent
    own = [entry for entry in sys.path if entry and Path(entry) in (library, library / "lib-dynload")]
    others = [str(Path(entry).absolute()) for entry in sys.path if entry and entry not in own]
    unsafe = {_working_folder(), str(Path(sys.argv[0]).resolve().parent)}
    home = str(Path(__file__).resolve().parents[2])
    last = [home] if home in others and home in unsafe else []
    return [*own, *(entry for entry in others if entry not in unsafe), *last]


def hidden_package() -> tuple[Path, Path] | None:
    """Return a file on PYTHONPATH that hides an installed package of its name, and that package; or None.

    A whole package there may be meant to take another's place; a single file, such as a `torch.py`, is not.
    """
    named = [entry for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
    for folder in dict.fromkeys(str(Path(entry).absolute()) for entry in named):
        later = sys.path[sys.path.index(folder) + 1 :] if folder in sys.path else []
        for file in sorted(Path(folder).glob("*.py")):
            for entry in later:
                if (package := Path(entry) / file.stem / "__init__.py").is_file():
                    return file, package.parent
    return None


def _working_folder() -> str | None:
    try:
        return str(Path.cwd())
    except OSError:  # it was removed
        return None
