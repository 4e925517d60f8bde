"""Who is on duty when: shifts by weekday and hour, rotations, and days that are otherwise, in the city's own time.

Pure.  A shift that ends at or before its beginning goes on past midnight and belongs to the day it began on.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

import msgspec

from telemetry.text import Text

Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
_WEEKDAYS: tuple[Weekday, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


class Person(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Somebody, or a group's room, and by which channel at which address; in the order in which to try."""

    name: Text
    reach: dict[str, str]
    lang: Literal["zh", "en"] = "zh"


class Shift(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """From ``begin`` to ``end`` (``HH:MM``), on these weekdays, or on one date, which then counts instead of its weekday."""

    who: tuple[str, ...]
    begin: str = "00:00"
    end: str = "24:00"
    days: tuple[Weekday, ...] = _WEEKDAYS
    date: date | None = None


class Rotation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """People in turn, each for ``days`` days, the first from ``start`` at ``at``."""

    start: date
    who: tuple[str, ...]
    days: int = 7
    at: str = "08:00"


class Roster(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Shifts, a rotation, or both; all who are on duty by either are told."""

    shifts: tuple[Shift, ...] = ()
    rotation: Rotation | None = None


def minutes(clock: str) -> int:
    """Return the minutes of ``HH:MM`` since midnight; ValueError for anything else.

    >>> minutes("08:30"), minutes("24:00")
    (510, 1440)
    """
    hours, colon, rest = clock.partition(":")
    if not (colon and len(hours) == 2 and len(rest) == 2 and hours.isdigit() and rest.isdigit()):
        raise ValueError(clock)
    total = int(hours) * 60 + int(rest)
    if int(rest) > 59 or total > 1440:
        raise ValueError(clock)
    return total


def on_duty(roster: Roster, at_ms: int, zone: ZoneInfo) -> tuple[str, ...]:
    """Return who is on duty at a time (UTC ms), each once."""
    now = datetime.fromtimestamp(at_ms / 1000, UTC).astimezone(zone)
    found: list[str] = []
    minute = now.hour * 60 + now.minute
    for day, at in ((now.date(), minute), (now.date() - timedelta(days=1), minute + 1440)):
        for shift in _of_day(roster.shifts, day):
            begin, end = minutes(shift.begin), minutes(shift.end)
            if begin <= at < (end if end > begin else end + 1440):
                found += shift.who
    if roster.rotation:
        turn = roster.rotation
        hour, rest = divmod(minutes(turn.at), 60)
        local = now.replace(tzinfo=None)
        start = datetime.combine(turn.start, datetime.min.time()) + timedelta(hours=hour, minutes=rest)
        if local >= start:
            found.append(turn.who[(local - start).days // turn.days % len(turn.who)])
    return tuple(dict.fromkeys(found))


def _of_day(shifts: tuple[Shift, ...], day: date) -> list[Shift]:
    dated = [shift for shift in shifts if shift.date == day]
    return dated or [s for s in shifts if s.date is None and _WEEKDAYS[day.weekday()] in s.days]
