"""NB-IoT devices that sleep: answered when they wake, told what waited, missed only after their own periods."""

import asyncio
import contextlib
import socket

import msgspec
import pytest
from agents import write_config
from waiting import wait_until

from device_profiles.downlinks import read_downlink
from device_profiles.frames import encode_frame
from device_profiles.loading import load_catalogue
from edge_agent.bus import run_bus
from edge_agent.commands import Commander
from edge_agent.config import Bus, load_config
from edge_agent.driver import Device
from edge_agent.drivers import nbiot_udp
from edge_agent.gather import Shape
from edge_agent.orders import Allowed, CommandsConfig
from edge_agent.record import Recorder
from simulators.city import Thing
from simulators.district import load_district
from simulators.frames import serve_datagrams
from simulators.scenarios import Stage
from telemetry.clock import SystemClock
from telemetry.commands import ActionUpload, Command, CommandState
from telemetry.errors import Refused, Unavailable
from telemetry.keeper import Keeper
from telemetry.outbox import Outbox
from telemetry.quality import Quality
from telemetry.testing import ManualClock

COVER = load_catalogue()["milesight_em400_udl_nb"]
FRAME = bytes.fromhex(COVER.examples[0].hex)


def device(profile=COVER):
    return Device("cover", profile, 0, 10.0, identity=COVER.examples[0].identity)


@contextlib.asynccontextmanager
async def woken(driver, port):
    """A device's end: returns what it hears within a second after each of its datagrams."""
    loop = asyncio.get_running_loop()
    with socket.socket(type=socket.SOCK_DGRAM) as end:
        end.setblocking(False)

        async def wake():
            await loop.sock_sendto(end, FRAME, ("127.0.0.1", port))
            heard = []
            with contextlib.suppress(TimeoutError):
                while True:
                    async with asyncio.timeout(0.3):
                        heard.append(await loop.sock_recv(end, 1000))
            return heard

        async def listen():
            async with contextlib.aclosing(driver.listen()) as items:
                async for _ in items:
                    pass

        listening = asyncio.ensure_future(listen())
        await asyncio.sleep(0)
        try:
            yield wake
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)


async def test_a_device_that_wakes_is_answered_and_told_what_waited(unused_udp_port):
    profile = msgspec.structs.replace(COVER, frame=msgspec.structs.replace(COVER.frame, answer="a0b0"))
    cover = device(profile)
    async with nbiot_udp.Driver(nbiot_udp.Config("127.0.0.1", unused_udp_port), [cover]) as driver:
        async with woken(driver, unused_udp_port) as wake:
            first, second = driver.tell(cover, b"one", 60), driver.tell(cover, b"two", 60)
            assert not first.done(), "it sleeps"
            assert await wake() == [b"\xa0\xb0", b"one", b"two"]
            assert first.result() is second.result() is None
            assert await wake() == [b"\xa0\xb0"], "once"


async def test_what_comes_too_late_is_not_sent_and_no_queue_grows_without_end(unused_udp_port):
    cover = device()
    async with nbiot_udp.Driver(nbiot_udp.Config("127.0.0.1", unused_udp_port), [cover]) as driver:
        with pytest.raises(Unavailable, match=r"'cover' did not wake within 0\.01 s"):
            await driver.tell(cover, b"late", 0.01)
        waiting = [driver.tell(cover, b"%d" % n, 60) for n in range(16)]  # the late one has no place any more
        with pytest.raises(Refused, match="16 messages wait"):
            await driver.tell(cover, b"one too many", 60)
        async with woken(driver, unused_udp_port) as wake:
            assert await wake() == [b"%d" % n for n in range(16)]
        await asyncio.gather(*waiting)


async def test_a_device_is_missed_after_two_and_a_half_of_its_own_periods(unused_udp_port):
    clock, emitted = ManualClock(), []
    cover = msgspec.structs.replace(device(), period_s=3600.0)
    link = nbiot_udp.Config("127.0.0.1", unused_udp_port)
    task = asyncio.ensure_future(run_bus(Bus("nb", nbiot_udp, link, 5.0, (cover,)), emitted.append, clock))
    await clock.advance(2.4 * 3600)
    assert emitted == [], "not after twelve seconds"
    await clock.advance(0.2 * 3600)
    assert [set(r.quality.values()) for r in emitted] == [{Quality.NO_ANSWER}]
    await clock.advance(3600)
    assert len(emitted) == 2, "once a period"
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


METER = load_catalogue()["kingda_nb_water_meter"]
SHUT = "fefe6810010000050800000404a0170099de16"


