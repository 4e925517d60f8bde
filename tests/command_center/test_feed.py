"""The consumer of the feed: what a broker refuses, what the desk breaks on, and what the pages hear when the broker goes."""

import asyncio
from contextlib import asynccontextmanager, suppress

import msgspec
import pytest
import sqlalchemy as sa
from centers import write_config
from test_lifecycle import T0, transition
from waiting import wait_until

from command_center.config import load_config
from command_center.feed import Feed
from command_center.tables import quarantine
from telemetry import codecs
from telemetry.clock import SystemClock
from telemetry.codecs import json
from telemetry.errors import Unavailable
from telemetry.readings import Ack
from telemetry.severity import Severity
from telemetry.transitions import AlarmMessage, Change


def red(number, began=None):
    at = T0 + number * 60_000 if began is None else began
    return transition(0, Change.BEGAN, Severity.RED, device=f"d{number}", began=at)


def wrong():
    """An alarm whose device has a name that PostgreSQL does not take; SQLite takes it."""
    return msgspec.structs.replace(red(2), device="d2\x00")


class Broker:
    """The client as the feed sees it, which gives what is told and keeps what is published."""

    def __init__(self):
        self.published, self.is_gone = [], False

    async def publish(self, _topic, payload, _qos):
        if self.is_gone:
            raise Unavailable("the broker is gone")
        self.published.append(codecs.decode(payload, Ack, max_bytes=10**6))


def feed_of(desk, folder, port=1883):
    shown = []
    config = load_config(write_config(folder, port, 0))
    return Feed(config, desk, lambda alarms: shown.extend(one.device for one in alarms), SystemClock()), shown


async def commit(feed, client, *transitions, until):
    arrived = asyncio.Queue()
    for seq, one in enumerate(transitions, 1):
        arrived.put_nowait(json.encode(AlarmMessage("ingest-1", "boot", seq, 0, one)))
    task = asyncio.create_task(feed._commit(client, arrived))
    try:
        await wait_until(lambda: task.done() or until())
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError, Unavailable):
            await task


async def test_what_is_on_the_disk_is_shown_though_the_broker_goes_before_the_receipt(desk, tmp_path):
    feed, shown = feed_of(desk, tmp_path)
    client = Broker()
    client.is_gone = True
    await commit(feed, client, red(1), until=lambda: False)
    assert [one.device for one in await desk.alarms(only_open=True, limit=9)] == ["d1"]
    assert shown == ["d1"]
    client.is_gone = False
    await commit(feed, client, red(1), until=lambda: client.published)
    assert shown == ["d1"]


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
async def test_a_message_that_the_desk_breaks_on_costs_itself_alone_and_is_kept(desk, tmp_path):
    feed, shown = feed_of(desk, tmp_path)
    client = Broker()
    await commit(feed, client, red(1), wrong(), red(3), until=lambda: client.published)
    assert shown == ["d1", "d3"]
    assert [one.ranges for one in client.published] == [((1, 3),)]
    async with desk.store.read() as db:
        [kept] = (await db.execute(sa.select(quarantine))).all()
    assert codecs.decode(kept.payload, AlarmMessage, max_bytes=10**6).transition.device == "d2\x00"
    assert "broke on it" in kept.reason


@asynccontextmanager
async def broker_that(answers):
    """A broker that lets everybody in and answers subscriptions with the next of ``answers``, the last one for ever."""
    asked = []

    async def serve(reader, writer):
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                kind, length = await reader.readexactly(2)
                body = await reader.readexactly(length)
                if kind >> 4 == 1:
                    writer.write(b"\x20\x02\x00\x00")
                elif kind >> 4 == 8:
                    asked.append(body)
                    writer.write(b"\x90\x03" + body[:2] + bytes([answers[min(len(asked), len(answers)) - 1]]))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1], asked
    finally:
        server.close()
        await server.wait_closed()


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
async def test_a_subscription_that_is_refused_is_no_feed_and_is_tried_again(desk, tmp_path):
    async with broker_that([0x80, 0x80, 0x01]) as (port, asked):
        feed, _ = feed_of(desk, tmp_path, port)
        seen = []
        task = asyncio.create_task(feed.run())
        try:
            await wait_until(lambda: seen.append((len(asked), feed.connected)) or feed.connected)
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        assert len(asked) == 3
        assert all(connected == (count == 3) for count, connected in seen if connected)
