"""What is told beside the uploads: presence, clocks and receipts.  What cannot be is refused, and costs nobody a reading."""

import asyncio
import socket
from contextlib import asynccontextmanager

import aiomqtt
import psutil
import pytest
from structlog.testing import capture_logs
from waiting import wait_until
from world import write_config

from cloud_ingest.alarms import _RESEND_S, AlarmFeed
from cloud_ingest.clocks import Offsets
from cloud_ingest.config import load_config
from telemetry import topics
from telemetry.clock import SystemClock
from telemetry.codecs import json
from telemetry.readings import Ack, AgentStatus

STATUS = '{"agent":"%s","online":true,"boot":"b","since":1,"now":%s}'


@asynccontextmanager
async def connected(bench, mosquitto):
    config = load_config(write_config(bench.folder, mosquitto.port, 1))
    async with (
        config.source.Source(config, SystemClock()) as source,
        aiomqtt.Client("127.0.0.1", mosquitto.port) as other,
    ):
        greeting = json.encode(AgentStatus("edge-09", True, "b", 1))
        await other.publish(topics.status("test", "edge-09"), greeting, 1, retain=True)
        await wait_until(source.agents, 10, "the source to have subscribed")
        yield source, other


async def tell(source, client, agent, status):
    """Publish a status, and wait until it has been read: one of somebody else's, sent after it, has been."""
    await client.publish(topics.status("test", agent), status, 1)
    after = f"after-{len(source.agents())}"
    await client.publish(topics.status("test", after), json.encode(AgentStatus(after, True, "b", 1)), 1)
    await wait_until(lambda: after in {told.agent for told in source.agents()})


@pytest.mark.parametrize("now", [10**30, -(10**30), 2**62])
async def test_a_time_that_no_clock_can_show_costs_its_agent_no_reading(bench, mosquitto, now):
    async with connected(bench, mosquitto) as (source, client):
        bench.pipeline._offset_of = source.offset_ms
        await tell(source, client, "edge-01", STATUS % ("edge-01", now))
        for seq in (1, 2):  # what is known of a clock is in force from the next batch on
            bench.deliver(bench.upload(seq, {"sound_level": 50.0}, time=bench.clock.now_ms() + seq))
    assert bench.fates() == {"received": 2, "stored": 2, "quarantined": 0, "duplicated": 0}


async def test_nobody_tells_his_state_in_anothers_name(bench, mosquitto):
    async with connected(bench, mosquitto) as (source, client):
        await tell(source, client, "edge-01", STATUS % ("edge-02", 0))
        assert not {"edge-01", "edge-02"} & {status.agent for status in source.agents()}
        await tell(source, client, "edge-01", STATUS % ("edge-01", 0))
        assert "edge-01" in {status.agent for status in source.agents()}


@pytest.mark.parametrize("ranges", [((1, 2**64),), ((-(2**70), 1),)])
async def test_a_receipt_for_numbers_that_no_outbox_gives_ends_nothing_and_frees_nothing(
    bench, mosquitto, ranges
):
    bench.deliver(bench.upload(1, {"smoke_alarm": 1.0}, device="smoke-01"))
    boot, (alarm,) = bench.ledger.outbox.boot, bench.ledger.outbox.waiting(9)
    topic = topics.alarm_ack("test", "center")

    async def here(work, *arguments):
        return work(*arguments)

    async with connected(bench, mosquitto) as (source, client):
        feed = AlarmFeed(bench.ledger, bench.pipeline, source, here, bench.clock, "ingest-1")
        impossible = f'{{"boot":"{boot}","ranges":{[list(pair) for pair in ranges]}}}'
        receiving = asyncio.ensure_future(feed.receive())
        await client.publish(topic, impossible, 1)
        await client.publish(topic, json.encode(Ack("another", ((1, 9),))), 1)
        await client.publish(topic, json.encode(Ack(boot, ((alarm.seq, alarm.seq),))), 1)
        await wait_until(lambda: receiving.done() or not bench.ledger.outbox.waiting(9))
        assert not receiving.done(), "the feed goes on"
        receiving.cancel()
        await asyncio.gather(receiving, return_exceptions=True)
    assert bench.ledger.outbox.counters().messages == 0


async def test_a_status_at_which_ingest_fails_costs_nobody_an_upload(bench, mosquitto, monkeypatch):
    note = Offsets.note

    def failing(self, agent, told_ms, received_ms):
        if agent == "edge-01":
            raise ZeroDivisionError("a fault of ours")
        note(self, agent, told_ms, received_ms)

    monkeypatch.setattr(Offsets, "note", failing)
    async with connected(bench, mosquitto) as (source, client):
        with capture_logs() as logs:
            await client.publish(topics.status("test", "edge-01"), STATUS % ("edge-01", 5), 1)
            await client.publish(topics.up("test", "edge-02"), b"{}", 1)
            async with asyncio.timeout(10):
                (delivery,) = await source.take(10, 0.0)
        assert delivery.agent == "edge-02"
        assert [line["event"] for line in logs] == ["ingest_fault"]


