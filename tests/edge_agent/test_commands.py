"""Commands pass between two frames, are carried out once for ever, read back and told of."""

import asyncio
import json

import msgspec
import pytest
from benches import LAMP, METER, OPEN, Bench, dim, writes
from lines import PaperLine, Slave, polling_serial, serial_bus
from waiting import wait_until

from device_profiles.loading import load_catalogue
from device_profiles.profile import Interlock
from device_profiles.registers import encode
from edge_agent.commands import Commander
from edge_agent.driver import Device
from edge_agent.gather import Shape
from edge_agent.interlock import Interlocks
from edge_agent.orders import Allowed, CommandsConfig
from edge_agent.record import Recorder
from telemetry.clock import SystemClock
from telemetry.commands import Command, CommandResult, CommandState, mac_of
from telemetry.config import Secret
from telemetry.errors import Refused, Unavailable
from telemetry.keeper import Keeper
from telemetry.outbox import Outbox
from telemetry.testing import ManualClock


async def test_a_command_is_accepted_executed_read_back_and_told_of(lamp):
    async with lamp.running():
        assert await lamp.give(dim("c1", 70.0, lamp.clock)) == ["accepted", "executed", "verified"]
        assert (await lamp.results())[-1].read_back == 70.0
        await lamp.clock.advance(0.5)
        assert lamp.heard[-1].values["dimming"] == 70.0, "and the device is read at once"
    assert writes(lamp) == [70]


async def test_a_command_does_not_wait_for_a_long_poll(tmp_path):
    clock = ManualClock()
    meters = {f"m{n}": encode(METER, dict.fromkeys(METER.metrics, 1.0)) for n in range(8)}
    line = PaperLine(clock, {"lamp": encode(LAMP, {}), **meters})
    devices = [Device(name, METER, n + 10, 0.5) for n, name in enumerate(meters)]
    bench = Bench(tmp_path, clock, line, [*devices, Device("lamp", LAMP, 5, 0.5)])
    async with bench.running(period_s=1.2):
        await clock.advance(3)
        frames = {}
        accept, write = bench.commander._waiting.put_nowait, line.write

        def accepted(item):
            frames["accepted"] = len(line.asked)
            accept(item)

        async def written(device, order):
            frames["written"] = len(line.asked)
            await write(device, order)

        bench.commander._waiting.put_nowait, line.write = accepted, written
        await bench.give(dim("c1", 70.0, clock))
        await clock.advance(2)
        assert len(line.asked) > frames["written"] + 15, "the bus is busy all the time"
    assert frames["written"] - frames["accepted"] <= 1, "the frame that was under way, and no other"


async def test_a_repeated_id_is_refused_even_after_a_restart(lamp):
    async with lamp.running():
        await lamp.give(dim("c1", 70.0, lamp.clock))
        assert (await lamp.give(dim("c1", 70.0, lamp.clock)))[-1] == "refused"
    async with lamp.running():
        assert (await lamp.give(dim("c1", 30.0, lamp.clock)))[-1] == "refused"
        assert "repeated: 'c1' was taken before and is verified" in (await lamp.results())[-1].problem
    assert writes(lamp) == [70]


async def test_on_a_full_disk_only_an_alarm_is_answered_and_its_record_follows_when_there_is_room(lamp):
    async def until(names):
        while await lamp.states("link-1") != names:
            await lamp.clock.advance(1)
            await asyncio.sleep(0.01)

    async with lamp.running():
        await lamp.keeper.look(lambda box: box._db.execute("PRAGMA query_only = 1"))
        assert await lamp.give(dim("c1", 40.0, lamp.clock)) == []
        assert writes(lamp) == [], "an id that is not on disk might be carried out twice"
        taking = asyncio.ensure_future(lamp.commander.take(dim("link-1", 100.0, lamp.clock), cause="a1"))
        await wait_until(lambda: taking.done() or lamp.clock.advance(0.1))
        verdict = await taking
        await wait_until(lambda: verdict.done() or lamp.clock.advance(0.1))
        done = await verdict
        assert (str(done.state), done.read_back) == ("verified", 100.0)
        await lamp.keeper.look(lambda box: box._db.execute("PRAGMA query_only = 0"))
        assert await lamp.states("link-1") == []
        async with asyncio.timeout(10):
            await until(["accepted", "executed", "verified"])
        assert await lamp.give(dim("link-1", 10.0, lamp.clock)) == [
            "accepted",
            "executed",
            "verified",
            "refused",
        ]
        assert await lamp.give(dim("c1", 40.0, lamp.clock)) == ["accepted", "executed", "verified"]


