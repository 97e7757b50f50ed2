"""Whether the user trusts the checkpoint at hand (`--trust-model`): one answer for every stage of a command.

Stages load what earlier ones have saved. Such a copy holds the same classes as the file that the user named.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_trusted: ContextVar[bool] = ContextVar("trusted", default=False)


@contextmanager
def trusting(trust: bool) -> Iterator[None]:
    """Trust, or do not trust, every checkpoint that is loaded inside."""
    token = _trusted.set(trust)
    try:
        yield
    finally:
        _trusted.reset(token)


def is_trusted() -> bool:
    """Tell whether checkpoints are to be unpickled, whatever they hold."""
    return _trusted.get()
