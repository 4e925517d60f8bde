"""The city at work: each device's registers or frames follow the world, and what was served is remembered."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import msgspec

from device_profiles import frames, registers
from device_profiles.downlinks import read_downlink
from device_profiles.loading import load_catalogue
from device_profiles.profile import Decoded, Profile, Space
from device_profiles.vocabulary import Kind, load_classes
from simulators import world
from telemetry.errors import Malformed

if TYPE_CHECKING:
    from simulators.district import Device, District
    from simulators.scenarios import Stage

_REMEMBERED = 3000  # distinct states of a device, some ten minutes


class Served(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a device answered with from ``time`` (UTC ms) on, after its own rounding; ``texts`` are those it shows."""

    time: int
    values: dict[str, float | None]
    texts: dict[str, str] = {}


class Thing:
    """One simulated device."""

    def __init__(self, device: Device, seed: int, stage: Stage) -> None:
        catalogue = load_catalogue()[device.profile]
        self.id, self.identity = device.id, device.identity
        self.profile: Profile = catalogue.bind(device.parameters)
        self.unit = device.unit if device.unit is not None else (catalogue.unit_id or 0)
        self.image: registers.Image = {}
        self.readable = frozenset(
            (block.space, address)
            for block in (registers.blocks(self.profile) if self.profile.points else ())
            for address in range(block.address, block.address + block.count)
        )
        """What a request may span: the used registers and the small holes between them, which read 0."""
        self.attributes: dict[str, str] = {}
        """Texts that it says instead of the profile's constants."""
        self.frame = b""
        self._orders = {step.address for command in self.profile.commands.values() for step in command.steps}
        if self.profile.heartbeat is not None:
            self._orders.add(self.profile.heartbeat.address)
        self.history: deque[Served] = deque(maxlen=_REMEMBERED)
        self.alert: tuple[float | None, ...] = ()
        """The values of its states: a device that sleeps wakes when they change."""
        self._seed, self._stage = seed, stage
        self._set_points: dict[str, float] = {}
        kinds = load_classes()[self.profile.device_class].metrics
        self._states = [name for name in self.profile.metrics if kinds[name].kind is Kind.STATE]

    def refresh(self, now_ms: int) -> None:
        """Let the device feel the world at ``now_ms``."""
        values: dict[str, float | None] = {}
        for metric in self.profile.metrics:
            base = world.value(self._seed, self.id, self.profile.device_class, metric, now_ms)
            base = self._set_points.get(metric, base)
            values[metric] = None if base is None else self._stage.overlay(self.id, metric, base, now_ms)
        self.alert = tuple(values[name] for name in self._states)
        if self.profile.transport == "modbus":
            image = registers.encode(self.profile, values, self.attributes)
            if image != self.image:
                self.image = image
                self._remember(registers.decode(self.profile, image), now_ms)
            return
        self.frame = frames.encode_frame(self.profile, values, time_ms=now_ms, identity=self.identity)
        if not self.history:
            self.sent(now_ms)

    def sent(self, now_ms: int) -> None:
        """Remember the present frame as what the device said."""
        self._remember(frames.decode_frame(self.profile, self.frame)[-1], now_ms)

    def state(self, now_ms: int) -> str:
        """Return ``offline``, ``refuse`` or nothing."""
        return self._stage.state(self.id, now_ms)

    def write(self, space: Space, address: int, words: list[int], now_ms: int) -> bool:
        """Take a write from the bus as a set-point; return whether the device has such a register."""
        if space is Space.HOLDING and address in self._orders:
            return True  # an order is taken; what it does to the world is the scenario's business
        image = dict(self.image)
        written = {(space, address + place): word for place, word in enumerate(words)}
        points = [point for point in self.profile.points if point.write is not None]
        hit = False
        for point in points:
            rule = point.write
            if rule is None:
                continue
            start = point.address if rule.address is None else rule.address
            target = Space.COIL if rule.function_code in (5, 15) else Space.HOLDING
            if all((target, start + place) in written for place in range(point.count)):
                hit = True
                for place, home in enumerate(point.addresses):
                    image[point.space, home] = written[target, start + place]
        if not hit:
            return False
        try:
            said = registers.decode(self.profile, image)
        except Malformed:
            return False
        for point in points:
            number = said.values.get(point.metric)
            if number is not None:
                self._set_points[point.metric] = number
            if point.attribute and point.attribute in said.attributes:
                self.attributes[point.attribute] = said.attributes[point.attribute]
        self.refresh(now_ms)
        return True

    def told(self, data: bytes, now_ms: int) -> bool:
        """Take a datagram that came while it was awake; return whether it understood it."""
        try:
            name, value = read_downlink(self.profile, data)
        except Malformed:
            return False
        if value is not None:
            self._set_points[name] = value
        self.refresh(now_ms)
        return True

    def _remember(self, said: Decoded, now_ms: int) -> None:
        shown = {
            point.attribute for point in self.profile.points if point.attribute and point.write is not None
        }
        texts = {name: text for name, text in said.attributes.items() if name in shown}
        self.history.append(Served(now_ms, said.values, texts))
        self._stage.served(self.id, said.values, now_ms)


class City:
    """All devices of a district."""

    def __init__(self, district: District, seed: int, stage: Stage) -> None:
        self.seed, self.stage = seed, stage
        self.things = {device.id: Thing(device, seed, stage) for device in district.devices}

    def refresh(self, now_ms: int) -> None:
        """Let every device feel the world."""
        for thing in self.things.values():
            thing.refresh(now_ms)
