"""Fixtures of the pipeline's tests, shared with those of other rooms."""

from made_contexts import context

__all__ = ["context"]
