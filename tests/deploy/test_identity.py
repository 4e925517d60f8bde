"""An agent is who its certificate says, and can touch nothing that is not its own: against the shipped broker configuration."""

import asyncio
import contextlib
import time

import aiomqtt
import msgspec
import pytest
import world
from district_broker import AREA
from ports import free_port as another_port

from telemetry import topics
from telemetry.broker import BrokerConfig
from telemetry.codecs import json
from telemetry.errors import Refused
from telemetry.readings import Ack, Reading, Upload
from yemai.pki.authority import Authority

UPLOADS = 300
QUIET_S = 0.4
"""How long nothing must arrive; what may arrive is here within a few milliseconds."""


async def heard(client, within_s=QUIET_S):
    """Return the topics of what arrives."""
    found = []
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(within_s):
            found += [message.topic.value async for message in client.messages]
    return found


async def next_topic(client):
    async with asyncio.timeout(5):
        async for message in client.messages:
            return message.topic.value
    return None


@pytest.fixture
def agents(broker):
    for name in ("agent-a", "agent-b"):
        broker.authority.issue(name, "agent")
    return broker


async def test_an_agent_reports_and_is_answered_on_its_own_branch(agents):
    async with agents.client("ingest-1") as ingest, agents.client("agent-a") as agent:
        await ingest.subscribe(f"{topics.ROOT}/{AREA}/+/up", qos=1)
        await agent.subscribe(topics.ack(AREA, "agent-a"), qos=1)
        await agent.publish(topics.up(AREA, "agent-a"), b"{}", qos=1)
        assert await next_topic(ingest) == topics.up(AREA, "agent-a")
        await ingest.publish(topics.ack(AREA, "agent-a"), b"{}", qos=1)
        assert await next_topic(agent) == topics.ack(AREA, "agent-a")


async def test_an_agent_cannot_write_to_anothers_branch_nor_to_the_alarm_feed(agents):
    async with agents.client("ingest-1") as ingest, agents.client("center") as center:
        await ingest.subscribe(
            [(f"{topics.ROOT}/{AREA}/+/{end}", 1) for end in ("up", "status", "cmd/result")]
        )
        await center.subscribe(topics.alarm(AREA, "+"), qos=1)
        async with agents.client("agent-a") as agent:
            for topic in (
                topics.up(AREA, "agent-b"), topics.status(AREA, "agent-b"), topics.alarm(AREA, "1"),
                topics.ack(AREA, "agent-a"), topics.up("elsewhere", "agent-a"),
            ):  # fmt: skip
                await agent.publish(topic, b"forged", qos=1)
            await agent.publish(topics.up(AREA, "agent-a"), b"{}", qos=1)
        assert await next_topic(ingest) == topics.up(AREA, "agent-a")  # the forged ones were sent before it
        assert await heard(ingest) == []
        assert await heard(center) == []


@pytest.mark.parametrize(
    "wanted",
    [
        "#",
        f"{topics.ROOT}/{AREA}/+/up",
        topics.ack(AREA, "agent-b"),
        f"{topics.ROOT}/{AREA}/agent-b/#",
        "$SYS/#",
    ],
)
async def test_an_agent_hears_nothing_of_another(agents, wanted):
    async with (
        agents.client("agent-a") as spy,
        agents.client("agent-b") as victim,
        agents.client("ingest-1") as ingest,
    ):
        with contextlib.suppress(aiomqtt.MqttError):
            await spy.subscribe(wanted, qos=1)
        await ingest.subscribe(f"{topics.ROOT}/{AREA}/+/up", qos=1)
        await victim.publish(topics.up(AREA, "agent-b"), b"secret", qos=1)
        await ingest.publish(topics.ack(AREA, "agent-b"), b"secret", qos=1)
        assert await next_topic(ingest) == topics.up(AREA, "agent-b")
        assert await heard(spy) == []


