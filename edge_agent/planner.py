"""Which requests read a device with the least time on the wire.

A request of a block costs its bytes, the device's turn-around and the silence that ends a frame; a hole between
two wanted registers costs two bytes a register.  So a hole is read across while that is cheaper than another
request.  Blocks are found by dynamic programming over the wanted registers in address order, which gives the
optimum because a block's cost only grows with its span.  Pure: no clock, no socket.
"""

from __future__ import annotations

from itertools import combinations, pairwise
from typing import TYPE_CHECKING

import msgspec

from device_profiles.profile import Limits, Point, Profile, Space
from device_profiles.registers import Block

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    _Cost = Callable[[Block], float]

TEXT_PERIOD_S = 600.0
"""Serial numbers and firmware do not change between two polls."""
_MOST_PERIODS = 6  # of one device; partitions of more would take long to try
_RTU, _TCP = 4, 8  # address, function code and CRC; MBAP header and function code


class Wire(msgspec.Struct, frozen=True):
    """What a line costs, in seconds."""

    byte_s: float
    gap_s: float  # silence after a frame
    envelope: int = _RTU  # bytes of a frame beside its PDU's data

    @classmethod
    def serial(cls, baud: int, form: str = "8N1") -> Wire:
        """Return an RS-485 line: 3.5 characters of silence, 1.75 ms above 19,200 baud (MODBUS over Serial Line §2.5.1).

        >>> round(Wire.serial(9600).gap_s * 1000, 2)
        3.65
        """
        bits = 1 + int(form[0]) + (form[1] != "N") + int(form[2])
        byte_s = bits / baud
        return cls(byte_s, 0.00175 if baud > 19_200 else 3.5 * byte_s)

    @classmethod
    def tcp(cls) -> Wire:
        """Return a connection on which bytes cost next to nothing."""
        return cls(8e-7, 0.0, _TCP)

    def request_s(self, block: Block, turnaround_s: float) -> float:
        """Return how long reading a block takes, the silence after it included.

        No device answers before it has heard the silence that ends the request.
        """
        return self.bytes_of(block) * self.byte_s + max(turnaround_s, self.gap_s) + self.gap_s

    def bytes_of(self, block: Block) -> int:
        """Return the bytes of a read and its answer."""
        data = (block.count + 7) // 8 if block.space.is_bits else 2 * block.count
        return 2 * self.envelope + 4 + 1 + data


class Reach(msgspec.Struct, frozen=True):
    """Where a read may go: the profile's limits and what the model has taught since."""

    limits: Limits
    illegal: frozenset[tuple[Space, int]] = frozenset()  # addresses that no request may touch
    longest: int | None = None  # registers

    def allows(self, block: Block, wanted: set[int]) -> bool:
        """Whether one request may span ``block``; ``wanted`` are the addresses in use."""
        most = self.limits.max_bits if block.space.is_bits else self.limits.max_registers
        if self.longest is not None and not block.space.is_bits:
            most = min(most, self.longest)
        if block.count > most:
            return False
        hole = 0
        for address in range(block.address, block.address + block.count):
            if (block.space, address) in self.illegal:
                return False
            if address in wanted:
                hole = 0
                continue
            hole += 1
            if hole > self.limits.max_hole:
                return False
            if any(first <= address <= last for first, last in self.limits.forbidden):
                return False
        return True


def blocks_for(
    points: Iterable[Point], known: Iterable[Point], reach: Reach, wire: Wire, turnaround_s: float
) -> tuple[Block, ...]:
    """Return the cheapest requests that read ``points``; ``known`` are registers that may be read across."""
    wanted, across = list(points), list(known)
    found: list[Block] = []
    for space in Space:
        items = items_of([p for p in wanted if p.space is space], reach.limits)
        used = {a for p in (*wanted, *across) if p.space is space for a in p.addresses}
        found += _cheapest(space, items, used, reach, lambda b: wire.request_s(b, turnaround_s))
    return tuple(found)


def items_of(points: list[Point], limits: Limits) -> list[tuple[int, int]]:
    """Spans that one request must hold whole: a value that is torn apart is no value."""
    spans = []
    for point in points:
        exact = next((e for e in limits.exact if e[0] <= point.address < e[0] + e[1]), None)
        spans.append(
            (exact[0], exact[0] + exact[1]) if exact else (point.address, point.address + point.count)
        )
    merged: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if merged and start < merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def _cheapest(
    space: Space, items: Sequence[tuple[int, int]], used: set[int], reach: Reach, cost: _Cost
) -> list[Block]:
    best: list[tuple[float, int]] = [(0.0, 0)]  # cost of the first n items, and where the last block begins
    for end in range(1, len(items) + 1):
        options = []
        for start in range(end, 0, -1):
            block = Block(space, items[start - 1][0], items[end - 1][1] - items[start - 1][0])
            alone = start == end
            if not alone and (reach.limits.exact or not reach.allows(block, used)):
                break  # what is too wide or crosses something only gets wider
            options.append((best[start - 1][0] + cost(block), start - 1))
        best.append(min(options))
    made, end = list[Block](), len(items)
    while end:
        start = best[end][1]
        made.append(Block(space, items[start][0], items[end - 1][1] - items[start][0]))
        end = start
    return made[::-1]


