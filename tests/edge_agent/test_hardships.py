"""Commands against a sender gone wild, a disk that hangs, and buses that are let go."""

import asyncio

import msgspec
from benches import LAMP, Bench, dim, writes
from lines import PaperLine, disk_hangs
from waiting import wait_until

from device_profiles.registers import encode
from edge_agent import commands, memory
from edge_agent.driver import Device
from edge_agent.orders import Allowed, CommandsConfig
from telemetry.commands import CommandState
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
