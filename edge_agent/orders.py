"""What a command comes to on the line: which writes, which read-back, which interlock, and who may ask for it."""

from __future__ import annotations

import fnmatch
from typing import TYPE_CHECKING

import msgspec

from device_profiles.profile import Interlock
from device_profiles.registers import Block, Write, command_of, decode, write_of
from edge_agent.planner import items_of
from telemetry.commands import Command, is_proven
from telemetry.config import Secret
from telemetry.errors import Refused

if TYPE_CHECKING:
    from collections.abc import Sequence

    from device_profiles.profile import Point, Profile
    from edge_agent.driver import Device

LONGEST_LIFE_MS = 24 * 3_600_000
"""An id is remembered until it has expired, so nothing may live for longer."""


class Allowed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``[[commands.allow]]``: patterns; a command that none of them fits is refused."""

    by: str = "*"
    device: str = "*"
    metrics: tuple[str, ...] = ("*",)  # or names of the profile's commands


class CommandsConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``[commands]``: nothing is allowed from outside unless it says so."""

    allow: tuple[Allowed, ...] = ()
    key: Secret | None = None  # commands must carry a proof made with it

    def check(self, command: Command) -> None:
        """Raise :class:`Refused` for a command that nobody may give."""
        if self.key is not None and not is_proven(command, self.key.reveal()):
            raise Refused("not proven: its mac does not fit the agent's key")
        what = command.metric or command.command
        for rule in self.allow:
            if (
                fnmatch.fnmatchcase(command.by, rule.by)
                and fnmatch.fnmatchcase(command.device, rule.device)
                and any(fnmatch.fnmatchcase(what, pattern) for pattern in rule.metrics)
            ):
                return
        raise Refused(f"'{command.by}' may not set '{what}' of '{command.device}'; see [[commands.allow]]")


class Order(msgspec.Struct, frozen=True):
    """A command made out for one device."""

    device: Device
    actuator: str
    writes: tuple[Write, ...]
    interlock: Interlock
    back: Block | None  # what to read afterwards; None where nothing tells
    point: Point | None

    def value_in(self, words: Sequence[int]) -> float | None:
        """Return the metric's value in what was read back; raise :class:`~telemetry.errors.Malformed`."""
        if self.back is None or self.point is None:
            return None
        image = {(self.back.space, self.back.address + n): word for n, word in enumerate(words)}
        return decode(self.device.profile, image).values.get(self.point.metric)


def order_for(command: Command, device: Device) -> Order:
    """Make a command out; raise :class:`Refused` where the profile does not allow it."""
    profile = device.profile
    if bool(command.metric) == bool(command.command):
        raise Refused("a command names either a metric or one of the profile's commands")
    if command.command:
        writes = command_of(profile, command.command)
        return Order(
            device,
            f"{device.id}/{command.command}",
            writes,
            profile.commands[command.command].interlock,
            None,
            None,
        )
    if command.value is None:
        raise Refused(f"'{command.metric}' is to be set, but to what value?")
    write = write_of(profile, command.metric, command.value)
    point = _written(profile, command.metric)
    assert point.write is not None
    start, end = items_of([point], profile.limits)[0]
    back = Block(point.space, start, end - start)
    return Order(device, f"{device.id}/{command.metric}", (write,), point.write.interlock, back, point)


def _written(profile: Profile, metric: str) -> Point:
    return next(p for p in profile.points if p.metric == metric and p.write is not None)
