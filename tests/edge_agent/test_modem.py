"""An agent behind an NB-IoT modem: real datagrams, a real broker, and a modem with every bad habit."""

import asyncio
import contextlib
import json
import socket
from collections import Counter

import aiomqtt
import msgspec
import pytest
from agents import AREA, Cloud, counters
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice
from waiting import wait_until

from cloud_ingest.gateway import AgentEntry, Gateway, GatewayConfig, Memory
from cloud_ingest.gateway import load_config as load_gateway
from cloud_ingest.gateway import run as run_gateway
from edge_agent import app
from edge_agent.config import load_config
from edge_agent.local import ask
from edge_agent.uplinks.nbiot_modem import MOST_BYTES
from simulators.modem import DIALECTS, ModemSim
from telemetry.broker import BrokerConfig
from telemetry.clock import SystemClock
from telemetry.codecs import json as wire
from telemetry.config import Secret
from telemetry.errors import ConfigError, Unavailable
from telemetry.readings import DesiredConfig
from telemetry.wire.datagram import MOST_BYTES as DATAGRAM
from telemetry.wire.datagram import Assembler, Message, Window, pack

CONFIG = """
agent = "edge-01"
area = "test"
outbox = {{ path = "edge-01.db" }}
[uplink]
kind = "nbiot_modem"
budget_bytes_per_day = 10000000
link = {{ port = "{port}", modem = "{modem}", host = "127.0.0.1", udp_port = {udp}, key = "file:key", attach_s = 20 }}
[[buses]]
id = "b1"
driver = "modbus_tcp"
period_s = 0.3
link = {{ host = "127.0.0.1", port = {slave} }}
[[buses.devices]]
id = "meter"
profile = "eastron_sdm630"
unit = 1
"""


@contextlib.asynccontextmanager
async def running(*coroutines):
    tasks = [asyncio.ensure_future(c) for c in coroutines]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


SECRET = "a secret of 32 letters or so"


def gateway_config(folder, broker, udp):
    entry = AgentEntry(AREA, "edge-01", Secret(SECRET))
    return GatewayConfig(BrokerConfig("127.0.0.1", broker), folder / "gateway.db", (entry,), "127.0.0.1", udp)


@contextlib.asynccontextmanager
async def site(tmp_path, mosquitto, ports, dialect):
    """A modem, a gateway and a cloud; yields the modem, the cloud, the gateway and the agent's file."""
    slave, udp = ports(), ports()
    server = ModbusTcpServer(
        SimDevice(1, [SimData(0, values=[0x4366, 0] * 200, datatype=DataType.REGISTERS)]),
        address=("127.0.0.1", slave),
    )
    await server.serve_forever(background=True)
    path = tmp_path / "edge-01.toml"
    (tmp_path / "key").write_text(SECRET)
    path.write_text(CONFIG.format(port=tmp_path / "modem", modem=dialect, udp=udp, slave=slave))
    modem, cloud = ModemSim(tmp_path / "modem", dialect), Cloud(mosquitto.port)
    try:
        with Memory(tmp_path / "gateway.db") as memory:
            gateway = Gateway(gateway_config(tmp_path, mosquitto.port, udp), memory, SystemClock())
            async with running(modem.serve(), gateway.run(), cloud.run()):
                await wait_until((tmp_path / "modem").exists)
                yield modem, cloud, gateway, path
    finally:
        await server.shutdown()


@contextlib.asynccontextmanager
async def agent(path):
    end = asyncio.Event()
    task = asyncio.ensure_future(app.run(path, stop=end))
    try:
        yield task
    finally:
        end.set()
        await task


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_what_is_read_arrives_by_modem_and_is_freed_when_the_cloud_has_it(
    tmp_path, mosquitto, unused_tcp_port_factory, dialect
):
    async with site(tmp_path, mosquitto, unused_tcp_port_factory, dialect) as (modem, cloud, gateway, path):
        modem.chatters = True
        async with agent(path):
            await wait_until(lambda: cloud.readings, 40)
            await wait_until(lambda: counters(tmp_path)["freed"] >= 30, 40, "acknowledgements to come back")
        assert cloud.conflicts == []
    told = counters(tmp_path)
    assert told["made"] == told["freed"] + told["queued"]
    assert cloud.samples >= told["freed"]
    assert max(modem.sent) <= DATAGRAM
    assert gateway.counts.keys() == {"taken"}


