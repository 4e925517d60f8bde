"""Bytes a day, where each costs money: alarms always, live data while some is left, history last.

A tenth of the day's budget is kept for alarms.  Live data may use the rest at any time; history only what the
hours that have passed did not need, so that the night's catching up never silences the afternoon.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge_agent.order import is_urgent

if TYPE_CHECKING:
    from telemetry.clock import Clock
    from telemetry.outbox import Queued

_DAY_MS = 86_400_000
_FOR_ALARMS = 0.1
NOTE = "budget"
OVERHEAD_BYTES = 60  # headers and the acknowledgement of one message, about


class Budget:
    """What may still be sent today (UTC); without ``per_day`` everything.

    ``note`` is what :meth:`note` returned before a restart.
    """

    def __init__(self, per_day: int | None, clock: Clock, note: str | None = None) -> None:
        self._per_day, self._clock = per_day, clock
        day, _, spent = (note or "").partition(":")
        self._day, self.spent = (int(day), int(spent)) if spent.isdigit() and day.isdigit() else (0, 0)
        self._turn()

    def allows(self, message: Queued, is_history: bool) -> bool:  # noqa: FBT001 - as the window asks
        """Whether the message may be sent now."""
        if self._per_day is None or is_urgent(message.priority):
            return True
        self._turn()
        most = self._per_day * (1 - _FOR_ALARMS)
        if is_history:
            most *= self._clock.now_ms() % _DAY_MS / _DAY_MS
        return self.spent + len(message.payload) + OVERHEAD_BYTES <= most

    def spend(self, size: int) -> None:
        """Count bytes that went either way."""
        self._turn()
        self.spent += size

    def note(self) -> str:
        """Return what a restart must know."""
        return f"{self._day}:{self.spent}"

    @property
    def left(self) -> int | None:
        """Bytes of today's budget that are left; None without a budget."""
        self._turn()
        return None if self._per_day is None else max(0, self._per_day - self.spent)

    def _turn(self) -> None:
        today = self._clock.now_ms() // _DAY_MS
        if today != self._day:
            self._day, self.spent = today, 0


def merged(earlier: str, later: str) -> str:
    """Return one note of two whose bytes were spent one after the other: together where it was on one day."""
    (was, before), (day, spent) = (map(int, note.split(":")) for note in (earlier, later))
    return f"{day}:{before + spent}" if was == day else max((was, earlier), (day, later))[1]
