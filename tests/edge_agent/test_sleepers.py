"""NB-IoT devices that sleep: answered when they wake, told what waited, missed only after their own periods."""

import asyncio
import contextlib
import socket

import msgspec
import pytest
from agents import write_config

from device_profiles.loading import load_catalogue
from edge_agent.bus import run_bus
from edge_agent.config import Bus, load_config
from edge_agent.driver import Device
from edge_agent.drivers import nbiot_udp
from telemetry.errors import Refused, Unavailable
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
        waiting = [driver.tell(cover, b"%d" % n, 60) for n in range(15)]
        with pytest.raises(Refused, match="16 messages wait"):
            await driver.tell(cover, b"one too many", 60)
        async with woken(driver, unused_udp_port) as wake:
            assert await wake() == [b"%d" % n for n in range(15)]
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
