"""How often who may ask, so that one that asks without end costs the others nothing.

===============  =========================  ==========================================================
who              counted by                 apart from each other
===============  =========================  ==========================================================
person, wall     session                    looking, doing, acknowledging
machine          key                        looking, doing, acknowledging
anybody else     address (IPv6: its /64)    nothing
===============  =========================  ==========================================================

An address counts only what nobody known asks from it: two hundred screens behind one router each have a session, and a
stranger behind the same router shuts none of them out.  A page that polls too much can still acknowledge.
"""

from __future__ import annotations

from ipaddress import AddressValueError, IPv6Address
from typing import TYPE_CHECKING, Literal, get_args

from command_center.answers import Denied
from telemetry.bucket import Buckets

if TYPE_CHECKING:
    from command_center.people.rights import Right
    from telemetry.clock import Clock

Lane = Literal["look", "do", "acknowledge"]


class Rates:
    """Of one desk, in memory: a restart forgives everybody."""

    def __init__(self, clock: Clock) -> None:
        self._known: dict[Lane, Buckets] = {lane: Buckets(clock) for lane in get_args(Lane)}
        self._unknown = Buckets(clock)

    def known(self, who: str, lane: Lane, per_minute: int) -> None:
        """Count a request of a session or a key; raise :class:`Denied` for one too many."""
        _refuse(self._known[lane].take(who, per_minute), per_minute)

    def unknown(self, address: str, per_minute: int) -> None:
        """Count a request of nobody known; raise :class:`Denied` for one too many."""
        _refuse(self._unknown.take(network_of(address), per_minute), per_minute)


def lane_of(right: Right, *, reads: bool) -> Lane:
    """Return what a request is counted among; what the page tells of its own accord is looking.

    >>> lane_of("alarm.acknowledge", reads=False), lane_of("self", reads=False), lane_of("alarm.shelve", reads=False)
    ('acknowledge', 'look', 'do')
    """
    if right == "alarm.acknowledge":
        return "acknowledge"
    return "look" if reads or right in {"open", "self", "read"} else "do"


def network_of(address: str) -> str:
    """Return what one subscriber cannot change: the address, of IPv6 its first 64 bits.

    >>> network_of("10.0.0.7"), network_of("2001:db8:1:2:3:4:5:6")
    ('10.0.0.7', '2001:db8:1:2::')
    """
    try:
        number = int(IPv6Address(address))
    except AddressValueError:
        return address
    return str(IPv6Address(number >> 64 << 64))


def _refuse(wait_s: int, per_minute: int) -> None:
    if wait_s:
        raise Denied(
            429, f"请求过于频繁（每分钟最多 {per_minute} 次），请 {wait_s} 秒后再试",
            f"more than {per_minute} requests a minute; come again in {wait_s} s", reason="rate", after_s=wait_s,
        )  # fmt: skip
