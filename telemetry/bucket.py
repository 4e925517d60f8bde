"""How often somebody may ask: token buckets, one of each who asks, in bounded memory."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from telemetry.clock import Clock

BURST_S = 10.0
"""Of its rate a bucket gives so much at once: a sixth of what it gives in a minute."""
_MOST = 10_000


class Bucket:
    """Gives ``per_minute`` in a minute, a sixth of it at once."""

    def __init__(self, per_minute: float, clock: Clock) -> None:
        self._per_s, self._clock = per_minute / 60, clock
        self._most = max(1.0, self._per_s * BURST_S)
        self._left, self._at = self._most, clock.monotonic()

    def take(self) -> int:
        """Take one; return after how many seconds there is one, 0 when it was taken."""
        now = self._clock.monotonic()
        self._left, self._at = min(self._most, self._left + (now - self._at) * self._per_s), now
        if self._left < 1:
            return math.ceil((1 - self._left) / self._per_s)
        self._left -= 1
        return 0


class Buckets:
    """One bucket for each key; past ``most`` of them the one that was not used for longest is forgotten."""

    def __init__(self, clock: Clock, *, most: int = _MOST) -> None:
        self._clock, self._most = clock, most
        self._buckets: dict[str, Bucket] = {}

    def take(self, key: str, per_minute: float) -> int:
        """Take one of this key's; return after how many seconds there is one, 0 when it was taken."""
        bucket = self._buckets.pop(key, None) or Bucket(per_minute, self._clock)
        self._buckets[key] = bucket  # the last is the one that was used last
        if len(self._buckets) > self._most:
            del self._buckets[next(iter(self._buckets))]
        return bucket.take()