async def test_what_is_remembered_of_commands_does_not_grow_without_end(lamp, monkeypatch):
    async with lamp.running(period_s=3600.0):
        for n in range(3):  # somebody counts in microseconds
            await lamp.commander.hear(msgspec.json.encode(dim(f"us{n}", 1.0, lamp.clock, not_after=10**18)))
        await lamp.clock.advance(26 * 3600)
        assert await lamp.give(dim("c1", 70.0, lamp.clock)) == ["accepted", "executed", "verified"]
        assert lamp.commander._memory.ids.keys() == {"c1"}
        monkeypatch.setattr("edge_agent.memory._MOST_KNOWN", 2)
        assert await lamp.give(dim("c2", 60.0, lamp.clock)) == ["accepted", "executed", "verified"]
        assert await lamp.give(dim("c3", 50.0, lamp.clock)) == ["refused"]
        assert "2 commands are remembered until they have expired" in (await lamp.results())[-1].problem
        done = await lamp.commander.take(dim("link-1", 100.0, lamp.clock), cause="a1")
        await wait_until(lambda: done.done() or lamp.clock.advance(0.1))
        assert writes(lamp)[-1] == 100, "an alarm is answered"
        await lamp.clock.advance(3 * 3600)
        assert await lamp.give(dim("c3", 50.0, lamp.clock)) == ["refused", "accepted", "executed", "verified"]


async def test_a_command_that_comes_too_late_expires_and_nothing_is_written(lamp):
    async with lamp.running():
        late = dim("c1", 70.0, lamp.clock, not_after=lamp.clock.now_ms() - 1)
        assert await lamp.give(late) == ["expired"]
    assert writes(lamp) == []


async def test_a_command_that_waits_for_the_line_past_its_time_expires(lamp):
    async with lamp.running():
        async with lamp.line_taken("lamp"):
            await lamp.commander.hear(msgspec.json.encode(dim("c1", 70.0, lamp.clock)))
            await lamp.clock.advance(61)
        await lamp.at_rest()
        assert await lamp.states("c1") == ["accepted", "expired"]
    assert writes(lamp) == []


async def test_a_command_cut_off_by_a_restart_is_told_as_unknown_and_not_repeated(lamp):
    async with lamp.running(), lamp.line_taken("lamp"):
        await lamp.commander.hear(msgspec.json.encode(dim("c1", 70.0, lamp.clock)))
        assert await lamp.states("c1") == ["accepted"]
    async with lamp.running():
        last = (await lamp.results())[-1]
        assert (last.id, last.state) == ("c1", CommandState.FAILED)
        assert "whether it was carried out is not known" in last.problem
        assert (await lamp.give(dim("c1", 70.0, lamp.clock)))[-1] == "refused"


async def test_what_nothing_reads_back_is_at_its_end_when_it_is_executed_and_forgotten_in_its_time(tmp_path):
    smoke, clock = load_catalogue()["calectro_uniguard"], ManualClock()
    line = PaperLine(clock, {"smoke": encode(smoke, {"smoke_alarm": 0.0, "fault": 0.0})})
    bench = Bench(tmp_path, clock, line, [Device("smoke", smoke, 2, 0.5)])
    reset = Command("c1", "smoke", clock.now_ms() + 60_000, command="reset_alarm", by="centre")
    async with bench.running():
        assert await bench.give(reset) == ["accepted", "executed"]
    async with bench.running():
        assert await bench.states("c1") == ["accepted", "executed"], "a restart does not make it a failure"
        again = await bench.give(reset)
        assert again[2:] == ["refused"]
        assert "was taken before and is executed" in (await bench.results())[-1].problem
        clock.step_wall(3700)
        await bench.give(msgspec.structs.replace(reset, id="c2", not_after=clock.now_ms() + 60_000))
        assert list(bench.commander._memory.ids) == ["c2"]


async def test_a_device_that_does_not_do_as_it_says_fails_the_command(lamp):
    async def shrug(_device, write):
        lamp.line.written.append(("lamp", write))

    lamp.line.write = shrug
    async with lamp.running():
        assert await lamp.give(dim("c1", 70.0, lamp.clock)) == ["accepted", "executed", "failed"]
        assert (await lamp.results())[-1].problem == "reads back 10 instead of 70"
    assert writes(lamp) == [70], "and it is not written again"


async def test_a_write_that_meets_silence_is_decided_by_what_reads_back(lamp):
    held = lamp.line.says["lamp"]

    async def deaf(_device, write):
        held.update({(write.space, write.address): write.words[0]})
        raise Unavailable("no answer")

    lamp.line.write = deaf
    async with lamp.running():
        assert await lamp.give(dim("c1", 70.0, lamp.clock)) == ["accepted", "verified"]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"by": "stranger"}, "'stranger' may not set 'dimming' of 'lamp'"),
        ({"mac": "00"}, "not proven"),
        ({"value": 170.0}, "outside 0 to 100"),
        ({"metric": "energy"}, "cannot set 'energy'"),
        ({"metric": "", "command": "reset"}, "has no command 'reset'"),
        ({"device": "lmap"}, "has no device 'lmap'"),
        ({"not_after": 1_900_000_000_000}, "more than a day ahead"),
    ],
)
async def test_what_may_not_be_is_refused_with_the_reason_and_nothing_is_written(lamp, change, problem):
    lamp.config = CommandsConfig((Allowed(by="centre*", device="l*"),), Secret("k"))
    async with lamp.running():
        command = msgspec.structs.replace(dim("c1", 70.0, lamp.clock), **change)
        if "mac" not in change:
            command = msgspec.structs.replace(command, mac=mac_of(command, "k"))
        assert await lamp.give(command) == ["refused"]
        assert problem in (await lamp.results())[-1].problem
        good = dim("c2", 70.0, lamp.clock)
        good = msgspec.structs.replace(good, mac=mac_of(good, "k"))
        assert (await lamp.give(good))[-1] == "verified"
    assert writes(lamp) == [70]


