"""What these tests measure."""

from __future__ import annotations

from made_runs import job, nothing

__all__ = ["job", "nothing"]
