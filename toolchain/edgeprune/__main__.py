"""`python -m edgeprune` and the `edgeprune` command."""

from __future__ import annotations

from edgeprune.cli import main

if __name__ == "__main__":
    main()
