"""What has reached the centre is on the desk and on the pages, whatever becomes of the link it came by."""

import asyncio
import contextlib
import itertools

import aiomqtt
import pytest
from centers import write_config
from desks import message
from test_lifecycle import T0, transition
from waiting import wait_until

from command_center.config import load_config
from command_center.desk import Desk
from command_center.feed import Feed
from telemetry import topics
from telemetry.clock import SystemClock
from telemetry.codecs import json
from telemetry.severity import Severity
from telemetry.transitions import Change


def fire(number):
    return transition(0, Change.BEGAN, Severity.RED, device=f"d{number}", began=T0 + number)


@contextlib.asynccontextmanager
async def at_work(work):
    task = asyncio.ensure_future(work)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


class SlowDesk(Desk):
    """Takes nothing until it is let."""

    async def take(self, messages):
        self.asked.set()
        await self.may.wait()
        return await super().take(messages)


@pytest.fixture
async def slow(desk, clock):
    one = SlowDesk(desk.store, clock)
    one.asked, one.may = asyncio.Event(), asyncio.Event()
    return one


class Counting(SystemClock):
    """Tells how often it was asked instead of the time, so that ``heard_ms`` is how many messages were heard."""

    def __init__(self):
        self._asked = itertools.count(1)

    def now_ms(self):
        return next(self._asked)


async def test_what_has_arrived_is_taken_and_shown_though_the_broker_has_died(slow, mosquitto, tmp_path):
    config = load_config(write_config(tmp_path, mosquitto.port, 1))
    shown = []
    feed = Feed(config, slow, lambda alarms: shown.extend(alarm.id for alarm in alarms), Counting())
    fires = [fire(n) for n in range(4)]
    async with at_work(feed.run()):
        await wait_until(lambda: feed.connected)
        async with aiomqtt.Client("127.0.0.1", mosquitto.port) as producer:
            for n, one in enumerate(fires, 1):
                await producer.publish(topics.alarm("test", one.alarm), json.encode(message(one, n)), 1)
                await slow.asked.wait()
        await wait_until(lambda: feed.heard_ms == 4)
        await mosquitto.kill()
        await wait_until(lambda: not feed.connected)
        slow.may.set()
        await wait_until(lambda: len(shown) == 4, 5, "all that had arrived to be taken")
    assert {alarm.id for alarm in await slow.alarms(only_open=True, limit=9)} == set(shown)
    assert set(shown) == {one.alarm for one in fires}
