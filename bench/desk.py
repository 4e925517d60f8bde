"""The alarm desk in a storm: a real centre on SQLite (FULL), a real broker, vendors that count, pages that look on."""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp
import numpy as np

from bench._centre import BEARER, Centre
from bench._listing import fill, look
from bench._storm import Size, feeding, news, storm
from bench._viewers import Viewers
from bench.figure import Figure
from telemetry.severity import Severity

if TYPE_CHECKING:
    from collections.abc import Iterator

STORM = Size(alarms=10_000, seconds=60.0, sources=1000, chattering=40)
_BURST, _RUNS = 2000, 3
_VIEWERS, _LOOKS = 200, 20
_QUIET_S = 0.5
_OPEN = 100_000
_WITHIN_MS = {
    "page": 200.0,
    "deep_page": 200.0,
    "worst": 200.0,
    "filter": 200.0,
    "rare": 200.0,
    "overview": 2000.0,
    "deed": 100.0,
}


def run() -> Iterator[Figure]:
    """Measure for about three minutes."""
    yield from asyncio.run(_storm())
    yield from asyncio.run(_viewers())
    yield from asyncio.run(_listing())


async def _storm() -> list[Figure]:
    with tempfile.TemporaryDirectory() as name:
        async with Centre(Path(name)) as centre:
            seen = await storm(centre, STORM)
            p95 = float(np.percentile(seen.api_s, 95)) * 1000
            size = f"{STORM.alarms} in {STORM.seconds:.0f} s"
            return [
                Figure("storm_red_told_s", round(seen.red_told_s, 2), "s", 1, 0.0, limit=5.0, size=size),
                Figure("storm_api_p95_ms", round(p95, 1), "ms", len(seen.api_s), 0.0, limit=200.0, size=size),
                Figure("storm_alarms_lost", seen.sent - seen.kept, "count", 1, 0.0, limit=0.0, size=size),
                Figure("storm_over_limit", sum(seen.over_limit.values()), "count", 1, 0.0, limit=0.0, size=size),
                Figure("storm_pages", seen.pages, "count", 1, 0.0, size=size),
                Figure("storm_centre_mb", round(centre.memory_bytes() / 1e6), "MB", 1, 0.0, size=size),
                *[await _rate(centre)],
            ]  # fmt: skip


async def _rate(centre: Centre) -> Figure:
    """How many alarms a second the desk commits and tells of when they come as fast as it takes them."""
    rates = []
    async with feeding(centre.broker_port, "burst") as feeder:
        for run_ in range(_RUNS):
            begin = time.perf_counter()
            at = int(time.time() * 1000)
            for n in range(_BURST):
                await feeder.tell(news(f"burst-{run_}-{n}", "ev_charger.rate", at, Severity.YELLOW))
            await feeder.settled()
            rates.append(_BURST / (time.perf_counter() - begin))
    middle = statistics.median(rates)
    return Figure(
        "desk_alarms_per_s", round(middle), "1/s", _RUNS, round((max(rates) - min(rates)) / middle, 3)
    )


async def _viewers() -> list[Figure]:
    """From an alarm on the feed to every page, one after the other, and what the pages cost."""
    with tempfile.TemporaryDirectory() as name:
        async with Centre(Path(name)) as centre:
            before = centre.memory_bytes()
            async with Viewers(centre.url, _VIEWERS) as viewers, feeding(centre.broker_port) as feeder:
                took: list[float] = []
                for n in range(_LOOKS):
                    one = news(f"look-{n}", "ev_charger.seen", int(time.time() * 1000), Severity.ORANGE)
                    viewers.marker = one.alarm.encode()
                    begin = time.time()
                    await feeder.tell(one)
                    took += await viewers.saw(one.alarm, begin)
                    await asyncio.sleep(_QUIET_S)
                grown = (centre.memory_bytes() - before) / 1e6
                return [
                    Figure("viewers", viewers.open, "count", 1, 0.0),
                    Figure("viewers_alarm_seen_p95_s", round(float(np.percentile(took, 95)), 3), "s", len(took), 0.0, limit=1.0, size=f"{_VIEWERS} pages"),
                    Figure("viewers_mb", round(grown), "MB", 1, 0.0, size=f"{_VIEWERS} pages"),
                ]  # fmt: skip


async def _listing() -> list[Figure]:
    """Pages, filters, the overview and deeds while a hundred thousand alarms are open."""
    with tempfile.TemporaryDirectory() as name:
        async with Centre(Path(name)) as centre:
            await fill(centre.database, _OPEN)
            async with aiohttp.ClientSession(base_url=centre.url, headers=BEARER) as http:
                took = await look(http, _LOOKS)
            size = f"{_OPEN} open"
            p95 = {what: float(np.percentile(times, 95)) * 1000 for what, times in took.items()}
            return [
                Figure(f"list_{what}_p95_ms", round(ms, 1), "ms", len(took[what]), 0.0, limit=_WITHIN_MS[what], size=size)
                for what, ms in p95.items()
            ] + [Figure("list_centre_mb", round(centre.memory_bytes() / 1e6), "MB", 1, 0.0, size=size)]  # fmt: skip
