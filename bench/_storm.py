"""A storm over a real centre: alarms at a pace, some that chatter, one red; people at the page and vendors that count."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import sqlite3
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Protocol

import aiohttp
import aiomqtt
import msgspec

from bench._centre import BEARER
from telemetry import codecs, topics
from telemetry.codecs import json
from telemetry.readings import Ack, DeviceId, MetricName
from telemetry.severity import Severity
from telemetry.text import Text
from telemetry.transitions import (
    AlarmMessage,
    Category,
    Change,
    RuleId,
    Transition,
    alarm_id,
    transition_id,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from simulators.vendors import Vendors

AREA = "test"
_AGAIN_S = 3.0
_SETTLE_S = 90.0
_TITLE = Text("充电桩过热", "EV charger overheats")


class Size(msgspec.Struct, frozen=True):
    """``alarms`` activations in ``seconds`` by ``sources`` devices, ``chattering`` of which come and go all the while."""

    alarms: int
    seconds: float
    sources: int
    chattering: int
    readers: int = 4


class Stage(Protocol):
    """What a storm goes over."""

    broker_port: int
    url: str
    vendors: Vendors
    database: Path
    """The desk's, SQLite."""


class Storm(msgspec.Struct):
    """What was seen of it."""

    red_told_s: float
    api_s: list[float]
    sent: int
    taken_s: float
    """From the first message to the last acknowledgement."""
    kept: int
    """How many of the activations the desk has."""
    pages: int
    """Messages that vendors took, of whatever kind, while it went."""
    over_limit: dict[str, int]


class Feeder:
    """Ingest's end of the feed: what is not acknowledged is sent again."""

    def __init__(self, client: aiomqtt.Client, boot: str) -> None:
        self._client, self._boot = client, boot
        self._open: dict[int, tuple[float, Transition]] = {}
        self._seq = itertools.count(1)

    async def tell(self, *news: Transition) -> None:
        """Send news."""
        for one in news:
            seq = next(self._seq)
            self._open[seq] = (time.monotonic(), one)
            await self._send(seq, one)

    async def settled(self, within_s: float = _SETTLE_S) -> None:
        """Wait until all is acknowledged; raise TimeoutError when that takes too long."""
        async with asyncio.timeout(within_s):
            while self._open:
                await asyncio.sleep(0.02)

    async def _send(self, seq: int, one: Transition) -> None:
        message = AlarmMessage("ingest-1", self._boot, seq, 0, one)
        await self._client.publish(topics.alarm(AREA, one.alarm), json.encode(message), 1)

    async def _hear(self) -> None:
        async for message in self._client.messages:
            ack = codecs.decode(bytes(message.payload), Ack, max_bytes=1 << 20)
            for first, last in ack.ranges if ack.boot == self._boot else ():
                for seq in range(first, last + 1):
                    self._open.pop(seq, None)

    async def _again(self) -> None:
        while True:
            await asyncio.sleep(_AGAIN_S / 4)
            late = time.monotonic() - _AGAIN_S
            for seq, (at, one) in list(self._open.items())[:200]:
                if at < late:
                    self._open[seq] = (time.monotonic(), one)
                    await self._send(seq, one)


@asynccontextmanager
async def feeding(port: int, boot: str = "storm") -> AsyncIterator[Feeder]:
    """Connect a feeder."""
    async with aiomqtt.Client("127.0.0.1", port, identifier="storm-feeder") as client:
        await client.subscribe(topics.alarm_ack(AREA, "center"), 1)
        feeder = Feeder(client, boot)
        tasks = [asyncio.ensure_future(one) for one in (feeder._hear(), feeder._again())]  # noqa: SLF001 - its own loops
        try:
            yield feeder
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


def news(source: str, rule: str, began: int, severity: Severity, change: Change = Change.BEGAN) -> Transition:
    """Return one transition of an alarm; an end comes a second after its beginning."""
    device, alarm, ordinal = DeviceId(source), alarm_id(source, rule, began), int(change is Change.ENDED)
    return Transition(
        id=transition_id(alarm, ordinal), alarm=alarm, change=change, device=device, device_class="ev_charger", rule=RuleId(rule),
        metric=MetricName("temperature"), severity=severity, category=Category.WARNING, title=_TITLE, time=began + 1000 * ordinal,
        judged=began, value=71.5, limit=65.0, unit="degC",
    )  # fmt: skip


