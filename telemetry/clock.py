"""Time as an argument: the wall clock stamps, the monotonic clock waits."""

from __future__ import annotations

import asyncio
import time
from typing import NewType, Protocol

TimeMs = NewType("TimeMs", int)
"""Milliseconds since 1970-01-01T00:00:00Z, as a 64-bit integer."""


class Clock(Protocol):
    """What any code that needs the time is given."""

    def now_ms(self) -> TimeMs:
        """Return the wall-clock time in UTC milliseconds, to stamp what happened."""

    def monotonic(self) -> float:
        """Return seconds that never step back, to measure how long something takes."""

    async def sleep(self, seconds: float) -> None:
        """Wait on the monotonic clock."""


class SystemClock:
    """The clock of this machine."""

    def now_ms(self) -> TimeMs:
        """Return the wall-clock time in UTC milliseconds."""
        return TimeMs(time.time_ns() // 1_000_000)

    def monotonic(self) -> float:
        """Return seconds that never step back."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait on the event loop."""
        await asyncio.sleep(max(0.0, seconds))
