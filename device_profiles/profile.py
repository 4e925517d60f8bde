"""The schema of a device profile: how one vendor's model puts canonical metrics into bytes.

A profile is data.  :mod:`device_profiles.loading` reads and checks it, :mod:`device_profiles.registers` and
:mod:`device_profiles.frames` carry it out, in both directions, so that whatever can be read can also
be simulated.  ``docs/devices.md`` explains every key by example.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Literal, Self

import msgspec

from telemetry.quality import Quality

WireType = Literal[
    "u8", "i8", "u16", "i16", "u32", "i32", "u64", "i64", "f32", "f64",
    "u8hi", "u8lo", "sm16", "bcd16", "bcd32", "bit", "ascii", "gbk", "utf16", "bcd",
]  # fmt: skip
"""``u8hi``/``u8lo``: half a register; ``sm16``: sign and magnitude; ``bcd…``: packed decimal digits;
``bit``: a coil or discrete input; ``ascii``, ``gbk``, ``utf16``: text of ``length`` bytes; ``bcd``: digits as text."""

TEXTS = ("ascii", "gbk", "utf16", "bcd")
"""The types whose values are texts; each has a ``length``."""

SIZES: dict[str, int] = {
    "u8": 1, "i8": 1, "u16": 2, "i16": 2, "u32": 4, "i32": 4, "u64": 8, "i64": 8, "f32": 4, "f64": 8,
    "u8hi": 2, "u8lo": 2, "sm16": 2, "bcd16": 2, "bcd32": 4, "bit": 1,
}  # fmt: skip

Order = Literal["big", "little"]


class Space(StrEnum):
    """The four address spaces of Modbus (MODBUS Application Protocol V1.1b3, §4.3)."""

    COIL = "coil"
    DISCRETE = "discrete"
    INPUT = "input"
    HOLDING = "holding"

    @property
    def is_bits(self) -> bool:
        """Whether an address of this space holds one bit, not sixteen."""
        return self in (Space.COIL, Space.DISCRETE)


class Sentinel(StrEnum):
    """What a raw value means that is not a measurement."""

    FAULT = "fault"
    ABSENT = "absent"  # the probe or channel is not fitted
    WARMING_UP = "warming_up"
    UNDER_RANGE = "under_range"
    OVER_RANGE = "over_range"

    @property
    def quality(self) -> Quality:
        """The quality of the sample that this raw value makes."""
        return Quality.WARMING_UP if self is Sentinel.WARMING_UP else Quality.DEVICE_FAULT


class UnitFrom(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The unit is held in another point, as a code."""

    point: str
    units: dict[int, str]