async def test_a_modem_that_loses_its_network_loses_no_reading(tmp_path, mosquitto, unused_tcp_port_factory):
    async with (
        site(tmp_path, mosquitto, unused_tcp_port_factory, "bc28") as (modem, cloud, _, path),
        agent(path),
    ):
        await wait_until(lambda: cloud.readings, 40)
        modem.lose_network()
        made = counters(tmp_path)["made"]
        await wait_until(lambda: counters(tmp_path)["made"] > made + 30, 20, "readings to go on")
        modem.attached = True
        await wait_until(lambda: cloud.samples > made + 30, 60, "what was kept to arrive")
        seqs = sorted(seq for _, seq in cloud.uploads)
        assert seqs == list(range(1, len(seqs) + 1))


async def test_full_buffers_and_sleep_only_delay(tmp_path, mosquitto, unused_tcp_port_factory):
    within_s = 90  # a datagram that was lost is sent again after 20 s, one more may be lost meanwhile
    async with (
        site(tmp_path, mosquitto, unused_tcp_port_factory, "bc26") as (modem, cloud, _, path),
        agent(path),
    ):
        await wait_until(lambda: cloud.readings, within_s)
        modem.full = 2
        count = len(cloud.readings)
        await wait_until(lambda: modem.full == 0 and len(cloud.readings) > count + 3, within_s)
        modem.sleep()
        count = len(cloud.readings)
        await wait_until(lambda: not modem.asleep and len(cloud.readings) > count + 3, within_s)


async def test_the_radio_is_told_of_and_a_configuration_comes_down(
    tmp_path, mosquitto, unused_tcp_port_factory
):
    from telemetry.codecs import msgpack
    from telemetry.readings import AgentStatus

    seen = []

    async def watch():
        async with aiomqtt.Client("127.0.0.1", mosquitto.port, timeout=5) as client:
            await client.subscribe(f"yemai/v1/{AREA}/edge-01/status", 1)
            async for message in client.messages:
                told = msgpack.decode(bytes(message.payload), AgentStatus)
                seen.append(told)

    async with site(tmp_path, mosquitto, unused_tcp_port_factory, "bc28") as (_, cloud, _, path):
        async with running(watch()), agent(path):
            await wait_until(lambda: cloud.readings, 40)
            async with aiomqtt.Client("127.0.0.1", mosquitto.port, timeout=5) as client:
                desired = DesiredConfig(
                    "v9", path.read_text().replace('id = "meter"', 'id = "other"'), confirm_s=60
                )
                await client.publish(f"yemai/v1/{AREA}/edge-01/config", wire.encode(desired), 1, retain=True)
            await wait_until(lambda: seen and seen[-1].config.running == "v9", 60, "v9 to be in force")
            await wait_until(lambda: any("rsrp_dbm" in told.metrics for told in seen), 60)
    metrics = next(told.metrics for told in reversed(seen) if "rsrp_dbm" in told.metrics)
    assert metrics["signal_dbm"] == -73
    assert metrics["rsrp_dbm"] == -84.2
    assert metrics["snr_db"] == 5.7
    assert metrics["ecl"] == 1
    assert json.dumps(metrics)


def by_mqtt(path, broker):
    """Let the agent of a site go to the broker itself, by its modem's own MQTT."""
    text = path.read_text()
    begin = text.index('host = "127.0.0.1", udp_port')
    end = text.index(", attach_s")
    path.write_text(text[:begin] + f'host = "127.0.0.1", over = "mqtt", mqtt_port = {broker}' + text[end:])


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_modems_own_mqtt_carries_readings_up_and_acknowledgements_down(
    tmp_path, mosquitto, unused_tcp_port_factory, dialect
):
    async with site(tmp_path, mosquitto, unused_tcp_port_factory, dialect) as (modem, cloud, gateway, path):
        by_mqtt(path, mosquitto.port)
        modem.chatters = modem.mqtt.retransmits = True
        async with agent(path):
            await wait_until(lambda: cloud.readings, 40)
            await wait_until(lambda: counters(tmp_path)["freed"] >= 20, 40, "acknowledgements to come back")
        assert cloud.conflicts == []
    told = counters(tmp_path)
    assert told["made"] == told["freed"] + told["queued"]
    assert max(modem.mqtt.published) <= MOST_BYTES
    assert modem.sent == []
    assert not gateway.counts, "nothing went as a datagram"


