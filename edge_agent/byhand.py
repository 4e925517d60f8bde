"""One value read or written by hand, beside the polls of a running agent or without one."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import msgspec

from device_profiles.registers import Image, decode
from device_profiles.vocabulary import load_classes
from edge_agent.identity import Identities
from edge_agent.planner import Reach, blocks_for, with_helpers
from telemetry.commands import Command
from telemetry.errors import Refused, did_you_mean
from telemetry.quality import Quality
from telemetry.readings import DeviceId, MetricName

if TYPE_CHECKING:
    from edge_agent.driver import Device, Polled


LOCAL = "local"
_SPELT = "text:"


class Sample(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one metric is now, in the unit of its class; or the problem."""

    device: str
    metric: str
    value: float | None = None
    text: str | None = None
    quality: str = ""
    unit: str = ""
    problem: str = ""


def spell(wanted: float | str) -> str:
    """Return what is to be set as one word of a line; :func:`by_hand` reads it.

    >>> spell(60.0), spell("积水 慢行")
    ('60', 'text:e7a7afe6b0b420e685a2e8a18c')
    """
    return f"{_SPELT}{wanted.encode().hex()}" if isinstance(wanted, str) else f"{wanted:.17g}"


def by_hand(device: str, metric: str, wanted: str, not_after: int) -> Command:
    """Return the command of a technician's hand; raise ValueError for what is neither number nor text."""
    text = bytes.fromhex(wanted.removeprefix(_SPELT)).decode() if wanted.startswith(_SPELT) else None
    return Command(
        f"hand-{secrets.token_hex(6)}", DeviceId(device), not_after, MetricName(metric),
        None if text is not None else float(wanted), by=LOCAL, text=text,
    )  # fmt: skip


async def read_once(driver: Polled, device: Device, metric: str) -> Sample:
    """Read one metric; the line is the caller's.  Raises as the driver does, :class:`Refused` for no such metric."""
    profile = device.profile
    point = next((p for p in profile.points if metric in (p.metric, p.attribute)), None)
    if point is None:
        known = [p.metric or p.attribute for p in profile.points if p.metric or p.attribute]
        raise Refused(f"'{device.id}' ({profile.id}) has no '{metric}'; {did_you_mean(metric, known)}")
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
    unit = load_classes()[profile.device_class].metrics[metric].unit if point.metric else ""
    return Sample(device.id, metric, said.values.get(metric), said.attributes.get(metric), quality.name, unit)