def activations(size: Size, begin_ms: int) -> Iterator[list[Transition]]:
    """Return the news of each activation in its order: the red one is in the middle and the chatterers end what they began."""
    dice, step_ms = random.Random(9), size.seconds * 1000 / size.alarms
    colours = [Severity.ORANGE, Severity.YELLOW, Severity.YELLOW, Severity.BLUE, Severity.BLUE, Severity.BLUE]
    calm, fresh = size.sources - size.chattering, itertools.count()
    standing: dict[int, Transition] = {}
    for n in range(size.alarms):
        at = begin_ms + int(n * step_ms)
        if n == size.alarms // 2:
            yield [news("storm-red", "ev_charger.fire", at, Severity.RED)]
        elif size.chattering and n % 4 == 0:  # a quarter of all comes from these few
            who = n // 4 % size.chattering
            one = news(f"storm-c{who}", "ev_charger.flaps", at, Severity.ORANGE)
            before = standing.get(who)
            standing[who] = one
            over = (
                []
                if before is None
                else [news(before.device, before.rule, before.time, Severity.ORANGE, Change.ENDED)]
            )
            yield [*over, one]
        else:
            source, turn = next(fresh) % calm, n // size.sources
            yield [news(f"storm-{source}", f"ev_charger.rule{turn}-{n // calm}", at, dice.choice(colours))]


async def storm(stage: Stage, size: Size) -> Storm:
    """Let it go over a running centre."""
    port, url, vendors = stage.broker_port, stage.url, stage.vendors
    begin = time.time()
    all_news = list(activations(size, int(begin * 1000)))
    told_before = len(vendors.told)
    async with (
        feeding(port) as feeder,
        aiohttp.ClientSession(headers=BEARER) as http,
        asyncio.TaskGroup() as tasks,
    ):
        took: list[float] = []
        reading = [tasks.create_task(_reads(http, url, took, n)) for n in range(size.readers)]
        red_at = 0.0
        for n, group in enumerate(all_news):
            ahead = n * size.seconds / size.alarms - (time.time() - begin)
            if ahead > 0.005:
                await asyncio.sleep(ahead)
            if group[0].severity is Severity.RED:
                red_at = time.time()
            await feeder.tell(*group)
        await feeder.settled()
        taken = time.time() - begin
        for task in reading:
            task.cancel()
        red = await _red(vendors)
    kept = await asyncio.to_thread(_kept, stage.database)
    return Storm(
        red_told_s=red - red_at, api_s=took, sent=len(all_news), taken_s=taken, kept=kept,
        pages=len(vendors.told) - told_before, over_limit=dict(vendors.over_limit),
    )  # fmt: skip


async def _reads(http: aiohttp.ClientSession, url: str, took: list[float], place: int) -> None:
    """What somebody at a page does again and again: the list, one record, and a deed."""
    dice = random.Random(place)
    while True:
        alarms = await timed(http, "GET", f"{url}/api/alarms?limit=200", took)
        if alarms:
            one = dice.choice(alarms)
            await timed(http, "GET", f"{url}/api/alarms/{one['id']}", took)
            if one["worst"] != "red":
                words = {"comment": "看到了"}
                await timed(http, "POST", f"{url}/api/alarms/{one['id']}/comment", took, words)
        await asyncio.sleep(0.4)


async def timed(
    http: aiohttp.ClientSession, method: str, url: str, took: list[float], body: dict[str, Any] | None = None
) -> Any:
    """Ask and note how long the whole answer took; raise for one that is none."""
    began = time.perf_counter()
    async with http.request(method, url, json=body) as answer:
        raw = await answer.read()
        took.append(time.perf_counter() - began)
        answer.raise_for_status()
    return msgspec.json.decode(raw)


async def _red(vendors: Vendors) -> float:
    async with asyncio.timeout(_SETTLE_S):
        while True:
            for one in vendors.told:
                if one["text"].startswith("[红色"):
                    return float(one["at"])
            await asyncio.sleep(0.05)


def _kept(database: Path) -> int:
    """Count what the storm left at the desk, whatever its state."""
    with contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as db:
        (count,) = db.execute("SELECT count(*) FROM alarms WHERE device LIKE 'storm-%'").fetchone()
    return int(count)
