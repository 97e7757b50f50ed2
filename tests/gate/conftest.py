"""What these tests measure."""

from __future__ import annotations

from made_runs import job, make_block, nothing, recorded, tiny

__all__ = ["job", "make_block", "nothing", "recorded", "tiny"]