class Group(msgspec.Struct, frozen=True):
    """Values of a device that are read together."""

    period_s: float
    blocks: tuple[Block, ...]
    points: tuple[Point, ...]
    seconds: float  # on the wire, each time

    @property
    def addresses(self) -> frozenset[tuple[Space, int]]:
        """The registers and bits that its values are made of."""
        return frozenset((p.space, a) for p in self.points for a in p.addresses)

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics among its values."""
        return tuple(dict.fromkeys(p.metric for p in self.points if p.metric))


class Wanted(msgspec.Struct, frozen=True):
    """How often a device is to be read: ``period_s``, but for the metrics and texts named in ``periods_s``."""

    period_s: float
    periods_s: dict[str, float] = {}

    def of(self, point: Point) -> float:
        """Return the period of one value, in seconds."""
        if point.what in self.periods_s:
            return self.periods_s[point.what]
        if point.period_s is not None:
            return max(self.period_s, point.period_s)
        return max(self.period_s, TEXT_PERIOD_S) if point.attribute else self.period_s


def groups_for(profile: Profile, wanted: Wanted, reach: Reach, wire: Wire) -> tuple[Group, ...]:
    """Return the groups that read all of a profile with the least share of the bus, the fastest first.

    Values of different periods are read together where that costs less than asking twice; what lies in a
    block that is read anyway comes along.
    """
    periods: dict[float, list[Point]] = {}
    for point in profile.points:
        if not point.name:
            periods.setdefault(wanted.of(point), []).append(point)
    ranked = sorted(periods)[:_MOST_PERIODS]
    for late in sorted(periods)[_MOST_PERIODS:]:
        periods[ranked[-1]] += periods[late]
    plans = (_grouped(profile, periods, cut, reach, wire) for cut in _cuts(ranked))
    return min(plans, key=lambda groups: (sum(g.seconds / g.period_s for g in groups), len(groups)))


def _cuts(ranked: list[float]) -> Iterator[list[list[float]]]:
    for many in range(len(ranked)):
        for places in combinations(range(1, len(ranked)), many):
            edges = (0, *places, len(ranked))
            yield [ranked[a:b] for a, b in pairwise(edges)]


def _grouped(
    profile: Profile, periods: dict[float, list[Point]], cut: list[list[float]], reach: Reach, wire: Wire
) -> tuple[Group, ...]:
    turnaround_s, groups = profile.timing.turnaround_s, list[Group]()
    rest = [[point for period in part for point in periods[period]] for part in cut]
    for place, part in enumerate(cut):
        points = with_helpers(profile, rest[place])
        if not rest[place]:
            continue
        made = blocks_for(points, profile.points, reach, wire, turnaround_s)
        read = {(b.space, a) for b in made for a in range(b.address, b.address + b.count)}
        for later in rest[place + 1 :]:
            along = [
                p
                for p in later
                if all((p.space, a) in read for a in p.addresses) and _ready(profile, p, read)
            ]
            points = with_helpers(profile, points + along)
            later[:] = [p for p in later if p not in along]
        seconds = sum(wire.request_s(block, turnaround_s) for block in made)
        groups.append(Group(part[0], made, tuple(points), seconds))
    return tuple(groups)


def with_helpers(profile: Profile, points: list[Point]) -> list[Point]:
    """Return ``points`` and those that say in which unit, or with how many decimals, they are meant."""
    names = {name for point in points for name in _needs(point)} - {point.name for point in points}
    return [*points, *(p for p in profile.points if p.name and p.name in names)]


def _ready(profile: Profile, point: Point, read: set[tuple[Space, int]]) -> bool:
    helpers = [p for p in profile.points if p.name in _needs(point)]
    return all((p.space, a) in read for p in helpers for a in p.addresses)


def _needs(point: Point) -> set[str]:
    named = (
        point.decimals_from,
        point.unit_from.point if point.unit_from else "",
        point.valid_if.point if point.valid_if else "",
    )
    return {name for name in named if name}
