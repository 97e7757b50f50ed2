"""How long a stage still takes, from what it has done since it began to work."""

from __future__ import annotations

from dataclasses import dataclass

LEAST_SECONDS, LEAST_SHARE = 5.0, 0.02
"""Nothing is said before a stage has worked so long, and has done so much of the whole."""
WHOLE_AT_ONCE = 1.0
"""What moves at a pace that would do the whole in so many seconds was made before; it tells no pace."""
PAUSE_SECONDS, PAUSE_FACTOR = 60.0, 10.0
"""A silence longer than this, and than so many times all that went before, was a pause of the machine."""
UNITS = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))


@dataclass
class Remaining:
    """The estimate of one stage: the mean pace since the start, which is the first report of its run.

    A run starts over when the share falls (the stage runs again, for another target), when the clock has gone
    back, after a pause, and after a part that was in the cache.
    """

    begun: tuple[float, float] | None = None
    last: tuple[float, float] = (0.0, 0.0)

    def report(self, now: float, share: float) -> float | None:
        """Take the share done, in [0, 1], at a time in seconds; return the seconds left, None if unknown."""
        if self.begun is None or self._starts_over(now, share):
            self.begun = (now, share)
        self.last = (now, share)
        spent, done = now - self.begun[0], share - self.begun[1]
        if share >= 1 or spent < LEAST_SECONDS or done < LEAST_SHARE:
            return None
        return spent * (1 - share) / done

    def _starts_over(self, now: float, share: float) -> bool:
        assert self.begun is not None
        seconds, moved = now - self.last[0], share - self.last[1]
        if seconds < 0 or moved < 0:
            return True
        worked = self.last[0] - self.begun[0]
        if self.last != self.begun and seconds > max(PAUSE_SECONDS, PAUSE_FACTOR * worked):
            return True
        return moved >= LEAST_SHARE and seconds < moved * WHOLE_AT_ONCE


def duration(seconds: float) -> str:
    """Say a duration in its two largest units, such as ``1 h 20 min``; under a minute in seconds."""
    rest = max(round(seconds), 1)
    if rest >= 600:  # whole minutes from ten of them on, hours from ten days on
        unit = 3600 if rest >= 864000 else 60
        rest = round(rest / unit) * unit
    parts = []
    for size, name in UNITS:
        count, rest = divmod(rest, size)
        parts.append((count, name))
    first = next(index for index, (count, _) in enumerate(parts) if count)
    return " ".join(f"{count} {name}" for count, name in parts[first : first + 2] if count)
