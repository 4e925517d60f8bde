"""How much may be sent now: sliding windows for each set of credentials and each person, some of it kept for the urgent."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from command_center.channel import Limits

FOR_ALL = 0.7
"""The share of the credentials' windows that messages which are not urgent may fill."""
_HALF_HOUR_MS = 1_800_000


class Limiter:
    """Of one channel and each of its lanes: robots of one group, of which each has its own credentials.  Times are UTC ms."""

    def __init__(self, limits: Limits, lanes: int = 1) -> None:
        self._limits = limits
        self._lanes: tuple[deque[int], ...] = tuple(deque() for _ in range(lanes))
        self._each: dict[str, deque[int]] = {}
        self._blocked_until = [0] * lanes
        self._turn = 0

    @property
    def lanes(self) -> int:
        """How many there are."""
        return len(self._lanes)

    def remember(self, sent: Iterable[tuple[str, int, int]]) -> None:
        """Take in what was sent before a restart: ``(person, time, lane)``."""
        for person, at, lane in sorted(sent, key=lambda one: one[1]):
            self._note(person, at, lane if lane < self.lanes else 0)

    def block(self, until_ms: int, lane: int = 0) -> None:
        """The vendor hears nothing from a lane's credentials until then."""
        self._blocked_until[lane] = max(self._blocked_until[lane], until_ms)

    def shift(self, by_ms: int) -> None:
        """The clock was set: what lies so far back still does."""
        for times in (*self._lanes, *self._each.values()):
            moved = [at + by_ms for at in times]
            times.clear()
            times.extend(moved)
        self._blocked_until = [until + by_ms if until else 0 for until in self._blocked_until]

    def is_blocked(self, now_ms: int) -> bool:
        """Return whether the vendor hears nothing now from any lane."""
        return all(now_ms < until for until in self._blocked_until)

    def take(self, person: str, now_ms: int, *, urgent: bool) -> int | None:
        """Count a message and return the lane it goes by, each in its turn; None when it must wait."""
        if not urgent and self._is_avoided(now_ms):
            return None
        if not _fits(self._each.setdefault(person, deque()), self._limits.address, now_ms, 1.0):
            return None
        lane = self._free(now_ms, 1.0 if urgent else FOR_ALL)
        if lane is not None:
            self._turn = lane + 1
            self._note(person, now_ms, lane)
        return lane

    def is_full_for(self, person: str, now_ms: int) -> bool:
        """Return whether this person cannot be told by this channel now, however urgent."""
        each = self._each.get(person, deque())
        return not _fits(each, self._limits.address, now_ms, 1.0) or self._free(now_ms, 1.0) is None

    def _free(self, now: int, share: float) -> int | None:
        for n in range(self._turn, self._turn + self.lanes):
            lane = n % self.lanes
            if now >= self._blocked_until[lane] and _fits(
                self._lanes[lane], self._limits.credentials, now, share
            ):
                return lane
        return None

    def _is_avoided(self, now: int) -> bool:
        around = int(self._limits.avoid_s * 1000)
        return around > 0 and (now + around) % _HALF_HOUR_MS < 2 * around

    def _note(self, person: str, at: int, lane: int) -> None:
        for times, windows in (
            (self._lanes[lane], self._limits.credentials),
            (self._each.setdefault(person, deque()), self._limits.address),
        ):
            if windows:
                times.append(at)
                longest = max(seconds for _, seconds in windows) * 1000
                while times and times[0] <= at - longest:
                    times.popleft()


def _fits(times: deque[int], windows: tuple[tuple[int, float], ...], now: int, share: float) -> bool:
    return all(
        sum(1 for at in reversed(times) if at > now - seconds * 1000) < max(1, int(most * share))
        for most, seconds in windows
    )
