"""Bytes a day, where each costs money: alarms always, live data while some is left, history last.

A tenth of the day's budget is kept for alarms.  Live data may use the rest at any time; history only what the
hours that have passed did not need, so that the night's catching up never silences the afternoon.

An upload of history that is too large for what is left waits, and those behind it go on, on every other day.  On
the days between they wait for it, so that what the day leaves gathers until the large one fits as well.  What
would not fit into a whole day never goes this way: an agent makes no such upload, but may have some from before its
budget was so small.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import structlog

from telemetry.outbox import Priority

if TYPE_CHECKING:
    from collections.abc import Sequence

    from telemetry.clock import Clock
    from telemetry.outbox import Queued

_DAY_MS = 86_400_000
_FOR_ALARMS = 0.1
_UPLOADS_A_DAY = 10  # at least: none may be larger than that
NOTE = "budget"
OVERHEAD_BYTES = 60  # headers and the acknowledgement of one message, about
log = structlog.get_logger()


class Budget:
    """What may still be sent today (UTC); without ``per_day`` everything.

    ``note`` is what :meth:`note` returned before a restart.
    """

    def __init__(self, per_day: int | None, clock: Clock, note: str | None = None) -> None:
        self._per_day, self._clock, self._told = per_day, clock, False
        day, _, spent = (note or "").partition(":")
        self._day, self.spent = (int(day), int(spent)) if spent.isdigit() and day.isdigit() else (0, 0)
        self._turn()

    def allows(self, message: Queued, until: int, ahead: Sequence[Queued] = ()) -> bool:
        """Whether the message may be sent now, behind those that are ``ahead`` of it and not spent yet.

        :param until: the newest seq that is history; 0 when there is none.
        """
        if self._per_day is None or message.priority >= Priority.ALARM:
            return True
        self._turn()
        if self._never_fits(message) and not self._told:
            self._told = True
            log.warning(
                "upload_larger_than_a_day", seq=message.seq, bytes=len(message.payload), budget_bytes_per_day=self._per_day,
                way_out="it stays in the outbox: raise [uplink] budget_bytes_per_day, or let it go another way",
            )  # fmt: skip
        most = self._per_day * (1 - _FOR_ALARMS)
        if message.seq <= until:
            most *= self._clock.now_ms() % _DAY_MS / _DAY_MS
        together = sum(len(one.payload) + OVERHEAD_BYTES for one in (*ahead, message))
        return self.spent + together <= most

    def may_pass(self, message: Queued) -> bool:
        """Whether history may go past this, which does not fit now: on every other day, or if it never will."""
        return self._clock.now_ms() // _DAY_MS % 2 == 0 or self._never_fits(message)

    def _never_fits(self, message: Queued) -> bool:
        per_day = self._per_day or math.inf
        return len(message.payload) + OVERHEAD_BYTES > per_day * (1 - _FOR_ALARMS)

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


def upload_bytes(most_bytes: int, per_day: int | None) -> int:
    """Return what an upload may have on a way that takes ``most_bytes``: a tenth of the day's budget at most."""
    return most_bytes if per_day is None else min(most_bytes, per_day // _UPLOADS_A_DAY)
