"""A part that breaks costs itself alone: the others go on, it is begun again, and an alarm of our own says so."""

import asyncio
from contextlib import suppress
from types import SimpleNamespace

import pytest
import sqlalchemy as sa
import structlog
from aiohttp import web
from aiohttp.test_utils import TestServer
from desks import opened, take
from sqlalchemy.exc import OperationalError
from test_feed import red
from waiting import wait_until

from command_center import audit
from command_center.app import checkpoints, feed_when_known
from command_center.data import Data
from command_center.tables import runs
from command_center.upkeep import keep
from command_center.wellbeing import SIGNS
from telemetry.clock import SystemClock
from telemetry.errors import Unavailable
from telemetry.faults import KEPT_S, Faults
from telemetry.severity import Severity


async def ended(task):
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def test_a_part_that_breaks_is_begun_again_and_the_others_go_on(clock):
    faults, begun, ticks = Faults(clock), [], []

    async def breaks():
        begun.append(clock.now)
        if len(begun) < 3:
            raise KeyError("broken")
        await asyncio.Event().wait()

    async def ticking():
        while True:
            ticks.append(clock.now)
            await clock.sleep(1)

    task = asyncio.ensure_future(
        asyncio.gather(keep("broken", breaks, faults, clock), keep("ticks", ticking, faults, clock))
    )

    async def goes_on():
        await clock.move(1)
        return len(begun) == 3

    await wait_until(goes_on)
    assert len(ticks) > 5
    assert faults.count() == 1
    [sign] = [one for one in SIGNS if one.figure == "parts_broken"]
    assert sign.judge(float(faults.count()), None).severity is Severity.ORANGE
    await clock.move(KEPT_S + 1)
    assert faults.count() == 0
    await ended(task)


class Follows:
    """Writes a row for each alarm; for one of them it breaks in the middle."""

    def __init__(self, breaks_on="", error=KeyError):
        self.breaks_on, self.error, self.name = breaks_on, error, f"{breaks_on}!"

    async def __call__(self, db, changes, now):
        for _, alarm in changes:
            row = {"id": self.name + alarm.device, "plan": "", "mode": "live", "began_ms": now, "body": b""}
            await db.execute(runs.insert().values(**row))
            if alarm.device == self.breaks_on:
                raise self.error("plan")


async def test_a_follower_that_breaks_on_one_alarm_costs_its_own_part_of_that_one(url, clock):
    faults = Faults(clock, (broken := []).append)
    async with opened(url, clock, followers=[Follows("d2"), Follows()], faults=faults) as desk:
        await take(desk, red(1), red(2), red(3))
        assert {one.device for one in await desk.alarms(only_open=True, limit=9)} == {"d1", "d2", "d3"}
        async with desk.store.read() as db:
            written = {row.id for row in await db.execute(sa.select(runs.c.id))}
    assert written == {"d2!d1", "d2!d3", "!d1", "!d2", "!d3"}
    assert broken == ["follows"]


async def test_a_database_that_goes_away_under_a_follower_takes_nothing(url, clock):
    def away(words):
        return OperationalError(words, None, Exception("disk I/O error"))

    async with opened(url, clock, followers=[Follows("d2", away)]) as desk:
        with pytest.raises(Unavailable):
            await take(desk, red(1), red(2))
        assert await desk.alarms(only_open=True, limit=9) == []


async def test_a_place_for_checkpoints_that_is_away_is_waited_for(desk, clock, tmp_path):
    async with desk.store.change() as db:
        await audit.write(db, clock.now, audit.Act("王", "10.0.0.1"), "test", "x")
    share = tmp_path / "share" / "audit.jsonl"
    config = SimpleNamespace(audit=SimpleNamespace(checkpoints=share, every_s=60.0))
    center = SimpleNamespace(
        config=config, store=desk.store, clock=clock, signer=audit.Signer(tmp_path / "audit.key")
    )

    async def goes_on(until):
        async def reached():
            assert not task.done(), "a share that is away ends nothing"
            await clock.move(60)
            return until()

        await wait_until(reached)

    with structlog.testing.capture_logs() as said:
        task = asyncio.create_task(checkpoints(center))
        await goes_on(lambda: any(one["event"] == "checkpoint_waits" for one in said))
    share.parent.mkdir()
    await goes_on(share.exists)
    assert audit.read_checkpoints(share)
    await ended(task)


async def test_the_feed_begins_when_it_is_known_where_devices_stand():
    asked, answers, began = asyncio.Event(), asyncio.Event(), []

    async def answer(request):
        asked.set()
        await answers.wait()
        rows = [{"id": "d1", "agent": "edge-1"}] if request.path.endswith("/devices") else []
        return web.json_response(rows)

    app = web.Application()
    app.router.add_get("/api/data/{name}", answer)
    async with (
        TestServer(app) as server,
        Data(str(server.make_url("")), lambda _: None, SystemClock()) as data,
    ):

        async def consume():
            began.append(data.agent_of("d1"))

        tasks = [asyncio.create_task(data.run())]
        tasks.append(asyncio.create_task(feed_when_known(SimpleNamespace(run=consume), data)))
        await asked.wait()
        with pytest.raises(Unavailable, match="registry"):
            data.agent_of("d1")
        answers.set()
        await tasks[1]
        assert began == ["edge-1"]
        await ended(tasks[0])


async def test_an_ingest_that_is_away_keeps_no_alarm_waiting():
    began = asyncio.Event()

    async def consume():
        began.set()

    async with Data("http://127.0.0.1:1", lambda _: None, SystemClock()) as data:
        task = asyncio.create_task(data.run())
        await feed_when_known(SimpleNamespace(run=consume), data)
        assert began.is_set()
        await ended(task)