async def test_what_comes_again_by_a_new_connection_is_not_kept_twice(bench, mosquitto):
    async with connected(bench, mosquitto) as (source, client):
        await client.publish(topics.up("test", "edge-01"), b"once", 0)
        for n in range(20):
            await client.publish(topics.up("test", "edge-01"), b"%d" % n, 1)
        await wait_until(lambda: source.waiting() == 21)
        for _ in range(3):  # nobody takes them meanwhile: the disk refuses
            connection = source._generation
            source._client.socket().shutdown(socket.SHUT_RDWR)
            await wait_until(
                lambda earlier=connection: source._generation > earlier and source.waiting() == 21, 20
            )
        taken = await source.take(100, 0.0)
        assert [one.payload for one in taken] == [b"once", *(b"%d" % n for n in range(20))]
        source.done(taken)
        await client.publish(topics.up("test", "edge-01"), b"next", 1)
        await wait_until(source.waiting)
        assert [one.payload for one in source.at_hand(9)] == [b"next"]


async def test_what_is_committed_while_the_link_is_being_made_does_not_end_it(bench, mosquitto, monkeypatch):
    async with connected(bench, mosquitto) as (source, client):
        for n in range(20):
            await client.publish(topics.up("test", "edge-01"), b"%d" % n, 1)
        await wait_until(lambda: source.waiting() == 20)
        taken, connection = await source.take(100, 0.0), source._generation
        made, dial = [], source._client._create_socket

        def dialling():
            made.append(dial())
            source.done(taken)
            return made[-1]

        monkeypatch.setattr(source._client, "_create_socket", dialling)
        source._client.socket().shutdown(socket.SHUT_RDWR)
        await wait_until(lambda: source._generation > connection, 20)
        assert len(made) == 1


async def test_an_alarm_that_the_link_did_not_take_goes_out_as_soon_as_it_is_back(bench, mosquitto):
    async def here(work, *arguments):
        return work(*arguments)

    async with connected(bench, mosquitto) as (source, _):
        feed = AlarmFeed(bench.ledger, bench.pipeline, source, here, bench.clock, "ingest-1")
        tries = []
        announce = source.announce

        def away(alarm, message):
            tries.append(alarm)
            return len(tries) > 3 and announce(alarm, message)

        source.announce = away
        bench.deliver(bench.upload(1, {"smoke_alarm": 1.0}, device="smoke-01"))
        sending = asyncio.ensure_future(feed.send())
        await wait_until(
            lambda: len(tries) > 3, 2 * _RESEND_S, "four tries, of what is not lost but never sent"
        )
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)


async def test_a_broker_that_was_slow_once_speaks_version_5_with_us_at_the_next_connection(bench, mosquitto):
    config = load_config(write_config(bench.folder, mosquitto.port, 1))
    broker = psutil.Process(mosquitto._process.pid)
    broker.suspend()
    try:
        async with config.source.Source(config, SystemClock()) as source:
            await wait_until(lambda: not source._version5, 20, "3.1.1 to be tried")
            broker.resume()
            await wait_until(lambda: not source.problem(), 20)
            assert not source._version5

            async def comes(payload):
                async with aiomqtt.Client("127.0.0.1", mosquitto.port) as client:
                    await client.publish(topics.up("test", "edge-01"), payload, 1)
                async with asyncio.timeout(10):
                    found = await source.take(9, 0.0)
                source.done(found)
                behind = source._client.publish("test/behind", b"", 1)  # the broker reads in order
                await wait_until(behind.is_published, 20, "the broker to have the acknowledgement")
                return [one.payload for one in found]

            assert await comes(b"by 3.1.1") == [b"by 3.1.1"]
            source._client.socket().shutdown(socket.SHUT_RDWR)
            await wait_until(lambda: source._version5 and not source.problem(), 20)
            assert await comes(b"by 5") == [b"by 5"]
    finally:
        broker.resume()


async def test_a_broker_that_answers_after_it_was_given_up_takes_no_part_any_more(bench, mosquitto):
    async with connected(bench, mosquitto) as (source, _):
        given_up, connection = source._client, source._generation
        source._client = source._make_client()
        try:
            source._on_connect(given_up, None, None, None, None)
            given_up._arrived("edge-01", "test/edge-01/up", 1, b"{}")
            assert (source._generation, source.waiting()) == (connection, 0)
            await wait_until(lambda: not given_up.is_connected())
        finally:
            given_up.loop_stop()


async def test_a_broker_that_does_not_let_us_hear_is_a_problem_until_its_rights_are_mended(
    bench, refusing_mosquitto, monkeypatch
):
    monkeypatch.setattr("cloud_ingest.sources.mqtt._ASK_AGAIN_S", 0.2)
    config = load_config(write_config(bench.folder, refusing_mosquitto.port, 1))
    told = []
    with capture_logs() as logs:
        async with config.source.Source(config, SystemClock()) as source:
            await wait_until(lambda: told.append(source.problem()) or "refuses" in told[-1])
            assert f"'{topics.up('test', '+')}' (0x87); look at its rights" in told[-1]
            assert "" not in told, "it is not taken for well before it has answered"
            connection = source._generation
            await refusing_mosquitto.grant_subscriptions()
            await wait_until(lambda: not source.problem())
            assert source._generation == connection, "by the same connection"
            async with aiomqtt.Client("127.0.0.1", refusing_mosquitto.port) as other:
                await other.publish(topics.up("test", "edge-01"), b"{}", 1)
            async with asyncio.timeout(10):
                assert len(await source.take(9, 0.0)) == 1
    events = [line["event"] for line in logs]
    assert [events.count(event) for event in ("broker_lost", "broker_found")] == [1, 1], (
        "said once, asked for often"
    )