class Valve:
    """A water meter that sleeps: a socket of its own, and whatever a test lets it make of what it hears."""

    def __init__(self, port):
        self.port, self.open, self.heard, self.obeys = port, 1.0, [], True

    async def wake(self):
        """Send a report, hear what comes within a moment."""
        loop = asyncio.get_running_loop()
        with socket.socket(type=socket.SOCK_DGRAM) as end:
            end.setblocking(False)
            values = {"total_volume": 12.0, "valve_open": self.open}
            await loop.sock_sendto(
                end, encode_frame(METER, values, identity="00000805000001"), ("127.0.0.1", self.port)
            )
            with contextlib.suppress(TimeoutError):
                while True:
                    async with asyncio.timeout(0.3):
                        data = await loop.sock_recv(end, 1000)
                    self.heard.append(data.hex())
                    if self.obeys:
                        self.open = read_downlink(METER, data)[1]


@contextlib.asynccontextmanager
async def waterworks(folder, port, *, period_s=600.0):
    """A commander with one valve on a real UDP port; yields it and a function that returns a command's states."""
    device = Device("valve-01", METER, 0, 10.0, identity="00000805000001", period_s=period_s)
    clock, box = SystemClock(), Outbox.open(folder / "o.db", max_bytes=10**7)
    async with Keeper(box) as keeper:
        commander = Commander(
            CommandsConfig((Allowed(),)),
            {device.id: device},
            keeper,
            Recorder(Shape("e", "json", 200_000), clock),
            clock,
        )
        await commander.restore()

        async def states(name):
            queued = await keeper.look(lambda box: box.waiting(1000))
            uploads = [msgspec.json.decode(message.payload, type=ActionUpload) for message in queued]
            return [r for upload in uploads for r in upload.results if r.id == name]

        bus = Bus("nb", nbiot_udp, nbiot_udp.Config("127.0.0.1", port), 5.0, (device,))
        tasks = [
            asyncio.ensure_future(commander.run()),
            asyncio.ensure_future(run_bus(bus, commander.heard, clock, polled=commander.serves)),
        ]
        await asyncio.sleep(0.05)
        try:
            yield commander, states
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


def shut(name, *, value=0.0, life_s=60.0):
    return Command(
        name,
        "valve-01",
        SystemClock().now_ms() + int(life_s * 1000),
        metric="valve_open",
        value=value,
        by="centre",
    )


async def ended(states, name):
    """Return a command's states once it has come to an end."""

    async def is_over():
        told = await states(name)
        return bool(told) and told[-1].state.is_final

    await wait_until(is_over, 10, f"{name} to end")
    return [str(result.state) for result in await states(name)]


async def test_a_valve_is_told_when_it_wakes_and_believed_when_its_next_report_shows_it(
    tmp_path, unused_udp_port
):
    valve = Valve(unused_udp_port)
    async with waterworks(tmp_path, unused_udp_port) as (commander, states):
        await commander.hear(msgspec.json.encode(shut("c1")))
        assert [str(r.state) for r in await states("c1")] == ["accepted"], "it sleeps"
        await valve.wake()
        assert valve.heard == [SHUT]
        await wait_until(lambda: _has(states, "c1", "executed"), 5)
        assert "verified" not in [str(r.state) for r in await states("c1")], "that it was told proves nothing"
        await valve.wake()
        assert await ended(states, "c1") == ["accepted", "executed", "verified"]
        assert (await states("c1"))[-1].read_back == 0.0
        assert valve.heard == [SHUT], "once"
        await commander.hear(msgspec.json.encode(shut("c1")))
        assert (await states("c1"))[-1].state is CommandState.REFUSED, "an id is good for one execution"


async def test_a_valve_that_does_not_wake_in_time_is_told_nothing(tmp_path, unused_udp_port):
    valve = Valve(unused_udp_port)
    async with waterworks(tmp_path, unused_udp_port) as (commander, states):
        await commander.hear(msgspec.json.encode(shut("c1", life_s=0.3)))
        assert await ended(states, "c1") == ["accepted", "expired"]
        await valve.wake()
        assert valve.heard == []


async def test_a_valve_that_missed_it_is_told_again_and_one_that_jams_fails_the_command(
    tmp_path, unused_udp_port
):
    valve = Valve(unused_udp_port)
    valve.obeys = False
    async with waterworks(tmp_path, unused_udp_port) as (commander, states):
        await commander.hear(msgspec.json.encode(shut("c1")))
        for _ in range(7):
            await valve.wake()
        assert await ended(states, "c1") == ["accepted", "executed", "failed"]
        assert (await states("c1"))[-1].problem == "its report reads back 1 instead of 0"
        assert valve.heard == [SHUT] * 3