class ValidIf(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Another point says whether this one holds: its raw value must be one of ``codes``."""

    point: str
    codes: tuple[int, ...]


class Value(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How raw bytes become a number: ``number = raw * scale + offset``, then into the class's unit.

    Exactly one of ``metric``, ``attribute`` and ``name`` says what the number is: a canonical metric, a
    text of the device, or a helper that other values refer to.
    """

    metric: str = ""
    attribute: str = ""
    name: str = ""
    type: WireType = "u16"
    length: int = 0
    scale: float = 1.0
    offset: float = 0.0
    unit: str | None = None  # of the number, where it is not the class's
    word_order: Order | None = None
    byte_order: Order | None = None
    bits: tuple[int, int] | None = None  # first and last bit of a slice, 0 the least significant
    codes: dict[int, float] = {}  # raw → canonical; a raw value not listed is a device fault
    invalid: dict[int, Sentinel] = {}
    decimals_from: str = ""  # a helper n: number = raw * 10 ** -n
    unit_from: UnitFrom | None = None
    valid_if: ValidIf | None = None
    constant: float | str | None = None  # what the simulator serves for a helper or attribute
    note: str = ""

    @property
    def what(self) -> str:
        """The metric's, attribute's or helper's name."""
        return self.metric or self.attribute or self.name

    @property
    def size(self) -> int:
        """Bytes on the wire."""
        return self.length or SIZES[self.type]


class Interlock(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What an actuator must be spared, whoever asks: a relay's contacts, a lamp's driver, a valve's gear."""

    dwell_s: float = 0.0  # the least between two actions
    most_per_hour: int = 0  # actions; 0 for no bound


class WriteRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a writable metric is written."""

    function_code: Literal[5, 6, 15, 16]
    address: int | None = None  # where it differs from the feedback's
    minimum: float | None = None
    maximum: float | None = None
    safety: str = ""
    allowed: tuple[float, ...] = ()  # nothing but these, in the class's unit
    most_characters: int = 0  # of a text, beside what its bytes hold; 0 for no bound of its own
    interlock: Interlock = Interlock()


class CommandStep(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One write of a command: raw ``value`` to ``address``, at most ``within_s`` seconds after the step before."""

    function_code: Literal[5, 6, 15, 16]
    address: int
    value: int
    stride: dict[str, int] = {}
    within_s: float | None = None


class Command(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An action that is no set-point: a reset, an unlock key, select-before-operate.  Never retried by itself."""

    steps: tuple[CommandStep, ...]
    safety: str
    interlock: Interlock = Interlock()


class Heartbeat(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A write that the device wants every ``every_s`` seconds; without it, it falls back to its own settings."""

    function_code: Literal[6, 16]
    address: int
    value: int
    every_s: float


class Point(Value, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A value in a Modbus address space.

    ``address`` is zero-based, as sent on the wire; ``stride`` adds ``parameter * step`` to it.
    """

    space: Space = Space.HOLDING
    address: int
    stride: dict[str, int] = {}
    write: WriteRule | None = None
    period_s: float | None = None  # no need to read it more often; texts: 600

    @property
    def count(self) -> int:
        """Registers, or bits, that it spans."""
        return 1 if self.space.is_bits else (self.size + 1) // 2

    @property
    def addresses(self) -> range:
        """The wire addresses that it spans."""
        return range(self.address, self.address + self.count)


class FrameField(Value, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A value in a frame, at byte ``at`` (negative: from the end), or behind the TLV ``tag`` (hex)."""

    at: int | None = None
    tag: str = ""
    only_if: dict[int, str] = {}  # byte → hex that must stand there; otherwise the frame does not hold it


class Checksum(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The last bytes of a frame."""

    kind: Literal["sum16", "sum8", "xor8", "crc16_modbus"]
    order: Order = "big"
    first: int = 0  # byte from which on it is taken

    @property
    def size(self) -> int:
        """Bytes it takes."""
        return 1 if self.kind in ("sum8", "xor8") else 2


class Length(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How long a frame is: ``fixed``, or the number at byte ``at`` plus ``plus``; at most ``most``."""

    fixed: int = 0
    at: int = 0
    type: Literal["u8", "u16"] = "u16"
    order: Order = "big"
    plus: int = 0
    most: int = 1024


class Downlink(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A datagram that a device which sleeps understands when it wakes; it sets ``value.metric``, or is a command.

    ``hex`` holds everything up to the checksum; value and identity are put into it.
    """

    hex: str
    safety: str
    value: FrameField | None = None  # without it: a command, which nothing reads back
    identity: FrameField | None = None
    checksum: Checksum | None = None
    end: str = ""  # hex, behind the checksum
    minimum: float | None = None
    maximum: float | None = None
    allowed: tuple[float, ...] = ()
    interlock: Interlock = Interlock()


class Frame(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The layout of a frame that is no standard of its own."""

    start: str  # hex
    length: Length
    fields: tuple[FrameField, ...]
    checksum: Checksum | None = None
    identity: FrameField | None = None  # the text by which the device is known
    time: FrameField | None = None  # UTC seconds of the measurement
    tlv_at: int | None = None  # where tag-value pairs begin; a tag is two bytes
    tlv_count: Length | None = None  # the field that tells their length
    constants: dict[int, str] = {}  # byte → hex that the simulator puts there
    end: str = ""  # hex, behind the checksum
    answer: str = ""  # hex: the datagram it listens for after each of its own
    downlinks: dict[str, Downlink] = {}  # the metric that one sets, or the command's name


class Parameter(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A number that the site configures and addresses are computed from."""

    low: int
    high: int
    default: int | None = None


class Timing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the device needs, in seconds."""

    period_s: float = 5.0  # sensible poll period, or its own reporting period
    timeout_s: float = 1.0
    gap_s: float = 0.0  # between two requests
    warmup_s: float = 0.0  # after power-up, until values can be trusted
    turnaround_s: float = 0.005  # from the end of a request to the first byte of its answer


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one request may span."""

    max_registers: int = 125  # MODBUS Application Protocol V1.1b3 §6.3
    max_bits: int = 2000
    max_hole: int = 8  # unused registers worth reading across
    forbidden: tuple[tuple[int, int], ...] = ()  # closed address ranges that may not be read
    exact: tuple[tuple[int, int], ...] = ()  # (address, count): the only requests it answers


class Serial(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Factory settings of the serial line."""

    baud: int
    format: str = "8N1"


class Example(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Raw bytes and the readings they must give, or the error."""

    hex: str
    source: str
    space: Space = Space.HOLDING
    address: int = 0
    parameters: dict[str, int] = {}
    values: dict[str, float | None] = {}
    attributes: dict[str, str] = {}
    identity: str = ""
    error: str = ""  # a part of the message


class ProfileFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A profile as it is written: ``catalogue/<class>/<vendor_model>.yaml``."""

    vendor: str
    model: str
    transport: Literal["modbus", "serial_frame", "nbiot_udp"]
    source: tuple[str, ...]
    confidence: Literal["high", "medium"]
    unit_id: int | None = None
    serial: Serial | None = None
    tcp_port: int | None = None
    word_order: Order = "big"
    byte_order: Order = "big"
    parameters: dict[str, Parameter] = {}
    timing: Timing = Timing()
    limits: Limits = Limits()
    points: tuple[Point, ...] = ()
    frame: Frame | None = None
    commands: dict[str, Command] = {}
    heartbeat: Heartbeat | None = None
    examples: tuple[Example, ...] = ()
    quirks: tuple[str, ...] = ()


class Profile(ProfileFile, frozen=True, kw_only=True):
    """One model of one vendor: its file, named."""

    id: str
    device_class: str

    @property
    def values(self) -> tuple[Value, ...]:
        """Everything it says, helpers and attributes included."""
        return self.points if self.frame is None else self.frame.fields

    @property
    def metrics(self) -> tuple[str, ...]:
        """The canonical metrics it provides, each once."""
        return tuple(dict.fromkeys(value.metric for value in self.values if value.metric))

    def bind(self, parameters: dict[str, int]) -> Self:
        """Return the profile with its address formulas resolved for one device.

        Raises ValueError, with the way out, for a parameter that is missing, unknown or out of range.
        """
        for name in parameters:
            if name not in self.parameters:
                raise ValueError(
                    f"'{self.id}' has no parameter '{name}'; it has {sorted(self.parameters) or 'none'}"
                )
        bound = {}
        for name, parameter in self.parameters.items():
            value = parameters.get(name, parameter.default)
            if value is None:
                raise ValueError(
                    f"'{self.id}' needs the parameter '{name}', {parameter.low} to {parameter.high}"
                )
            if not parameter.low <= value <= parameter.high:
                raise ValueError(
                    f"parameter '{name}' is {value}; '{self.id}' takes {parameter.low} to {parameter.high}"
                )
            bound[name] = value

        def moved(address: int, stride: dict[str, int]) -> int:
            return address + sum(step * bound[name] for name, step in stride.items())

        points = tuple(
            msgspec.structs.replace(point, address=moved(point.address, point.stride), stride={})
            for point in self.points
        )
        commands = {
            name: msgspec.structs.replace(
                command,
                steps=tuple(
                    msgspec.structs.replace(step, address=moved(step.address, step.stride), stride={})
                    for step in command.steps
                ),
            )
            for name, command in self.commands.items()
        }
        return msgspec.structs.replace(self, points=points, commands=commands)


class Decoded(msgspec.Struct, frozen=True):
    """What a device said: canonical metrics in the units of its class.

    ``values`` has None where the device itself says that there is no value, and ``quality`` the reason.
    ``time_ms`` is set only where the bytes carry the time of measurement.
    """

    values: dict[str, float | None] = {}
    quality: dict[str, Quality] = {}
    attributes: dict[str, str] = {}
    time_ms: int | None = None
