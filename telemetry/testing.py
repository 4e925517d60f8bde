"""Fakes that ship beside the seams they stand in for."""

from __future__ import annotations

import asyncio

from telemetry.clock import TimeMs


class ManualClock:
    """A clock that moves only when told to; sleepers wake in the order of their deadlines."""

    def __init__(self, now_ms: int = 1_764_000_000_000) -> None:
        self._now_ms = float(now_ms)
        self._monotonic = 0.0
        self._sleepers: list[tuple[float, asyncio.Event]] = []

    def now_ms(self) -> TimeMs:
        """Return the wall-clock time in UTC milliseconds."""
        return TimeMs(int(self._now_ms))

    def monotonic(self) -> float:
        """Return the seconds advanced so far."""
        return self._monotonic

    async def sleep(self, seconds: float) -> None:
        """Wait until :meth:`advance` has moved the clock this far."""
        woken = asyncio.Event()
        self._sleepers.append((self._monotonic + seconds, woken))
        await woken.wait()

    def step_wall(self, seconds: float) -> None:
        """Move the wall clock alone, as an NTP correction does."""
        self._now_ms += seconds * 1000

    async def advance(self, seconds: float) -> None:
        """Move both clocks, waking each sleeper when its deadline has passed."""
        target = self._monotonic + seconds
        while True:
            for _ in range(20):  # let woken tasks run and go to sleep again
                await asyncio.sleep(0)
            due = sorted((s for s in self._sleepers if s[0] <= target), key=lambda s: s[0])
            if not due:
                break
            deadline, woken = due[0]
            self._sleepers.remove(due[0])
            self._now_ms += max(0.0, deadline - self._monotonic) * 1000
            self._monotonic = max(self._monotonic, deadline)
            woken.set()
        self._now_ms += (target - self._monotonic) * 1000
        self._monotonic = target
