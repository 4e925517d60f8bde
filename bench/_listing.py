"""A desk on which very many alarms stand, and who reads its list."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import msgspec
from yarl import URL

from bench._storm import news
from command_center import listing
from command_center.lifecycle import apply
from command_center.store import Store
from command_center.tables import alarms
from telemetry.severity import Severity

if TYPE_CHECKING:
    from pathlib import Path

    import aiohttp

_AT_ONCE = 5000
_COLOURS = [Severity.BLUE] * 80 + [Severity.YELLOW] * 15 + [Severity.ORANGE] * 4 + [Severity.RED]
"""EEMUA 191's mix of a hundred."""
_PAGES = {
    "page": "limit=100",
    "worst": "limit=100&sort=worst",
    "filter": "limit=100&severity=orange&category=fire",
    "rare": "limit=100&rule=no.such_rule",
}


async def fill(database: Path, count: int) -> None:
    """Let ``count`` alarms have come, ten each second, and none been answered; faster than the feed would bring them."""
    now = int(time.time() * 1000)
    async with Store(f"sqlite+aiosqlite:///{database}") as store:
        for begin in range(0, count, _AT_ONCE):
            async with store.change() as db:
                await db.execute(
                    alarms.insert(),
                    [_row(n, now - 100 * (count - n)) for n in range(begin, begin + _AT_ONCE)],
                )


def _row(n: int, at_ms: int) -> dict[str, Any]:
    alarm = apply(None, news(f"open-{n}", "ev_charger.open", at_ms, _COLOURS[n % 100]), at_ms)
    return {
        "id": alarm.id, "device": alarm.device, "rule": alarm.rule, "received_ms": at_ms, "is_active": True, "is_open": True,
        "body": msgspec.json.encode(alarm), **listing.columns(alarm),
    }  # fmt: skip


async def look(http: aiohttp.ClientSession, times: int) -> dict[str, list[float]]:
    """Return how long each kind of question took, in seconds: pages, the overview, and a comment on an alarm."""
    took: dict[str, list[float]] = {}
    for _ in range(times):
        for what, query in _PAGES.items():
            await _ask(http, f"/api/alarms?{query}", took.setdefault(what, []))
        await _ask(http, "/api/overview", took.setdefault("overview", []))
    behind = "/api/alarms?limit=5000"
    for _ in range(times - 1):  # nineteen pages of 5,000 down the list
        behind = await _next(http, behind)
        await _ask(http, behind.replace("limit=5000", "limit=100"), took.setdefault("deep_page", []))
    async with http.get(behind.replace("limit=5000", f"limit={times}")) as answer:
        keys = [one["id"] for one in await answer.json()]
    for key in keys:
        begin = time.perf_counter()
        async with http.post(f"/api/alarms/{key}/comment", json={"comment": "seen"}) as answer:
            answer.raise_for_status()
        took.setdefault("deed", []).append(time.perf_counter() - begin)
    return took


async def _ask(http: aiohttp.ClientSession, path: str, took: list[float]) -> None:
    begin = time.perf_counter()
    async with http.get(path) as answer:
        answer.raise_for_status()
        await answer.read()
    took.append(time.perf_counter() - begin)


async def _next(http: aiohttp.ClientSession, path: str) -> str:
    async with http.get(path) as answer:
        answer.raise_for_status()
        return URL(answer.links["next"]["url"]).path_qs
