"""What these tests measure."""

from __future__ import annotations

from made_runs import job

__all__ = ["job"]
