"""What these tests measure."""

from __future__ import annotations

from made_runs import job, make_block, nothing, recorded

__all__ = ["job", "make_block", "nothing", "recorded"]
