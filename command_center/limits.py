"""How much may be sent now: sliding windows for each set of credentials and each person, some of it kept for the urgent."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from command_center.channel import Limits

FOR_ALL = 0.7
"""The share of the credentials' windows that messages which are not urgent may fill."""


class Limiter:
    """Of one channel.  Times are UTC ms."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._all: deque[int] = deque()
        self._each: dict[str, deque[int]] = {}
        self._blocked_until = 0

    def remember(self, sent: Iterable[tuple[str, int]]) -> None:
        """Take in what was sent before a restart: ``(person, time)``."""
        for person, at in sorted(sent, key=lambda one: one[1]):
            self._note(person, at)

    def block(self, until_ms: int) -> None:
        """The vendor hears nothing from these credentials until then."""
        self._blocked_until = max(self._blocked_until, until_ms)

    def shift(self, by_ms: int) -> None:
        """The clock was set: what lies so far back still does."""
        for times in (self._all, *self._each.values()):
            moved = [at + by_ms for at in times]
            times.clear()
            times.extend(moved)
        if self._blocked_until:
            self._blocked_until += by_ms

    def is_blocked(self, now_ms: int) -> bool:
        """Return whether the vendor hears nothing now."""
        return now_ms < self._blocked_until

    def take(self, person: str, now_ms: int, *, urgent: bool) -> bool:
        """Count a message, or return False when it must wait."""
        share = 1.0 if urgent else FOR_ALL
        if self.is_blocked(now_ms) or not _fits(self._all, self._limits.credentials, now_ms, share):
            return False
        if not _fits(self._each.setdefault(person, deque()), self._limits.address, now_ms, 1.0):
            return False
        self._note(person, now_ms)
        return True

    def is_full_for(self, person: str, now_ms: int) -> bool:
        """Return whether this person cannot be told by this channel now, however urgent."""
        each = self._each.get(person, deque())
        return (
            self.is_blocked(now_ms)
            or not _fits(each, self._limits.address, now_ms, 1.0)
            or not _fits(self._all, self._limits.credentials, now_ms, 1.0)
        )

    def _note(self, person: str, at: int) -> None:
        for times, windows in (
            (self._all, self._limits.credentials),
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