async def test_what_waits_for_a_valve_outlives_a_restart_before_and_after_it_was_told(
    tmp_path, unused_udp_port
):
    valve = Valve(unused_udp_port)
    async with waterworks(tmp_path, unused_udp_port) as (commander, states):
        await commander.hear(msgspec.json.encode(shut("c1")))
    async with waterworks(tmp_path, unused_udp_port) as (commander, states):
        await valve.wake()
        await wait_until(lambda: _has(states, "c1", "executed"), 5)
    async with waterworks(tmp_path, unused_udp_port) as (commander, states):
        await valve.wake()
        assert await ended(states, "c1") == ["accepted", "executed", "verified"]
    assert valve.heard == [SHUT]


async def test_a_valve_that_did_not_obey_before_a_restart_is_told_again_after_it(tmp_path, unused_udp_port):
    valve = Valve(unused_udp_port)
    valve.obeys = False
    async with waterworks(tmp_path, unused_udp_port) as (commander, states):
        await commander.hear(msgspec.json.encode(shut("c1")))
        await valve.wake()
        await wait_until(lambda: _has(states, "c1", "executed"), 5)
    valve.obeys = True
    async with waterworks(tmp_path, unused_udp_port) as (commander, states):
        for _ in range(3):  # reports that it is open, is told, reports that it is shut
            await valve.wake()
        assert await ended(states, "c1") == ["accepted", "executed", "verified"]
    assert valve.heard == [SHUT] * 2


async def test_a_newer_order_for_a_valve_takes_the_place_of_the_one_that_waits(tmp_path, unused_udp_port):
    valve = Valve(unused_udp_port)
    async with waterworks(tmp_path, unused_udp_port) as (commander, states):
        first = await commander.take(shut("c1", value=1.0), cause="alarm")
        await asyncio.sleep(0.05)
        await commander.take(shut("c2"), cause="alarm")
        assert (await first).problem == "overtaken by 'c2'"
        await valve.wake()
        await valve.wake()
        assert await ended(states, "c2") == ["accepted", "executed", "verified"]
    assert valve.heard == [SHUT]


async def test_a_valve_rests_between_two_orders_whoever_gives_them(tmp_path, unused_udp_port):
    async with waterworks(tmp_path, unused_udp_port) as (commander, _):
        await commander.take(shut("c1"))
        second = await commander.take(shut("c2", value=1.0))
        assert "valve-01/valve_open acted just now and must rest 60 s" in second.problem


async def test_a_simulated_valve_hears_only_while_it_is_awake(unused_udp_port):
    place = msgspec.structs.replace(
        next(iter(load_district().devices)),
        id="valve-01",
        profile="kingda_nb_water_meter",
        identity="00000805000001",
        parameters={},
    )
    valve = Thing(place, 1, Stage({}))
    valve.refresh(1_764_000_000_000)
    device = Device("valve-01", METER, 0, 10.0, identity="00000805000001")
    serving = asyncio.ensure_future(
        serve_datagrams([valve], "127.0.0.1", unused_udp_port, 0.5, SystemClock())
    )
    said = []
    async with nbiot_udp.Driver(nbiot_udp.Config("127.0.0.1", unused_udp_port), [device]) as driver:
        told = driver.tell(device, bytes.fromhex(SHUT), 10)
        async with asyncio.timeout(10), contextlib.aclosing(driver.listen()) as heard:
            async for item in heard:
                said.append(item.said.values["valve_open"])
                if said[-1] == 0.0:
                    break
        assert told.done()
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)
    assert said[0] == 1.0


async def _has(states, name, state):
    return state in [str(result.state) for result in await states(name)]


def test_each_models_own_period_holds_unless_the_site_says_otherwise(tmp_path):
    bus = (
        '[[buses]]\nid = "nb"\ndriver = "nbiot_udp"\nlink = { port = 5683 }\n'
        '[[buses.devices]]\nid = "a"\nprofile = "milesight_em400_udl_nb"\nidentity = "1"\n'
        '[[buses.devices]]\nid = "b"\nprofile = "dragino_ps_nb"\nidentity = "2"\n'
        '[[buses.devices]]\nid = "c"\nprofile = "dragino_ps_nb"\nidentity = "3"\nperiod_s = 600\n'
    )
    periods = [d.period_s for d in load_config(write_config(tmp_path, 1, bus)).buses[0].devices]
    assert periods == [3600, 7200, 600]
    bus = bus.replace('driver = "nbiot_udp"', 'driver = "nbiot_udp"\nperiod_s = 20')
    (nb,) = load_config(write_config(tmp_path, 1, bus)).buses
    assert (nb.period_s, [d.period_s for d in nb.devices]) == (20, [0, 0, 600])
