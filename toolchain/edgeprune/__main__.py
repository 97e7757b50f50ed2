"""`python -m edgeprune` and the `edgeprune` command."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line, in a process that imports nothing from the working folder."""
    sys.path.append(sys.path.pop(0))  # the working folder, or the script's: before the next import
    from edgeprune.core.processes import safe_path

    sys.path[:] = safe_path()
    from edgeprune.cli import run

    run()


if __name__ == "__main__":
    main()