@pytest.mark.parametrize("dialect", ["bc26", pytest.param("sim7020", marks=pytest.mark.soak)])
async def test_a_modems_own_mqtt_comes_back_after_lost_networks_full_buffers_and_sleep(
    tmp_path, mosquitto, unused_tcp_port_factory, dialect
):
    async with site(tmp_path, mosquitto, unused_tcp_port_factory, dialect) as (modem, cloud, _, path):
        by_mqtt(path, mosquitto.port)
        async with agent(path):
            await wait_until(lambda: cloud.readings, 40)
            for trouble in ("session", "network", "buffers", "sleep"):
                made = counters(tmp_path)["made"]
                if trouble == "session":
                    await modem.mqtt.lose()
                elif trouble == "network":
                    modem.lose_network()
                    await modem.mqtt.lose()
                    await wait_until(lambda made=made: counters(tmp_path)["made"] > made, 20)
                    modem.attached = True
                elif trouble == "buffers":
                    modem.full = 2
                else:
                    modem.sleep()
                await wait_until(
                    lambda made=made: cloud.samples > made + 10, 60, f"what was kept, after: {trouble}"
                )
        seqs = sorted(seq for _, seq in cloud.uploads)
        assert seqs == list(range(1, len(seqs) + 1)), "nothing is lost"
        assert modem.full == 0
        assert not modem.asleep


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
    published = []

    async def watch():
        async with aiomqtt.Client("127.0.0.1", mosquitto.port, timeout=5) as client:
            await client.subscribe(f"yemai/v1/{AREA}/edge-01/#", 1)
            async for message in client.messages:
                published.append((str(message.topic).rsplit("/", 1)[1], bytes(message.payload)))

    air, thief = Air(unused_udp_port), Air(unused_udp_port)
    config = gateway_config(tmp_path, mosquitto.port, unused_udp_port)
    with contextlib.closing(air.socket), contextlib.closing(thief.socket):
        async with running(watch()):
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


async def test_a_port_without_a_modem_is_said_so(tmp_path, mosquitto, unused_tcp_port_factory):
    async with site(tmp_path, mosquitto, unused_tcp_port_factory, "bc28") as (_, _, _, path):
        path.write_text(path.read_text().replace(f'port = "{tmp_path / "modem"}"', 'port = "/dev/nothing"'))
        async with agent(path):
            socket = load_config(path).socket
            await wait_until(socket.exists)
            await wait_until(lambda: _problem(ask, socket), 20)


async def _problem(ask, socket):
    return "/dev/nothing" in json.loads(await ask(socket, "status"))["uplink"]["problem"]


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("bc28", "bc29", "$.uplink.link: edge_agent.modems: no 'bc29'; did you mean 'bc28'?"),
        ("nbiot_modem", "nbiot", "$.uplink.kind: edge_agent.uplinks: no 'nbiot'; did you mean 'nbiot_modem'?"),
        (', key = "file:key"', "", "$.uplink.link: datagrams need 'udp_port' and 'key', as the gateway knows them; or over = 'mqtt'"),
        ("10000000", "500", "$.uplink.budget_bytes_per_day: 500 does not carry a day's alarms; at least 10000; leave it away for no limit"),
    ],
)  # fmt: skip
def test_a_mistake_in_the_uplink_is_told(tmp_path, before, after, message):
    (tmp_path / "key").write_text("x")
    path = tmp_path / "edge.toml"
    path.write_text(CONFIG.format(port="/dev/ttyS1", modem="bc28", udp=1, slave=1).replace(before, after))
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert str(caught.value).startswith(f"{path}: {message}")
    assert MOST_BYTES < DATAGRAM
