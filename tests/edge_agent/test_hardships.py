"""Commands against a sender gone wild, a disk that hangs, and buses that are let go."""

import asyncio

import aiomqtt
import msgspec
from agents import AREA, cabinet, sleeping_valve
from benches import LAMP, Bench, dim, writes
from lines import PaperLine, Slave, disk_hangs, running
from test_actuators import valve
from waiting import wait_until

from device_profiles.registers import encode
from edge_agent import app, commands, memory
from edge_agent.driver import Device
from edge_agent.orders import Allowed, CommandsConfig
from simulators.frames import serve_datagrams
from telemetry import topics
from telemetry.clock import SystemClock
from telemetry.codecs import json as wire
from telemetry.commands import ActionUpload, Command, CommandState
from telemetry.readings import DesiredConfig
from telemetry.testing import ManualClock


async def test_a_flood_of_refused_commands_fills_neither_the_outbox_nor_the_memory_of_ids(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(memory, "_MOST_KNOWN", 30)
    monkeypatch.setattr(commands, "_MOST_TURNED_AWAY", 100)
    clock = ManualClock()
    line = PaperLine(clock, {"lamp": encode(LAMP, {"dimming": 10.0})})
    only = CommandsConfig((Allowed(by="centre"),))
    bench = Bench(tmp_path, clock, line, [Device("lamp", LAMP, 5, 0.5)], only)
    async with bench.running(period_s=600):
        await clock.advance(1)
        for n in range(150):
            await bench.commander.hear(msgspec.json.encode(dim(f"n{n}", 70.0, clock, by="nobody")))
        late = dim("late", 70.0, clock, not_after=clock.now_ms() - 1)
        assert (await bench.commander.take(late)).state is CommandState.EXPIRED, "who asks here is told"
        assert len(await bench.results()) == 100
        assert bench.commander.untold == 51
        assert await bench.give(dim("c1", 70.0, clock)) == ["accepted", "executed", "verified"]
        await clock.advance(72)  # a hundred an hour are two in that time
        for n in range(9):
            await bench.commander.hear(msgspec.json.encode(dim(f"m{n}", 70.0, clock, by="nobody")))
        assert [r.id for r in await bench.results()][-2:] == ["m0", "m1"]


async def test_an_alarm_is_answered_while_the_disk_hangs_and_its_record_follows_in_order(lamp):
    async with lamp.running():
        async with disk_hangs(lamp.keeper):
            taking = asyncio.ensure_future(lamp.commander.take(dim("link-1", 100.0, lamp.clock), cause="a1"))
            await wait_until(lambda: writes(lamp) or lamp.clock.advance(0.1))
        verdict = await taking
        await wait_until(lambda: verdict.done() or lamp.clock.advance(0.1))
        assert await lamp.states("link-1") == ["accepted", "executed", "verified"]


async def test_who_lets_go_of_the_buses_can_wait_for_what_is_under_way(lamp):
    async with lamp.running():
        await lamp.commander.at_rest()
        async with lamp.line_taken("lamp"):
            giving = asyncio.ensure_future(lamp.commander.take(dim("c1", 70.0, lamp.clock)))
            await wait_until(giving.done)
            rest = asyncio.ensure_future(lamp.commander.at_rest())
            await lamp.clock.advance(1)
            assert not rest.done()
        await wait_until(lambda: rest.done() or lamp.clock.advance(0.1))
        assert writes(lamp) == [70]


class Stopping(Slave):
    """A lamp that has the agent told to stop at the moment at which it is written to."""

    def __init__(self, end):
        super().__init__("lamp-01", 5, "openvmi_lamp_unit5", {"dimming": 20.0})
        self.end = end

    def write(self, *words):
        self.end.set()
        return super().write(*words)


async def test_a_command_that_is_under_way_when_the_agent_is_stopped_is_carried_out_and_told_of(
    tmp_path, mosquitto, cloud
):
    end = asyncio.Event()
    lamp = Stopping(end)
    async with cabinet(tmp_path, [lamp], mosquitto.port, "[[commands.allow]]\n", 0.2) as config:
        agent = asyncio.ensure_future(app.run(config, stop=end))
        await wait_until(lambda: len(cloud.readings) >= 3, 20)
        order = Command("c1", "lamp-01", SystemClock().now_ms() + 60_000, "dimming", 40.0, by="operator")
        async with aiomqtt.Client("127.0.0.1", mosquitto.port) as client:
            await client.publish(topics.cmd(AREA, "edge-01"), msgspec.json.encode(order), 1)
        await agent
        told = [wire.decode(payload, ActionUpload) for payload in cloud.uploads.values()]
    states = [result.state for upload in told for result in upload.results]
    assert states == [CommandState.ACCEPTED, CommandState.EXECUTED, CommandState.VERIFIED]


async def test_who_sleeps_is_heard_while_a_configuration_of_another_bus_is_tried(
    tmp_path, mosquitto, cloud, unused_udp_port, monkeypatch
):
    end, begun, over = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def long(*_):
        begun.set()
        await over.wait()
        return "no device answers"

    monkeypatch.setattr(app, "try_out", long)
    lamp = Slave("lamp-01", 5, "openvmi_lamp_unit5", {"dimming": 20.0})

    def heard(device):
        return sum(reading["device"] == device for reading in cloud.readings)

    async with cabinet(tmp_path, [lamp], mosquitto.port, sleeping_valve(unused_udp_port), 0.2) as config:
        agent = asyncio.ensure_future(app.run(config, stop=end))
        await wait_until(lambda: heard("lamp-01"), 20)
        text = config.read_text().replace("period_s = 0.2", "period_s = 0.3")
        async with aiomqtt.Client("127.0.0.1", mosquitto.port) as client:
            wanted = msgspec.json.encode(DesiredConfig("v2", text))
            await client.publish(topics.config(AREA, "edge-01"), wanted, 1, retain=True)
        await wait_until(begun.is_set, 20)
        async with running(serve_datagrams([valve()], "127.0.0.1", unused_udp_port, 0.5, SystemClock())):
            await wait_until(lambda: heard("valve-01"), 20)
        before = heard("lamp-01")
        over.set()
        await wait_until(lambda: heard("lamp-01") > before + 3, 20, "the lamp to be read again")
        end.set()
        await agent
