"""Which alarms are one incident: decided by place, time and topology, always the same way, and with its reason.

Pure.  Time is when an alarm began on the street, so it does not matter how late or in which portions the feed came.
An alarm joins where the closest tie leads, in this order::

    cause    the feed says that it follows from an alarm of the incident
    device   the same device, within ``device_s`` of its last alarm
    group    a device of the same pole, charger, feeder or cabinet, within ``group_s``
    site     the same site, within ``site_s``
    near     at most ``near_m`` metres away, within ``near_s``

A device that chatters is told once by its first alarm: only that one draws its neighbours in.
"""

from __future__ import annotations

import math
from itertools import takewhile
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

import msgspec

from telemetry.text import Text

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence

Tie = Literal["first", "cause", "device", "group", "site", "near", "person"]
_RANK: dict[Tie, int] = {"cause": 0, "device": 1, "group": 2, "site": 3, "near": 4}
Way = list[dict[str, Any]]
Key = TypeVar("Key", bound="Hashable")
_METRES = 111_320.0  # a degree of latitude


class Windows(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How near in time and place two alarms are one incident's."""

    device_s: float = 1800.0
    group_s: float = 300.0
    site_s: float = 120.0
    near_s: float = 120.0
    near_m: float = 80.0


class Place(msgspec.Struct, frozen=True):
    """Where a device stands; ``groups`` are the poles, chargers, feeders and cabinets that it belongs to."""

    device: str
    site: str = ""
    lon: float | None = None
    lat: float | None = None
    groups: frozenset[str] = frozenset()


class Member(msgspec.Struct, frozen=True):
    """What an incident holds of one rule on one device; times of the first and the last beginning, UTC ms."""

    incident: str
    place: Place
    first_ms: int
    last_ms: int


def widened(member: Member | None, incident: str, place: Place, began_ms: int) -> Member:
    """Return what an incident holds of a rule on a device when one more alarm of it has joined."""
    if member is None:
        return Member(incident, place, began_ms, began_ms)
    return msgspec.structs.replace(
        member, first_ms=min(member.first_ms, began_ms), last_ms=max(member.last_ms, began_ms)
    )


class Why(msgspec.Struct, frozen=True, omit_defaults=True):
    """Why an alarm belongs to its incident: the tie, to which device or alarm, over how many seconds and metres."""

    tie: Tie
    to: str = ""
    seconds: float = 0.0
    metres: float | None = None
    by: str = ""

    def words(self, name: Callable[[str], Text]) -> Text:
        """Return the reason in a sentence; ``name`` tells a device's name."""
        to = name(self.to)
        apart = f"{self.seconds:.0f}"
        match self.tie:
            case "first":
                return Text("本事件的第一条告警", "the first alarm of this incident")
            case "cause":
                return Text(f"由告警 {self.to} 引起", f"it follows from alarm {self.to}")
            case "device":
                return Text(f"同一设备，相隔 {apart} 秒", f"the same device, {apart} s apart")
            case "group":
                return Text(f"同属 {self.to}，相隔 {apart} 秒", f"both belong to {self.to}, {apart} s apart")
            case "site":
                return Text(
                    f"与 {to.zh} 同一站点，相隔 {apart} 秒", f"the same site as {to.en}, {apart} s apart"
                )
            case "near":
                metres = f"{self.metres or 0:.0f}"
                return Text(
                    f"距 {to.zh} {metres} 米，相隔 {apart} 秒",
                    f"{metres} m from {to.en}, {apart} s apart",
                )
            case _:
                return Text(f"由{self.by}归入", f"put here by {self.by}")


class Around(Generic[Key]):
    """What may have a tie to an alarm, found by where it stands: a storm asks for each alarm, and nobody may look at everything then."""

    def __init__(self, windows: Windows) -> None:
        self._band_m = max(windows.near_m, 1.0)
        self._at: dict[tuple[str, str | int], set[Key]] = {}

    def put(self, key: Key, place: Place) -> None:
        """Note what stands at a place."""
        for where in self._of(place):
            self._at.setdefault(where, set()).add(key)

    def near(self, place: Place) -> set[Key]:
        """Return what stands near enough, and some that does not quite."""
        return set().union(*(self._at.get(where, ()) for where in self._of(place, aside=1)))

    def _of(self, place: Place, aside: int = 0) -> Iterator[tuple[str, str | int]]:
        yield "device", place.device
        for group in place.groups:
            yield "group", group
        if place.site:
            yield "site", place.site
        if place.lat is not None:
            band = math.floor(place.lat * _METRES / self._band_m)
            for n in range(band - aside, band + aside + 1):
                yield "latitude", n


class Standing:
    """What the open incidents hold, by incident, device and rule."""

    def __init__(self, windows: Windows) -> None:
        self._windows = windows
        self._members: dict[tuple[str, str, str], Member] = {}
        self._around = Around[tuple[str, str, str]](windows)

    def get(self, key: tuple[str, str, str]) -> Member | None:
        """Return what an incident holds of a rule on a device."""
        return self._members.get(key)

    def put(self, key: tuple[str, str, str], member: Member) -> None:
        """Note it, in the place of what was noted before."""
        if key not in self._members:
            self._around.put(key, member.place)
        self._members[key] = member

    def ties(self, place: Place, began_ms: int) -> Sequence[tuple[str, Why]]:
        """Return the incidents that an alarm has a tie to, the closest first, each with its reason."""
        near = self._around.near(place)
        return ties(place, began_ms, [self._members[key] for key in near], self._windows)


def ties(
    place: Place, began_ms: int, members: Iterable[Member], windows: Windows
) -> Sequence[tuple[str, Why]]:
    """Return the incidents that an alarm has a tie to, whatever the order of ``members``; see :meth:`Standing.ties`."""
    best: dict[str, tuple[tuple[Any, ...], Why]] = {}
    for member in members:
        why = _tie(place, began_ms, member, windows)
        if why is None:
            continue
        rank = (_RANK[why.tie], why.seconds, why.metres or 0.0, member.first_ms, member.incident, why.to)
        if member.incident not in best or rank < best[member.incident][0]:
            best[member.incident] = (rank, why)
    return [(incident, why) for incident, (_, why) in sorted(best.items(), key=lambda item: item[1][0])]


def _tie(place: Place, began_ms: int, member: Member, windows: Windows) -> Why | None:
    other = member.place
    if place.device == other.device:
        apart = _apart(began_ms, member.first_ms, member.last_ms)
        return Why("device", other.device, apart) if apart <= windows.device_s else None
    apart = _apart(began_ms, member.first_ms, member.first_ms)
    if apart <= windows.group_s and (shared := place.groups & other.groups):
        return Why("group", min(shared), apart)
    if apart <= windows.site_s and place.site and place.site == other.site:
        return Why("site", other.device, apart)
    if apart <= windows.near_s and (away := metres(place, other)) is not None and away <= windows.near_m:
        return Why("near", other.device, apart, away)
    return None


def _apart(began_ms: int, first_ms: int, last_ms: int) -> float:
    """Return the seconds between a moment and a span; 0 within it."""
    return max(first_ms - began_ms, began_ms - last_ms, 0) / 1000


def metres(one: Place, other: Place) -> float | None:
    """Return the distance on the ground, which is flat enough over a district; None where a place is unknown."""
    if one.lon is None or one.lat is None or other.lon is None or other.lat is None:
        return None
    north = (other.lat - one.lat) * _METRES
    east = (other.lon - one.lon) * _METRES * math.cos(math.radians(one.lat))
    return math.hypot(north, east)


def path(places: Sequence[Place], sites: Mapping[str, Mapping[str, Any]]) -> Way:
    """Return the way down the tree district → street → site → device to where all of ``places`` still are together."""
    way = _way(places[0], sites)
    for place in places[1:]:
        way = shared(way, _way(place, sites))
    return way


def shared(one: Sequence[dict[str, Any]], other: Sequence[dict[str, Any]]) -> Way:
    """Return how far two ways down the tree are the same."""
    both = zip(one, other, strict=False)
    return [mine for mine, theirs in takewhile(lambda pair: pair[0]["id"] == pair[1]["id"], both)]


def _way(place: Place, sites: Mapping[str, Mapping[str, Any]]) -> Way:
    site = sites.get(place.site, {})
    way: Way = [{"level": level, "id": site.get(level, "")} for level in ("district", "street")]
    way.append({"level": "site", "id": place.site, "name": site.get("name", {})})
    way.append({"level": "device", "id": place.device})
    return way
