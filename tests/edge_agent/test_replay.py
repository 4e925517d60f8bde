"""Captured datagrams that are sent again, and the gateway that must know them."""

import asyncio
import contextlib
import json
import socket
from collections import Counter

import aiomqtt
import msgspec
import pytest
from agents import AREA, counters
from air import SECRET, agent, gateway_config, running, site
from waiting import wait_until

from cloud_ingest.gateway import Gateway, Memory
from cloud_ingest.gateway import load_config as load_gateway
from cloud_ingest.gateway import run as run_gateway
from edge_agent.config import load_config
from edge_agent.local import ask
from telemetry.clock import SystemClock
from telemetry.codecs import json as wire
from telemetry.errors import ConfigError, Unavailable
from telemetry.readings import DesiredConfig
from telemetry.wire.datagram import Assembler, Message, Window, pack


class Air:
    """An agent's end of the air, played by hand, that keeps what it has sent."""

    def __init__(self, udp):
        self.udp, self.sent = udp, []
        self.socket = socket.socket(type=socket.SOCK_DGRAM)
        self.socket.setblocking(False)

    async def send(self, session, number, kind, payload):
        for data in pack(Message(AREA, "edge-01", session, number, kind, payload), SECRET.encode()):
            self.sent.append(data)
            await self.again(data)

    async def again(self, data):
        await asyncio.get_running_loop().sock_sendto(self.socket, data, ("127.0.0.1", self.udp))

    async def hear(self, within_s=5.0):
        assembler = Assembler(lambda *_: SECRET.encode())
        async with asyncio.timeout(within_s):
            while True:
                data = await asyncio.get_running_loop().sock_recv(self.socket, 1000)
                if (message := assembler.feed(data)) is not None:
                    return message


async def test_captured_datagrams_that_are_sent_again_are_dropped_also_after_a_restart_of_the_receiver(
    tmp_path, mosquitto, unused_udp_port
):
    published, watches = [], asyncio.Event()

    async def watch():
        async with aiomqtt.Client("127.0.0.1", mosquitto.port, timeout=5) as client:
            await client.subscribe(f"yemai/v1/{AREA}/edge-01/#", 1)
            watches.set()
            async for message in client.messages:
                published.append((str(message.topic).rsplit("/", 1)[1], bytes(message.payload)))

    air, thief = Air(unused_udp_port), Air(unused_udp_port)
    config = gateway_config(tmp_path, mosquitto.port, unused_udp_port)
    with contextlib.closing(air.socket), contextlib.closing(thief.socket):
        async with running(watch()):
            await watches.wait()
            with Memory(config.state) as memory:
                gateway = Gateway(config, memory, SystemClock())
                async with running(gateway.run()):
                    await gateway.listens.wait()
                    await air.send(1000, 1, "status", b"alive")
                    assert (await air.hear()).kind == "ok"
                    await air.send(1000, 2, "up", b"readings")
                    await wait_until(lambda: ("up", b"readings") in published)
                    for data in air.sent:
                        await thief.again(data)
                    await wait_until(lambda: gateway.counts["replayed"] == 2)
            with Memory(config.state) as memory:
                gateway = Gateway(config, memory, SystemClock())
                async with running(gateway.run()):
                    await gateway.listens.wait()
                    for data in air.sent:
                        await thief.again(data)
                    await wait_until(lambda: gateway.counts["replayed"] == 2)
                    await air.send(1000, 3, "status", b"alive")
                    heard = await air.hear()
                    assert (heard.kind, heard.session, heard.number) == ("ok", 1000, 2), (
                        "goes on where it was"
                    )
                    async with aiomqtt.Client("127.0.0.1", mosquitto.port, timeout=5) as client:
                        await client.publish(f"yemai/v1/{AREA}/edge-01/ack", b"ack", 1)
                    assert (await air.hear()).payload == b"ack", "and to the agent, not to who replays it"
        with pytest.raises(TimeoutError):
            await thief.hear(0.2)
    assert Counter(kind for kind, _ in published if kind != "ack") == {"status": 2, "up": 1}


async def test_an_agent_whose_clock_has_gone_back_is_set_right_and_drops_what_is_sent_to_it_again(
    tmp_path, mosquitto, unused_tcp_port_factory
):
    async with site(tmp_path, mosquitto, unused_tcp_port_factory, "bc28") as (modem, cloud, gateway, path):
        ahead = SystemClock().now_ms() + 3_600_000
        gateway._memory.windows[f"{AREA}/edge-01"] = Window(ahead, 7, 1)
        heard, downlink = [], modem.downlink

        def tapped(data, addr):
            heard.append(data)
            downlink(data, addr)

        modem.downlink = tapped
        old = Message(AREA, "edge-01", ahead - 5, 1, "config", wire.encode(DesiredConfig("old", "")))
        async with agent(path):
            await wait_until(lambda: modem.sent, 20)
            for data in pack(old, SECRET.encode()):  # captured before its clock went back
                downlink(data, ("127.0.0.1", 9))
            await wait_until(
                lambda: cloud.readings and counters(tmp_path)["freed"] >= 5,
                40,
                "uploads though the clock is behind",
            )
            assert gateway._memory.windows[f"{AREA}/edge-01"].session == ahead + 1
            for data in heard[:3]:
                downlink(data, ("127.0.0.1", 9))
            count = len(cloud.readings)
            await wait_until(lambda: len(cloud.readings) > count + 3, 40, "it to go on")
            status = json.loads(await ask(load_config(path).socket, "status"))
            assert status["uplink"]["metrics"]["replayed_datagrams"] == 4
            assert status["config"].get("wanted", "") == "", "no configuration was taken from a thief"


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ('key = "file:key"', 'key = "secret"', "a secret is not written here"),
        ('agent = "edge-01"', 'agent = "edge/01"', "$.agents[0]: "),
        ("state", "stat", "$.stat: unknown key; did you mean 'state'?"),
    ],
)
def test_a_mistake_in_a_gateways_file_is_told(tmp_path, before, after, message):
    (tmp_path / "key").write_text(SECRET)
    path = tmp_path / "gateway.toml"
    text = (
        'state = "gateway.db"\nbroker = { host = "127.0.0.1" }\n'
        '[[agents]]\narea = "yeji"\nagent = "edge-01"\nkey = "file:key"\n'
    )
    path.write_text(text)
    assert load_gateway(path).port == 5685
    path.write_text(text.replace(before, after))
    with pytest.raises(ConfigError) as caught:
        load_gateway(path)
    assert message in str(caught.value)


async def test_a_gateway_without_its_port_or_its_memory_says_so_in_a_sentence(tmp_path, unused_udp_port):
    config = gateway_config(tmp_path, 1, unused_udp_port)
    with socket.socket(type=socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", unused_udp_port))
        with pytest.raises(Unavailable, match=f"UDP 127.0.0.1:{unused_udp_port}: "):
            await run_gateway(config, SystemClock(), asyncio.Event())
    broken = msgspec.structs.replace(config, state=tmp_path / "gateway.db" / "x")
    with pytest.raises(Unavailable, match="x: "):
        await run_gateway(broken, SystemClock(), asyncio.Event())
    stop = asyncio.Event()
    stop.set()
    await run_gateway(config, SystemClock(), stop)
