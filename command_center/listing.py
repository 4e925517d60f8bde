"""The list of alarms, page by page: what it is filtered and sorted by stands in columns, so that no body is read for nothing.

A page ends where the next begins: a place in the order and not a number of rows, so that what comes meanwhile moves
nothing.  By ``newest`` each alarm is seen exactly once; by ``worst`` one whose colour changes while somebody turns
the pages may be seen twice or not at all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import msgspec
import sqlalchemy as sa

from command_center.lifecycle import Alarm
from command_center.tables import alarms as _alarms
from command_center.tables import among
from telemetry.severity import Severity

if TYPE_CHECKING:
    from collections.abc import Collection

    from sqlalchemy.ext.asyncio import AsyncConnection

_COLOURS = {one.label.en: one for one in Severity}
Sort = Literal["newest", "worst"]


class Wanted(msgspec.Struct, frozen=True):
    """Which alarms, in which order, from where on; a filter that is left out lets all through."""

    only_open: bool = True
    sort: Sort = "newest"
    limit: int = 500
    after: str = ""
    severity: str | None = None
    """A colour's English word."""
    category: str | None = None
    device_class: str = ""
    rule: str = ""
    devices: frozenset[str] | None = None
    asks: bool | None = None


def shown(alarm: Alarm) -> Severity:
    """Return the colour an alarm is shown in: what is over asks for attention by how bad it was."""
    return alarm.severity if alarm.active else alarm.worst


def columns(alarm: Alarm) -> dict[str, Any]:
    """Return what the table has beside the body for the list's sake."""
    return {
        "severity": int(shown(alarm)),
        "category": alarm.category.value,
        "class": alarm.device_class,
        "asks": alarm.asks,
    }


def after(alarm: Alarm) -> str:
    """Return the place behind an alarm, for the page that follows it.

    >>> place("3.1764000000000.a.b")
    (3, 1764000000000, 'a.b')
    """
    return f"{int(shown(alarm))}.{alarm.received_ms}.{alarm.id}"


def place(cursor: str) -> tuple[int, int, str]:
    """Return colour, time of arrival in UTC ms, and id of the alarm a page begins behind."""
    severity, received, key = cursor.split(".", 2)
    return int(severity), int(received), key


async def page(db: AsyncConnection, wanted: Wanted) -> list[Alarm]:
    """Return the alarms of a page in order."""
    order = (
        (_alarms.c.severity, _alarms.c.received_ms) if wanted.sort == "worst" else (_alarms.c.received_ms,)
    )
    query = sa.select(_alarms.c.body).order_by(*(column.desc() for column in order), _alarms.c.id)
    if wanted.after:
        severity, received, key = place(wanted.after)
        there = (severity, received) if wanted.sort == "worst" else (received,)
        same = sa.and_(*(column == at for column, at in zip(order, there, strict=True)))
        query = query.where(sa.tuple_(*order) <= sa.tuple_(*there), ~(same & (_alarms.c.id <= key)))
    rows = await db.execute(query.where(*_filters(db, wanted)).limit(wanted.limit))
    return [msgspec.json.decode(body, type=Alarm) for (body,) in rows]


def _filters(db: AsyncConnection, wanted: Wanted) -> list[sa.ColumnElement[bool]]:
    equal = {
        "severity": wanted.severity and int(_COLOURS[wanted.severity]),
        "category": wanted.category,
        "class": wanted.device_class or None,
        "rule": wanted.rule or None,
        "asks": wanted.asks,
        "is_open": wanted.only_open or None,
    }
    found = [_alarms.c[name] == value for name, value in equal.items() if value is not None]
    return [*found, *_at(db, wanted.devices)]


def _at(db: AsyncConnection, devices: Collection[str] | None) -> list[sa.ColumnElement[bool]]:
    return [] if devices is None else [among(db, _alarms.c.device, devices)]


async def count(db: AsyncConnection, devices: Collection[str] | None = None) -> dict[str, int]:
    """Return how many alarms are open, by the colour they are shown in, the worst first."""
    query = sa.select(_alarms.c.severity, sa.func.count()).group_by(_alarms.c.severity)
    rows = await db.execute(query.where(_alarms.c.is_open, *_at(db, devices)))
    found = {row[0]: row[1] for row in rows}
    return {one.label.en: found.get(int(one), 0) for one in reversed(Severity)}
