"""An agent behind an NB-IoT modem: real datagrams, a real broker, and a modem with every bad habit."""

import asyncio
import contextlib

import pytest
from agents import AREA, Cloud, counters
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice
from waiting import wait_until

from edge_agent import app
from edge_agent.config import load_config
from edge_agent.uplinks.nbiot_modem import MOST_BYTES
from simulators.gateway import Gateway
from simulators.modem import DIALECTS, ModemSim
from telemetry.errors import ConfigError
from telemetry.wire.datagram import MOST_BYTES as DATAGRAM

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
    (tmp_path / "key").write_text("a secret of 32 letters or so")
    path.write_text(CONFIG.format(port=tmp_path / "modem", modem=dialect, udp=udp, slave=slave))
    modem, cloud = ModemSim(tmp_path / "modem", dialect), Cloud(mosquitto.port)
    gateway = Gateway({f"{AREA}/edge-01": "a secret of 32 letters or so"})
    try:
        async with running(modem.serve(), gateway.serve(udp, mosquitto.port), cloud.run()):
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
    assert gateway.refused == 0


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
    within_s = 60  # a datagram that was lost is sent again after 20 s, one more may be lost meanwhile
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
    import json

    import aiomqtt

    from telemetry.codecs import json as wire
    from telemetry.codecs import msgpack
    from telemetry.readings import AgentStatus, DesiredConfig

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


async def test_a_port_without_a_modem_is_said_so(tmp_path, mosquitto, unused_tcp_port_factory):
    async with site(tmp_path, mosquitto, unused_tcp_port_factory, "bc28") as (_, _, _, path):
        path.write_text(path.read_text().replace(f'port = "{tmp_path / "modem"}"', 'port = "/dev/nothing"'))
        async with agent(path):
            from edge_agent.local import ask

            socket = load_config(path).socket
            await wait_until(socket.exists)
            await wait_until(lambda: _problem(ask, socket), 20)


async def _problem(ask, socket):
    import json

    return "/dev/nothing" in json.loads(await ask(socket, "status"))["uplink"]["problem"]


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("bc28", "bc29", "$.uplink.link: edge_agent.modems: no 'bc29'; did you mean 'bc28'?"),
        ("nbiot_modem", "nbiot", "$.uplink.kind: edge_agent.uplinks: no 'nbiot'; did you mean 'nbiot_modem'?"),
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
