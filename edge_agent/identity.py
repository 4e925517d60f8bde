"""Whether the device at an address is the one that the configuration means.

A port that moved after a reboot, or two swapped units, would give one device's values under another's name.  Where
the profile has a ``serial_number`` and the configuration an ``identity``, nothing is believed before the one was found
to be the other: at the start, when the line was opened anew, and when the device comes back from silence.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from device_profiles.registers import Block, decode
from edge_agent.planner import items_of
from telemetry.errors import Malformed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from device_profiles.profile import Point, Profile
    from edge_agent.driver import Device

ATTRIBUTE = "serial_number"


def serial_point(profile: Profile) -> Point | None:
    """Return the point that holds the serial number, if the profile has one."""
    return next((point for point in profile.points if point.attribute == ATTRIBUTE), None)


class Identities:
    """Which devices of a bus have proven who they are, on which opening of the line."""

    def __init__(self) -> None:
        self._proven: dict[str, int] = {}

    def question(self, device: Device, opened: int) -> Block | None:
        """Return what must be read before the device is believed; None when nothing must."""
        if not device.identity or self._proven.get(device.id) == opened:
            return None
        point = serial_point(device.profile)
        if point is None:
            return None
        start, end = items_of([point], device.profile.limits)[0]
        return Block(point.space, start, end - start)

    def answer(self, device: Device, opened: int, block: Block, words: Sequence[int]) -> str:
        """Judge what the device holds there; return the problem, or nothing when it is the right one."""
        image = {(block.space, block.address + place): word for place, word in enumerate(words)}
        try:
            problem = self.problem(device, decode(device.profile, image).attributes)
        except Malformed as error:
            problem = str(error)
        if not problem:
            self._proven[device.id] = opened
        return problem

    def problem(self, device: Device, attributes: Mapping[str, str]) -> str:
        """Return what is wrong with a device that says ``attributes``; it has to prove itself again then."""
        said = attributes.get(ATTRIBUTE)
        if not device.identity or said is None or said.strip() == device.identity.strip():
            return ""
        self.forget(device.id)
        return (
            f"wrong device: its serial number is {said!r}, the configuration says {device.identity!r};"
            " nothing it says is taken"
        )

    def forget(self, device: str) -> None:
        """Ask again before the device is believed."""
        self._proven.pop(device, None)
