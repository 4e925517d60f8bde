"""Clocks: how wrong each agent's is, and by how much its times are corrected.

An agent tells its time once a minute; what it says live, minus when that came, is its error less the way's delay.
Delay only ever adds, so the smallest of the last few counts.  Uploads are no measure: they may have waited for hours.
"""

from __future__ import annotations

from collections import deque

_KEPT = 5
_STEP_MS = 5_000  # more than this is a clock that was set, not a way that was slow
_TRUSTED_MS = 2_000  # as far as a clock may be wrong without being corrected
_CHANGE_MS = 1_000  # as far as the error may differ from the correction in force


class Offsets:
    """By how many ms each agent's clock is behind (ahead: negative), as far as it is known."""

    def __init__(self) -> None:
        self._heard: dict[str, deque[int]] = {}

    def note(self, agent: str, told_ms: int, received_ms: int) -> None:
        """Take note of a time told live."""
        offset = received_ms - told_ms
        heard = self._heard.setdefault(agent, deque(maxlen=_KEPT))
        if heard and abs(offset - min(heard)) > _STEP_MS:
            heard.clear()
        heard.append(offset)

    def get(self, agent: str) -> int | None:
        """Return an agent's offset, None while it has told nothing."""
        heard = self._heard.get(agent)
        return min(heard) if heard else None


def shift_of(in_force_ms: int, offset_ms: int | None) -> int:
    """Return by how much to correct times from now on; it changes only when the clock really has.

    >>> shift_of(0, 1500), shift_of(0, -3_600_042), shift_of(-3_600_000, -3_600_900), shift_of(-3_600_000, 20)
    (0, -3600000, -3600000, 0)
    """
    if offset_ms is None or abs(offset_ms - in_force_ms) <= _CHANGE_MS:
        return in_force_ms
    return 0 if abs(offset_ms) < _TRUSTED_MS else round(offset_ms, -2)
