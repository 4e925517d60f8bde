"""How often something may happen that costs room: a number at once, and as many again in each span of time."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from telemetry.clock import Clock


class Allowance:
    """``most`` at once and in each ``span_s``; what went beyond is counted in :attr:`denied`."""

    def __init__(self, clock: Clock, most: int, span_s: float) -> None:
        self._clock, self._most, self._per_s = clock, most, most / span_s
        self._left, self._at = float(most), clock.monotonic()
        self.denied = 0

    def takes(self) -> bool:
        """Take one; return whether there was one."""
        now = self._clock.monotonic()
        self._left = min(self._most, self._left + (now - self._at) * self._per_s)
        self._at = now
        if self._left < 1:
            self.denied += 1
            return False
        self._left -= 1
        return True
