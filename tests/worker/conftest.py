"""What these tests measure."""

from __future__ import annotations

from made_runs import job, nothing, recorded, tiny

__all__ = ["job", "nothing", "recorded", "tiny"]
