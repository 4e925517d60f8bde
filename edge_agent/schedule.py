"""A bus's plan: what is asked of whom, when, and how full that makes the line.

A plan that does not fit is a mistake in a file: it is refused before anything runs, with the numbers and
with what would fit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from edge_agent.checks import USUAL_BAUDS
from edge_agent.planner import Group, Reach, Wanted, Wire, groups_for
from telemetry.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from device_profiles.profile import Profile
    from edge_agent.driver import Device

MOST_USED = 0.92
"""The share of a line that may be planned: the rest is for commands, probes and a device that is slow to answer."""


class Poll(msgspec.Struct, frozen=True):
    """One group of one device; ``start_s`` staggers its first turn."""

    device: Device
    group: Group
    start_s: float = 0.0


class Plan(msgspec.Struct, frozen=True):
    """All polls of a bus."""

    wire: Wire
    polls: tuple[Poll, ...]

    @property
    def used(self) -> float:
        """Share of the time that the line is busy with polls."""
        return sum(poll.group.seconds / poll.group.period_s for poll in self.polls)

    @property
    def requests_per_s(self) -> float:
        """Requests a second, on average."""
        return sum(len(poll.group.blocks) / poll.group.period_s for poll in self.polls)

    @property
    def bytes_per_s(self) -> float:
        """Bytes a second in both directions, on average."""
        return sum(
            sum(map(self.wire.bytes_of, poll.group.blocks)) / poll.group.period_s for poll in self.polls
        )


def nothing_learned(profile: Profile) -> Reach:
    """Return the reach of a model that has taught nothing yet."""
    return Reach(profile.limits)


def plan_bus(
    devices: Sequence[Device],
    period_s: float,
    wire: Wire,
    reach_of: Callable[[Profile], Reach] = nothing_learned,
) -> Plan:
    """Return the plan of least wire time; ``period_s`` is for devices that say nothing else."""
    polls = []
    for device in devices:
        wanted = Wanted(device.period_s or period_s, device.periods_s)
        polls += [
            Poll(device, group)
            for group in groups_for(device.profile, wanted, reach_of(device.profile), wire)
        ]
    return Plan(wire, staggered(polls))


def staggered(polls: Sequence[Poll]) -> tuple[Poll, ...]:
    """Spread first turns over the shortest period, each poll behind the wire time of those before it."""
    whole = sum(poll.group.seconds for poll in polls)
    shortest = min((poll.group.period_s for poll in polls), default=0.0)
    begun, placed = 0.0, list[Poll]()
    for poll in polls:
        placed.append(msgspec.structs.replace(poll, start_s=shortest * begun / whole if whole else 0.0))
        begun += poll.group.seconds
    return tuple(placed)


class Line(msgspec.Struct, frozen=True):
    """A serial line as configured, to say what another one would carry."""

    baud: int
    format: str

    @property
    def wire(self) -> Wire:
        """What it costs."""
        return Wire.serial(self.baud, self.format)


def wire_of(link: object, transport: str) -> Wire | None:
    """Return what a bus's line costs; None for a bus that is not polled."""
    if transport != "modbus":
        return None
    wire = getattr(link, "wire", None)
    return wire if isinstance(wire, Wire) else Wire.tcp()


def check_fit(file: Path, at: str, devices: Sequence[Device], period_s: float, line: Line) -> None:
    """Raise :class:`ConfigError` where the devices cannot be read as often as is wanted."""
    plan = plan_bus(devices, period_s, line.wire)
    if plan.used <= MOST_USED:
        return
    busy = 1000 * plan.used
    raise ConfigError(
        file, at,
        f"{len(devices)} devices at {line.baud} baud need {busy:.0f} ms of the line in every second,"
        f" {100 * plan.used:.0f} %; at most {100 * MOST_USED:.0f} % can be planned",
        hint="it fits with " + ", or ".join(_ways_out(devices, period_s, line)),
    )  # fmt: skip


def _ways_out(devices: Sequence[Device], period_s: float, line: Line) -> list[str]:
    ways = []
    if (slower := _period_that_fits(devices, period_s, line)) is not None:
        ways.append(f"period_s = {slower:g}{_who_else(devices, slower)}")
    faster = (b for b in USUAL_BAUDS if b > line.baud)
    for baud in faster:
        if plan_bus(devices, period_s, Line(baud, line.format).wire).used <= MOST_USED:
            ways.append(f"baud = {baud}")
            break
    few, used = 0, 0.0
    for share in sorted(plan_bus([device], period_s, line.wire).used for device in devices):
        used += share
        few += used <= MOST_USED
    if few:
        ways.append(f"at most {few} of these {len(devices)} devices")
    return ways or ["a bus of its own for each device"]


def _who_else(devices: Sequence[Device], slower: float) -> str:
    """Name the devices with a shorter period of their own, which would have to go as well."""
    own = [f"'{device.id}'" for device in devices if 0 < device.period_s < slower]
    more = f" and {len(own) - 3} more" if len(own) > 3 else ""
    return f" (of the bus, and of {', '.join(own[:3])}{more})" if own else ""


def _period_that_fits(devices: Sequence[Device], period_s: float, line: Line) -> float | None:
    """Return the shortest period, of those a person would write, that fits; other periods stay as they are."""
    for step in (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10, 12, 15, 20, 30, 60, 120, 300):
        wanted = round(max(period_s * step, 0.05), 3)
        slower = [
            msgspec.structs.replace(d, period_s=max(wanted, d.period_s) if d.period_s else 0.0)
            for d in devices
        ]
        if plan_bus(slower, wanted, line.wire).used <= MOST_USED:
            return wanted
    return None
