"""Figures and deliveries read from the desk's store, as structs and as CSV."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec
import sqlalchemy as sa

from command_center import figures
from command_center.figures import Activation, Report
from command_center.notices import Body
from command_center.tables import alarms as _alarms
from command_center.tables import among
from command_center.tables import notices as _notices
from telemetry.cells import as_csv

if TYPE_CHECKING:
    from collections.abc import Collection

    from sqlalchemy.ext.asyncio import AsyncConnection

    from telemetry.cells import Cell

LONGEST_MS = 400 * figures.DAY_MS
MOST_DELIVERIES = 100_000
_BACK_MS = 31 * figures.DAY_MS
"""What came so long before the window and ended in it no longer counts as standing."""
NAMES = {
    "per_hour": ("每操作员小时告警数", "Alarms an operator-hour"),
    "per_day": ("每操作员日告警数", "Alarms an operator-day"),
    "per_ten_minutes": ("每 10 分钟平均告警数", "Alarms in ten minutes, on average"),
    "most_in_ten_minutes": ("10 分钟内最多告警数", "Most alarms in ten minutes"),
    "windows_over_ten": ("超过 10 条的 10 分钟时段占比", "Ten-minute spans with more than ten"),
    "time_in_flood": ("告警泛滥时间占比", "Time in flood"),
    "standing_most": ("任一日持续超 24 小时的告警最多", "Standing for more than 24 h, most on any day"),
    "chattering": ("抖动告警源", "Chattering sources"),
    "fleeting": ("瞬时告警（10 秒内消失）", "Fleeting alarms (gone within 10 s)"),
    "top_ten_share": ("前十告警源占比", "Share of the ten most frequent sources"),
    "blue_share": ("蓝色占比", "Share of blue"),
    "yellow_share": ("黄色占比", "Share of yellow"),
    "orange_share": ("橙色占比", "Share of orange"),
    "red_share": ("红色占比", "Share of red"),
}


async def read(
    db: AsyncConnection,
    since_ms: int,
    until_ms: int,
    *,
    positions: int = 1,
    devices: Collection[str] | None = None,
) -> Report:
    """Return the figures of a window, of these devices alone where some are given."""
    c = _alarms.c
    wanted = (c.received_ms < until_ms) & ((c.received_ms >= since_ms - _BACK_MS) | c.is_active)
    bodies = (await db.execute(sa.select(c.body).where(wanted))).scalars().all()

    def compute() -> Report:
        seen = (msgspec.json.decode(body, type=Activation) for body in bodies)
        mine = (alarm for alarm in seen if devices is None or alarm.device in devices)
        return figures.report(mine, since_ms, until_ms, positions)

    return await asyncio.to_thread(compute)


async def deliveries(
    db: AsyncConnection, since_ms: int, until_ms: int, *, devices: Collection[str] | None = None
) -> list[dict[str, Any]]:
    """Return every notice of a window, of these devices' alarms alone where some are given.

    It says who was told of which alarm, how, when, and what proves it.
    """
    c = _notices.c
    wanted = (c.created_ms >= since_ms) & (c.created_ms < until_ms)
    if devices is not None:
        wanted &= c.alarm.in_(sa.select(_alarms.c.id).where(among(db, _alarms.c.device, devices)))
    rows = await db.execute(
        sa.select(_notices).where(wanted).order_by(c.created_ms, c.id).limit(MOST_DELIVERIES)
    )
    found = []
    for row in rows:
        body = msgspec.json.decode(row.body, type=Body)
        found.append(
            {"alarm": row.alarm, "person": row.person, "channel": row.channel, "reason": body.reason, "state": row.state,
             "created_ms": row.created_ms, "sent_ms": row.sent_ms, "done_ms": row.done_ms, "attempts": row.attempts,
             "provider_id": row.provider_id, "code": body.code, "said": body.said, "receipt": body.digest,
             "bundle": row.bundle}
        )  # fmt: skip
    return found


def figures_csv(report: Report, lang: str) -> bytes:
    """Return the report as a table of one figure a line."""
    place = 0 if lang == "zh" else 1
    rows: list[list[Cell]] = [
        [NAMES[one.name][place], one.value, one.unit, one.target, one.limit, one.verdict]
        for one in report.measures
    ]
    for colour, answer in report.answers.items():
        words = "确认用时" if lang == "zh" else "Time to acknowledge"
        rows.append([f"{words} {colour} median", answer.median_s, "s", None, None, ""])
        rows.append([f"{words} {colour} p95", answer.p95_s, "s", None, None, ""])
    rows += [
        [f"#{n} {one.device} {one.rule}", one.alarms, f"{100 * one.share:.1f} %", None, None, ""]
        for n, one in enumerate(report.top, 1)
    ]
    return as_csv(("figure", "value", "unit", "target", "limit", "verdict"), rows)


def deliveries_csv(found: list[dict[str, Any]]) -> bytes:
    """Return deliveries as a table; times are UTC."""
    heading = (
        "alarm", "person", "channel", "reason", "state", "created_ms", "sent_ms", "done_ms", "attempts", "provider_id",
        "code", "said", "receipt", "bundle",
    )  # fmt: skip
    rows = [[_time(one[name]) if name.endswith("_ms") else one[name] for name in heading] for one in found]
    return as_csv([name.removesuffix("_ms") for name in heading], rows)


def _time(at_ms: int | None) -> str:
    return (
        "" if at_ms is None else datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds")
    )
