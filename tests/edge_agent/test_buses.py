"""A bus tells of every device in every period: fresh values, or that there are none and why."""

import asyncio

import pytest

from device_profiles.loading import load_catalogue
from device_profiles.profile import Decoded
from edge_agent.bus import run_bus
from edge_agent.config import Bus
from edge_agent.driver import Device, LinkDown
from telemetry.errors import Malformed, Refused, Unavailable
from telemetry.quality import Quality
from telemetry.testing import ManualClock

PROFILE = load_catalogue()["sonbest_sm7901b"]


def device(name):
    return Device(name, PROFILE, 1, 0.5)


class Scripted:
    """A driver that plays a script: for each device what its reads give, the last for ever."""

    TRANSPORT = "modbus"

    def __init__(self, script, clock=None):
        self.script, self.clock, self.asked = script, clock, []

    def Driver(self, _config, _devices):  # noqa: N802 - the seam's name
        return self

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        pass

    async def write(self, *_):
        raise Refused("not here")

    async def read(self, asked):
        self.asked.append(asked.id)
        steps = self.script[asked.id]
        step = steps.pop(0) if len(steps) > 1 else steps[0]
        if isinstance(step, Exception):
            if self.clock and isinstance(step, Unavailable) and not isinstance(step, LinkDown):
                await self.clock.sleep(asked.timeout_s)
            raise step
        return Decoded({"sound_level": step})


async def play(script, seconds, period_s=1.0):
    clock, heard = ManualClock(), []
    module = Scripted(script, clock)
    bus = Bus("b", module, None, period_s, tuple(device(name) for name in script))
    task = asyncio.ensure_future(run_bus(bus, heard.append, clock))
    await clock.advance(seconds)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return heard, module


async def test_a_device_is_read_once_a_period_without_drift():
    heard, _ = await play({"a": [50.0]}, 10)
    times = [reading.time for reading in heard]
    assert [b - a for a, b in zip(times, times[1:], strict=False)] == [1000] * 10


@pytest.mark.parametrize(
    ("error", "quality"),
    [
        (Unavailable("no answer"), Quality.NO_ANSWER),
        (Refused("exception 2"), Quality.REFUSED),
        (Malformed("CRC"), Quality.MALFORMED),
        (LinkDown("no port"), Quality.LINK_DOWN),
    ],
)
async def test_trouble_makes_a_reading_without_values_and_never_the_last_again(error, quality):
    heard, _ = await play({"a": [50.0, error]}, 5)
    assert heard[0].values == {"sound_level": 50.0}
    assert all(r.values == {"sound_level": None} and r.quality == {"sound_level": quality} for r in heard[1:])
    assert len(heard) >= 4


async def test_a_dead_device_does_not_take_the_bus_from_the_living():
    heard, module = await play({"dead": [Unavailable("x")], "well": [50.0]}, 60)
    well = [reading.time for reading in heard if reading.device == "well"]
    assert max(b - a for a, b in zip(well, well[1:], strict=False)) <= 1500
    dead = [reading for reading in heard if reading.device == "dead"]
    assert len(dead) >= 55, "it is told of in every period"
    assert module.asked.count("dead") < 12, "but asked less and less"


async def test_a_device_that_comes_back_is_believed_at_once():
    heard, _ = await play({"a": [Unavailable("x")] * 3 + [50.0]}, 10)
    assert heard[-1].values == {"sound_level": 50.0}


async def test_a_lost_line_is_told_for_every_device_on_it():
    heard, module = await play({"a": [LinkDown("gone")], "b": [50.0]}, 3)
    assert {(r.device, r.quality["sound_level"]) for r in heard} == {
        ("a", Quality.LINK_DOWN),
        ("b", Quality.LINK_DOWN),
    }
    assert "b" not in module.asked


async def test_what_was_missed_is_not_made_up_for():
    heard, _ = await play({"slow": [Unavailable("x"), Unavailable("x"), 50.0]}, 6, period_s=0.2)
    times = [reading.time for reading in heard]
    well = [r.time for r in heard if r.values["sound_level"] is not None]
    assert {b - a for a, b in zip(well, well[1:], strict=False)} == {200}
    assert len(times) <= 6 / 0.2
