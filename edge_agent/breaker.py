"""Who may be asked: a silent device costs the bus a time-out each time, so it is probed on a budget.

The first time-out makes a device *suspect*.  A suspect is asked only in time that nobody else wants (or when it has
waited for that for half a minute), who has waited for longest first, and only while the budget holds: a twentieth of the
bus's time, saved up for at most two seconds; where many die at once it goes into debt, for half a minute or one
time-out.  Between two probes in vain the living have their turn, so that they wait for one time-out and not for several.
After three time-outs in a row a suspect is asked less and less often as well, down to every 30 s.  One answer makes it
well again and costs nothing.  Pure: times are arguments, in seconds of one monotonic clock.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Hashable

SHARE = 0.05
_SAVED_S = 2.0
MOST_REST_S = 5.0
_PATIENCE = 3  # time-outs until a suspect is asked less often
LONGEST_PAUSE_S = 30.0


class _Suspect(msgspec.Struct):
    failures: int
    asked_at: float
    ask_again: float


class Breaker:
    """Keeps the suspects of one bus: devices, or single requests of a device that answers others.

    :param rest_s: between the end of a request in vain and the next probe.
    """

    def __init__(self, share: float = SHARE, rest_s: float = 0.0) -> None:
        self._share, self._saved_s, self._counted = share, _SAVED_S, 0.0
        self._rest_s, self._rested_at = rest_s, 0.0
        self._suspects: dict[Hashable, _Suspect] = {}

    @property
    def has_suspects(self) -> bool:
        """Whether anybody's last request met silence."""
        return bool(self._suspects)

    def is_suspect(self, key: Hashable) -> bool:
        """Whether the last request met silence."""
        return key in self._suspects

    def is_starved(self, key: Hashable, now: float) -> bool:
        """Whether a suspect has waited for idle time for so long that it is asked all the same."""
        suspect = self._suspects.get(key)
        return suspect is not None and now > suspect.ask_again + LONGEST_PAUSE_S

    def asked_at(self, key: Hashable) -> float:
        """Return when it was silent last; 0 for who is well."""
        suspect = self._suspects.get(key)
        return suspect.asked_at if suspect else 0.0

    def failures(self, key: Hashable) -> int:
        """Return how often in a row it was silent."""
        suspect = self._suspects.get(key)
        return suspect.failures if suspect else 0

    def may_ask(self, key: Hashable, now: float, costs_s: float) -> bool:
        """Whether a request that may cost ``costs_s`` in vain may be sent now."""
        suspect = self._suspects.get(key)
        if suspect is None:
            return True
        self._save(now)
        is_time = now >= max(suspect.ask_again, self._rested_at)
        return is_time and self._saved_s >= min(costs_s, _SAVED_S)

    def silent(self, key: Hashable, now: float, cost_s: float, period_s: float) -> None:
        """Note a request in vain that took ``cost_s``; ``period_s`` is how often it is wanted."""
        self._save(now)
        self._saved_s = max(self._saved_s - cost_s, -max(cost_s, self._share * LONGEST_PAUSE_S))
        failures = self.failures(key) + 1
        pause = 0.0
        if failures >= _PATIENCE:
            pause = min(period_s * 2.0 ** min(failures - _PATIENCE, 16), LONGEST_PAUSE_S)
        self._suspects[key] = _Suspect(failures, now, now + pause)
        self._rested_at = now + self._rest_s

    def well(self, key: Hashable) -> bool:
        """Note an answer; return whether it had been suspect."""
        return self._suspects.pop(key, None) is not None

    def _save(self, now: float) -> None:
        self._saved_s = min(_SAVED_S, self._saved_s + (now - self._counted) * self._share)
        self._counted = max(self._counted, now)