async def test_without_a_table_of_commands_nobody_may_command_from_outside(lamp):
    lamp.config = CommandsConfig()
    async with lamp.running():
        assert await lamp.give(dim("c1", 70.0, lamp.clock)) == ["refused"]


async def test_a_relay_rests_between_two_actions(tmp_path):
    relay, clock = load_catalogue()["waveshare_relay_8ch"], ManualClock()
    bench = Bench(tmp_path, clock, PaperLine(clock, {"r": encode(relay, {})}), [Device("r", relay, 1, 0.5)])

    def switch(name, value):
        return Command(name, "r", clock.now_ms() + 60_000, metric="relay_2", value=value)

    async with bench.running():
        taken = await bench.commander.take(switch("c1", 1.0))
        second = await bench.commander.take(switch("c2", 0.0))
        assert isinstance(second, CommandResult)
        assert "r/relay_2 acted just now and must rest 0.5 s" in second.problem
        await clock.advance(1)
        await bench.at_rest()
        assert (await taken).state is CommandState.VERIFIED
        assert (await bench.give(switch("c3", 0.0)))[-1] == "verified"
        assert [(w.function_code, w.address, w.words) for _, w in bench.line.written] == [
            (5, 1, (1,)),
            (5, 1, (0,)),
        ]


def test_an_actuator_acts_so_often_an_hour_and_no_more():
    locks, rule, hour = Interlocks(), Interlock(most_per_hour=3), 3_600_000
    for n in range(3):
        locks.check("a", rule, 1000 + n)
        locks.note("a", 1000 + n)
    with pytest.raises(Refused, match="acted 3 times within an hour, 3 are allowed; again in 3600 s"):
        locks.check("a", rule, 1003)
    locks.check("a", rule, 1000 + hour)
    locks.check("b", rule, 1003)
    locks.check("a", rule, 500)  # a clock that was set back bars nobody


@pytest.mark.parametrize(
    ("profile", "metric", "value"),
    [
        ("openvmi_lamp_unit5", "dimming", 35.0),
        ("heidelberg_energy_control", "charging_enabled", 0.0),
        ("mennekes_amtron_compact", "current_limit", 10.0),
        ("phoenix_charx_sec", "charging_enabled", 0.0),
        ("waveshare_relay_8ch", "relay_8", 1.0),
        ("usr_io808", "relay_1", 1.0),
    ],
)
async def test_every_kind_of_actuator_is_written_on_a_real_line_and_reads_back(
    tmp_path, profile, metric, value
):
    before = 1.0 - value if value in (0.0, 1.0) else 0.0
    slave = Slave("a", 5, profile, {metric: before})
    async with serial_bus(tmp_path, [slave]) as link:
        bench = Bench(tmp_path, SystemClock(), None, [slave.device()])
        box = Outbox.open(tmp_path / "o.db", max_bytes=10**7)
        async with Keeper(box) as keeper:
            recorder = Recorder(Shape("e", "json", 200_000), bench.clock)
            commander = Commander(OPEN, bench.devices, keeper, recorder, bench.clock)
            async with polling_serial(link, [slave.device()], 0.2) as (_, poller):
                commander.serves(poller)
                task = asyncio.ensure_future(commander.run())
                command = Command("c", "a", bench.clock.now_ms() + 5000, metric=metric, value=value)
                async with asyncio.timeout(10):
                    result = await (await commander.take(command))
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
    assert result.state is CommandState.VERIFIED, result.problem
    assert slave.values[metric] == pytest.approx(value)


def test_a_result_can_be_read_by_any_system():
    told = CommandResult("c1", "lamp", CommandState.VERIFIED, 5, "dimming", 70.0, read_back=70.0)
    assert json.loads(msgspec.json.encode(told)) == {
        "id": "c1", "device": "lamp", "state": "verified", "time": 5, "metric": "dimming", "value": 70.0, "read_back": 70.0,
    }  # fmt: skip


async def test_a_command_that_was_not_begun_for_want_of_disk_does_not_count_as_an_action(tmp_path):
    relay, clock = load_catalogue()["waveshare_relay_8ch"], ManualClock()
    bench = Bench(tmp_path, clock, PaperLine(clock, {"r": encode(relay, {})}), [Device("r", relay, 1, 0.5)])
    command = Command("c1", "r", clock.now_ms() + 60_000, metric="relay_2", value=1.0)
    async with bench.running():
        await bench.keeper.look(lambda box: box._db.execute("PRAGMA query_only = 1"))
        with pytest.raises(Unavailable):
            await bench.commander.take(command, OPEN.check)
        await bench.keeper.look(lambda box: box._db.execute("PRAGMA query_only = 0"))
        assert (await bench.give(command))[-1] == "verified", "given again at once, it need not rest"
