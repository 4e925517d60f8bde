"""A real agent, a real broker, a real Modbus server: nothing is lost and nothing is doubled."""

import asyncio
import contextlib
import random

import pytest
from agents import counters, start, stop, write_config
from ports import free_port
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice
from waiting import wait_until

from device_profiles.loading import load_catalogue
from edge_agent.bus import run_bus
from edge_agent.config import Bus
from edge_agent.driver import Device
from edge_agent.drivers import modbus_tcp
from telemetry.clock import SystemClock

BUS = """
[[buses]]
id = "b1"
driver = "modbus_tcp"
period_s = 0.1
link = {{ host = "127.0.0.1", port = {port} }}
[[buses.devices]]
id = "noise-01"
profile = "sonbest_sm7901b"
unit = 1
"""


@pytest.fixture
async def slave():
    port = free_port()
    server = ModbusTcpServer(
        SimDevice(1, [SimData(0, values=536, datatype=DataType.REGISTERS)]), address=("127.0.0.1", port)
    )
    await server.serve_forever(background=True)
    yield port
    await server.shutdown()


async def test_what_a_register_holds_arrives_and_is_freed_when_acknowledged(
    tmp_path, mosquitto, cloud, slave
):
    agent = await start(write_config(tmp_path, mosquitto.port, BUS.format(port=slave)))
    await wait_until(lambda: len(cloud.readings) >= 10, 20)
    assert await stop(agent) == 0
    assert {reading["values"]["sound_level"] for reading in cloud.readings} == {53.6}
    told = counters(tmp_path)
    assert told["queued"] == 0
    assert told["made"] == told["freed"] == cloud.samples


async def test_the_brokers_own_acknowledgement_frees_nothing(tmp_path, mosquitto, cloud, slave):
    cloud.acknowledges = False
    agent = await start(write_config(tmp_path, mosquitto.port, BUS.format(port=slave)))
    await wait_until(lambda: cloud.readings and _made(tmp_path) >= 20, 20)
    await stop(agent)
    told = counters(tmp_path)
    assert told["freed"] == 0
    assert told["queued"] == told["made"]


async def test_a_dead_broker_costs_nothing(tmp_path, mosquitto, cloud, slave):
    agent = await start(write_config(tmp_path, mosquitto.port, BUS.format(port=slave)))
    await wait_until(lambda: len(cloud.readings) >= 3, 20)
    await mosquitto.kill()
    before = counters(tmp_path)["made"]
    await wait_until(
        lambda: agent.returncode is not None or counters(tmp_path)["made"] >= before + 15,
        20,
        "readings to go on",
    )
    assert agent.returncode is None, (tmp_path / "edge-01.log").read_text()
    await mosquitto.start()
    await wait_until(lambda: cloud.samples >= before + 15, 20, "what was kept to arrive")
    await stop(agent)
    assert cloud.conflicts == []
    told = counters(tmp_path)
    assert told["made"] == told["freed"] + told["queued"]
    assert told["freed"] <= cloud.samples, "what is freed has arrived"
    assert sorted(seq for _, seq in cloud.uploads) == list(range(1, len(cloud.uploads) + 1))


async def test_sigkill_at_any_moment_loses_nothing_that_was_made(tmp_path, mosquitto, cloud, slave):
    dice, config = random.Random(3), write_config(tmp_path, mosquitto.port, BUS.format(port=slave))
    for _ in range(4):
        made = counters(tmp_path)["made"] if (tmp_path / "edge-01.db").exists() else 0
        agent = await start(config)
        more = made + dice.randint(1, 12)
        await wait_until(lambda more=more: (tmp_path / "edge-01.db").exists() and _made(tmp_path) >= more, 20)
        agent.kill()
        await agent.wait()
    agent = await start(config)
    await wait_until(lambda: counters(tmp_path)["queued"] == 0, 20)
    await stop(agent)
    told = counters(tmp_path)
    assert told["made"] == told["freed"] == cloud.samples
    assert cloud.conflicts == []
    assert len({boot for boot, _ in cloud.uploads}) == 1
    assert sorted(seq for _, seq in cloud.uploads) == list(range(1, len(cloud.uploads) + 1))


def _made(folder):
    with contextlib.suppress(Exception):  # the tables may not be there yet
        return counters(folder)["made"]
    return 0


async def test_a_device_that_wants_a_heartbeat_gets_it():
    port = free_port()
    blocks = [
        SimData(address, values=[0] * 60, datatype=DataType.REGISTERS)
        for address in (0, 256, 768, 1280, 3328, 4096)
    ]
    written = []

    async def note(function_code, _start, address, _count, _registers, values):
        if function_code == 6 and values is not None:  # pymodbus calls again to read back
            written.append((address, values))

    server = ModbusTcpServer(SimDevice(50, blocks, action=note), address=("127.0.0.1", port))
    await server.serve_forever(background=True)
    charger = Device("chg", load_catalogue()["mennekes_amtron_compact"], 50, 2.0)
    link = modbus_tcp.Config("127.0.0.1", port)
    heard = []
    bus = asyncio.ensure_future(
        run_bus(Bus("b", modbus_tcp, link, 0.1, (charger,)), heard.append, SystemClock())
    )
    await wait_until(lambda: len(heard) >= 5)
    bus.cancel()
    await asyncio.gather(bus, return_exceptions=True)
    await server.shutdown()
    assert written == [(3328, [21930])], "once in five seconds, not with every read"
