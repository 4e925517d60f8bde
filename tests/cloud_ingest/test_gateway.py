"""The gateway between datagrams and the broker: what it is not let hear is said, and costs nobody what goes up."""

import asyncio
import contextlib
import socket

import aiomqtt
from structlog.testing import capture_logs
from waiting import wait_until

from cloud_ingest.gateway import AgentEntry, Gateway, GatewayConfig, Memory
from telemetry import topics
from telemetry.broker import BrokerConfig
from telemetry.clock import SystemClock
from telemetry.config import Secret
from telemetry.wire.datagram import Message, pack

KEY = "a secret of 32 letters or so"


async def test_what_the_broker_does_not_let_it_hear_is_said_asked_for_again_and_stops_no_agent(
    tmp_path, refusing_mosquitto, unused_udp_port, monkeypatch
):
    monkeypatch.setattr("cloud_ingest.gateway._ASK_AGAIN_S", 0.2)
    entry = AgentEntry("test", "edge-01", Secret(KEY))
    broker = BrokerConfig("127.0.0.1", refusing_mosquitto.port)
    with Memory(tmp_path / "gateway.db") as memory, capture_logs() as logs:
        config = GatewayConfig(broker, tmp_path / "gateway.db", (entry,), "127.0.0.1", unused_udp_port)
        gateway = Gateway(config, memory, SystemClock())
        serving = asyncio.ensure_future(gateway.run())

        def said(event):
            assert not serving.done(), serving
            return event in [line["event"] for line in logs]

        try:
            await wait_until(lambda: said("subscriptions_refused"))
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as agent:
                for data in pack(Message("test", "edge-01", 1, 1, "up", b"{}"), KEY.encode()):
                    agent.sendto(data, ("127.0.0.1", unused_udp_port))
                await wait_until(lambda: gateway.counts["taken"] == 1)
                await refusing_mosquitto.grant_subscriptions()
                await wait_until(lambda: said("subscriptions_granted"))
                async with aiomqtt.Client("127.0.0.1", refusing_mosquitto.port) as cloud:
                    await cloud.publish(topics.ack("test", "edge-01"), b"{}", 1)
                agent.setblocking(False)
                async with asyncio.timeout(10):
                    assert await asyncio.get_running_loop().sock_recv(agent, 2048)
        finally:
            serving.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await serving
    warnings = [line for line in logs if line["log_level"] == "warning"]
    assert [(line["event"], line["topics"]) for line in warnings] == [
        (
            "subscriptions_refused",
            [f"{topics.ROOT}/test/edge-01/{kind}" for kind in ("ack", "cmd", "config")],
        )
    ]
