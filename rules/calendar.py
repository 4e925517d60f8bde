"""When a rule is in force: hours, days of the week and China's public holidays, in Beijing time (UTC+8, no DST).

Holidays and the working weekends that pay for them are published once a year; ``calendars/cn.yaml`` holds them.
A year that is not in the file has no public holidays but its weekends; ``yemai rules check`` says so.
"""

from __future__ import annotations

import datetime as dt
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from telemetry.config import load_yaml

if TYPE_CHECKING:
    from numpy.typing import NDArray

FOLDER = Path(__file__).parent / "calendars"
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
KINDS = ("all", "workdays", "holidays")
_HOURS = re.compile(r"^([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-4]):([0-5]\d)$")
_DAY_MS, _ZONE_MS = 86_400_000, 8 * 3_600_000
_MINUTE_MS = 60_000
_THURSDAY = 3  # 1970-01-01, as a place in DAYS


class Schedule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When a rule is in force; what is not given is always so.

    ``hours`` like ``22:00-06:00``, the end not included, over midnight where it ends before it begins;
    ``weekdays`` out of :data:`DAYS`; ``days`` is ``workdays`` or ``holidays``, with working weekends counted as
    workdays and public holidays as holidays.
    """

    hours: str = "00:00-24:00"
    weekdays: tuple[str, ...] = DAYS
    days: str = "all"

    def span(self) -> tuple[int, int]:
        """Return the first minute of the day and the one after the last; raise ValueError."""
        found = _HOURS.match(self.hours)
        if not found:
            raise ValueError(self.hours)
        from_h, from_min, to_h, to_min = map(int, found.groups())
        begins, ends = 60 * from_h + from_min, 60 * to_h + to_min
        if ends > 24 * 60 or begins == ends:
            raise ValueError(self.hours)
        return begins, ends

    def in_force(self, times: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return whether the rule is in force at UTC ms, shape (n,).

        The hours after midnight belong to the day on which the span began.
        """
        begins, ends = self.span()
        local = times + _ZONE_MS
        day, minute = local // _DAY_MS, local % _DAY_MS // _MINUTE_MS
        if begins < ends:
            inside = (minute >= begins) & (minute < ends)
        else:
            inside = (minute >= begins) | (minute < ends)
            day = np.where(minute < ends, day - 1, day)
        if self.weekdays != DAYS:
            allowed = np.array([name in self.weekdays for name in DAYS])
            inside &= allowed[(day + _THURSDAY) % 7]
        if self.days != "all":
            inside &= is_holiday(day) == (self.days == "holidays")
        return inside


class _Year(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    source: str
    holidays: tuple[dt.date, ...]
    workdays: tuple[dt.date, ...]


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    years: dict[int, _Year]


@cache
def _days() -> tuple[frozenset[int], NDArray[np.int64], NDArray[np.int64]]:
    file = load_yaml(FOLDER / "cn.yaml", _File)
    off = [_number(day) for year in file.years.values() for day in year.holidays]
    on = [_number(day) for year in file.years.values() for day in year.workdays]
    return frozenset(file.years), np.array(sorted(off), np.int64), np.array(sorted(on), np.int64)


def known_years() -> frozenset[int]:
    """Return the years whose public holidays are in the file."""
    return _days()[0]


def is_holiday(days: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return whether days (since 1970-01-01, Beijing) are free of work."""
    _, off, on = _days()
    weekend = (days + _THURSDAY) % 7 >= DAYS.index("sat")
    return (weekend & ~np.isin(days, on)) | np.isin(days, off)


def _number(day: dt.date) -> int:
    return (day - dt.date(1970, 1, 1)).days
