"""One value read or written by hand, beside the polls of a running agent or without one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from device_profiles.registers import Image, decode
from edge_agent.identity import Identities
from edge_agent.planner import Reach, blocks_for, with_helpers
from telemetry.errors import Refused, did_you_mean
from telemetry.quality import Quality

if TYPE_CHECKING:
    from edge_agent.driver import Device, Polled


class Sample(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one metric is now, in the unit of its class; or the problem."""

    device: str
    metric: str
    value: float | None = None
    quality: str = ""
    problem: str = ""


async def read_once(driver: Polled, device: Device, metric: str) -> Sample:
    """Read one metric; the line is the caller's.  Raises as the driver does, :class:`Refused` for no such metric."""
    profile = device.profile
    point = next((p for p in profile.points if p.metric == metric), None)
    if point is None:
        raise Refused(
            f"'{device.id}' ({profile.id}) has no '{metric}'; {did_you_mean(metric, profile.metrics)}"
        )
    identities = Identities()
    if (question := identities.question(device, driver.opened)) is not None:
        words = await driver.read(device, question)
        if problem := identities.answer(device, driver.opened, question, words):
            raise Refused(problem)
    points, image = with_helpers(profile, [point]), Image()
    for block in blocks_for(points, points, Reach(profile.limits), driver.wire, profile.timing.turnaround_s):
        words = await driver.read(device, block)
        image |= {(block.space, block.address + place): word for place, word in enumerate(words)}
    said = decode(profile, image)
    quality = said.quality.get(metric, Quality.GOOD)
    return Sample(device.id, metric, said.values.get(metric), quality.name)
