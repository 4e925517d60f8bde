"""Clocks: how wrong each agent's is, and by how much its times are corrected.

An agent tells its time once a minute; when that came, less what it says, is its error and the way's delay.
Delay only ever adds.  So the smallest of the last few counts, and a clock that is ahead is known at once, while one
that seems behind may be a message that waited in the broker's queue: it is believed when messages that came well
apart agree.  Uploads are no measure: they may have waited for hours.
"""

from __future__ import annotations

_KEPT = 5
_APART_MS = 30_000  # what waited in a queue arrives together
_STEP_MS = 5_000  # more than this is a clock that was set, not a way that was slow
_TRUSTED_MS = 2_000  # as far as a clock may be wrong without being corrected
_CHANGE_MS = 1_000  # as far as the error may differ from the correction in force


class Offsets:
    """By how many ms each agent's clock is behind (ahead: negative), as far as it is known.

    One thread may note while another asks: what was heard of an agent is replaced, never changed.
    """

    def __init__(self) -> None:
        self._heard: dict[str, tuple[tuple[int, int], ...]] = {}  # agent → (offset, received), both ms

    def note(self, agent: str, told_ms: int, received_ms: int) -> None:
        """Take note of a time told."""
        offset = received_ms - told_ms
        heard = self._heard.get(agent, ())
        if heard and abs(offset - min(heard)[0]) > _STEP_MS:
            heard = ()
        self._heard[agent] = (*heard, (offset, received_ms))[-_KEPT:]

    def get(self, agent: str) -> int | None:
        """Return an agent's offset, None while it is not known."""
        heard = self._heard.get(agent)
        if not heard:
            return None
        offset = min(heard)[0]
        confirmed = heard[-1][1] - heard[0][1] >= _APART_MS
        return offset if offset <= _TRUSTED_MS or confirmed else None


def shift_of(in_force_ms: int, offset_ms: int | None) -> int:
    """Return by how much to correct times from now on; it changes only when the clock really has.

    >>> shift_of(0, 1500), shift_of(0, -3_600_042), shift_of(-3_600_000, -3_600_900), shift_of(-3_600_000, 20)
    (0, -3600000, -3600000, 0)
    """
    if offset_ms is None or abs(offset_ms - in_force_ms) <= _CHANGE_MS:
        return in_force_ms
    return 0 if abs(offset_ms) < _TRUSTED_MS else round(offset_ms, -2)