async def test_an_agent_that_takes_anothers_client_id_displaces_nobody(agents):
    async with agents.client("agent-b") as victim:
        await victim.subscribe(topics.ack(AREA, "agent-b"), qos=1)
        async with agents.client("agent-a", identifier="agent-b"):
            pass
        async with agents.client("ingest-1") as ingest:
            await ingest.publish(topics.ack(AREA, "agent-b"), b"{}", qos=1)
        assert await next_topic(victim) == topics.ack(AREA, "agent-b")


async def test_without_a_certificate_of_ours_nobody_is_let_in(agents, tmp_path):
    stranger = Authority.create(tmp_path / "other", "Test CA")
    stranger.issue("agent-a", "agent")
    with pytest.raises(aiomqtt.MqttError):
        async with agents.client("agent-a", authority=stranger):
            pass
    with pytest.raises(aiomqtt.MqttError):
        async with aiomqtt.Client("127.0.0.1", agents.port, timeout=2):
            pass


async def test_a_revoked_certificate_is_refused_and_its_successor_let_in(agents):
    async with agents.client("agent-a"):
        pass
    agents.authority.revoke("agent-a")
    agents.install()
    await agents.restart()
    with pytest.raises(aiomqtt.MqttError):
        async with agents.client("agent-a"):
            pass
    async with agents.client("agent-b"):
        pass
    agents.authority.issue("agent-a", "agent")
    async with agents.client("agent-a"):
        pass


@pytest.mark.parametrize(
    "name", ["#", "+", "a/b", "", "alarm", "a b", "x" * 65, "agent-a\nuser root", "../ca"]
)
def test_names_that_could_reach_further_are_refused_at_enrolment(tmp_path, name):
    authority = Authority.create(tmp_path / "pki", "Test CA")
    with pytest.raises(Refused, match="cannot be part of a topic; use letters"):
        authority.issue(name, "agent")
    assert authority.issued == []
    assert not list((tmp_path / "pki" / "issued").iterdir())


async def test_ingest_takes_uploads_over_tls_and_acknowledges_each(broker, tmp_path):
    broker.authority.issue("edge-01", "agent")
    config = world.write_config(tmp_path, broker.port, another_port())
    issued = broker.pki / "issued"
    tls = f'ca = "{broker.pki}/ca.crt", certificate = "{issued}/ingest-1.crt", key = "{issued}/ingest-1.key"'
    text = config.read_text().replace('area = "test"', f'area = "{AREA}"')
    config.write_text(text.replace(f"port = {broker.port} }}", f"port = {broker.port}, {tls} }}"))
    own = BrokerConfig(
        "127.0.0.1",
        broker.port,
        ca=broker.pki / "ca.crt",
        certificate=issued / "edge-01.crt",
        key=issued / "edge-01.key",
    )
    process = await world.start(config)
    try:
        async with aiomqtt.Client(
            own.host, own.port, identifier="x", tls_context=own.tls, timeout=5
        ) as agent:
            await agent.subscribe(topics.ack(AREA, "edge-01"), qos=1)
            now = int(time.time() * 1000)

            def upload(seq):
                reading = Reading("noise-01", now - seq, {"sound_level": 50.0})
                return json.encode(Upload("edge-01", "b", seq, now, (reading,)))

            for _ in range(100):  # until ingest is there, what is sent is sent again, as an agent does
                await agent.publish(topics.up(AREA, "edge-01"), upload(1), qos=1)
                if await heard(agent, 0.2):
                    break
            for seq in range(1, UPLOADS + 1):
                await agent.publish(topics.up(AREA, "edge-01"), upload(seq), qos=1)
            done = 0
            async with asyncio.timeout(30):
                async for message in agent.messages:
                    ack = msgspec.json.decode(message.payload, type=Ack)
                    done = max(done, ack.ranges[-1][1])
                    if ack.ranges[0] == (1, UPLOADS):
                        break
            assert done == UPLOADS
    finally:
        await world.stop(process)
