"""What a command comes to: which writes or which datagram, which read-back, which interlock, and who may ask for it."""

from __future__ import annotations

import fnmatch
import re
from typing import TYPE_CHECKING

import msgspec

from device_profiles.downlinks import downlink_of
from device_profiles.profile import Interlock
from device_profiles.registers import Block, Write, command_of, decode, text_of, write_of
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
_ROUNDING = 1e-6
_BLANKS = {"number": r"-?[0-9]{1,6}(?:\.[0-9]{1,2})?", "time": r"[0-2]?[0-9]:[0-5][0-9]", "word": r"\w{1,12}"}
_BLANK = re.compile(r"\{([^{}]*)\}")


class Allowed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``[[commands.allow]]``: patterns; a command that none of them fits is refused."""

    by: str = "*"
    device: str = "*"
    metrics: tuple[str, ...] = ("*",)  # or names of the profile's commands


class Texts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``[[commands.texts]]``: what may be shown, by whomever; ``{number}``, ``{time}`` and ``{word}`` are blanks."""

    templates: tuple[str, ...]
    device: str = "*"

    def __post_init__(self) -> None:
        for template in self.templates:
            pattern_of(template)


class CommandsConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``[commands]``: nothing is allowed from outside unless it says so."""

    allow: tuple[Allowed, ...] = ()
    key: Secret | None = None  # commands must carry a proof made with it
    texts: tuple[Texts, ...] = ()

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

    def check_text(self, command: Command) -> None:
        """Raise :class:`Refused` for a text that is none of those agreed upon, whoever wants to show it."""
        if command.text is None:
            return
        mine = [rule for rule in self.texts if fnmatch.fnmatchcase(command.device, rule.device)]
        known = [template for rule in mine for template in rule.templates]
        if not any(pattern_of(template).fullmatch(command.text) for template in known):
            listed = ", ".join(f"'{template}'" for template in known)
            raise Refused(
                f"'{command.text}' is none of the texts that '{command.device}' may show:"
                f" {listed or 'there are none'}; see [[commands.texts]]"
            )


def pattern_of(template: str) -> re.Pattern[str]:
    """Return what texts a template allows; raise ValueError for a blank that there is not.

    >>> bool(pattern_of("限速 {number} km/h").fullmatch("限速 40 km/h"))
    True
    """
    parts = _BLANK.split(template)
    for name in parts[1::2]:
        if name not in _BLANKS:
            raise ValueError(f"'{template}': no blank '{{{name}}}'; there are {sorted(_BLANKS)}")
    return re.compile("".join(_BLANKS[part] if n % 2 else re.escape(part) for n, part in enumerate(parts)))


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """A command made out for one device: ``writes`` for one on a bus, a ``downlink`` for one that sleeps."""

    device: Device
    actuator: str
    interlock: Interlock
    writes: tuple[Write, ...] = ()
    downlink: bytes = b""
    back: Block | None = None  # what to read afterwards; None where nothing tells
    point: Point | None = None
    wanted: float | str | None = None  # what must read back
    tolerance: float = 0.0

    def said_in(self, words: Sequence[int]) -> float | str | None:
        """Return the value or text in what was read back; raise :class:`~telemetry.errors.Malformed`."""
        if self.back is None or self.point is None:
            return None
        image = {(self.back.space, self.back.address + n): word for n, word in enumerate(words)}
        said = decode(self.device.profile, image)
        return (
            said.attributes.get(self.point.attribute)
            if self.point.attribute
            else said.values.get(self.point.metric)
        )

    def problem(self, said: float | str | None) -> str:
        """Return what is wrong with what was read back; nothing where it is as it should be."""
        if isinstance(said, str) and said == self.wanted:
            return ""
        numbers = isinstance(said, float | int) and isinstance(self.wanted, float | int)
        if numbers and abs(said - self.wanted) <= self.tolerance + _ROUNDING:  # type: ignore[operator]
            return ""
        return f"reads back {_spelt(said)} instead of {_spelt(self.wanted)}"


def order_for(command: Command, device: Device) -> Order:
    """Make a command out; raise :class:`Refused` where the profile does not allow it."""
    if bool(command.metric) == bool(command.command):
        raise Refused("a command names either a metric or one of the profile's commands")
    if device.profile.frame is not None:
        return _told(command, device)
    profile = device.profile
    if command.command:
        writes = command_of(profile, command.command)
        spare = profile.commands[command.command].interlock
        return Order(device=device, actuator=f"{device.id}/{command.command}", interlock=spare, writes=writes)
    if command.text is not None:
        write, wanted = text_of(profile, command.metric, command.text), command.text.strip()
        return _set(command, device, write, wanted)
    return _set(command, device, write_of(profile, command.metric, _value(command)), None)


def _set(command: Command, device: Device, write: Write, text: str | None) -> Order:
    point = _written(device.profile, command.metric)
    assert point.write is not None
    start, end = items_of([point], device.profile.limits)[0]
    return Order(
        device=device, actuator=f"{device.id}/{command.metric}", interlock=point.write.interlock, writes=(write,),
        back=Block(point.space, start, end - start), point=point, wanted=_wanted(command) if text is None else text,
        tolerance=command.tolerance,
    )  # fmt: skip


def _told(command: Command, device: Device) -> Order:
    if command.text is not None:
        raise Refused(f"'{device.id}' shows no text")
    name = command.metric or command.command
    data = downlink_of(device.profile, name, None if command.command else _value(command), device.identity)
    assert device.profile.frame is not None
    return Order(
        device=device, actuator=f"{device.id}/{name}", interlock=device.profile.frame.downlinks[name].interlock,
        downlink=data, wanted=_wanted(command) if command.metric else None, tolerance=command.tolerance,
    )  # fmt: skip


def _value(command: Command) -> float:
    if command.value is None:
        raise Refused(f"'{command.metric}' is to be set, but to what value?")
    return command.value


def _wanted(command: Command) -> float | None:
    return command.value if command.expect is None else command.expect


def _written(profile: Profile, name: str) -> Point:
    return next(p for p in profile.points if name in (p.metric, p.attribute) and p.write is not None)


def _spelt(said: float | str | None) -> str:
    if said is None:
        return "nothing"
    return f"'{said}'" if isinstance(said, str) else f"{said:g}"
