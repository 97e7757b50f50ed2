"""What these tests measure."""

from __future__ import annotations

from made_runs import nothing

__all__ = ["nothing"]
