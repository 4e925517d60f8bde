"""Conditions: from samples to the severity that each device has reached.

A condition sees known samples only, each device's in time order, and keeps what it must remember in columns of
its rule's memory.  A detector is one more condition: whatever has the members of :class:`Condition` can
stand in a rule.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from rules.state import NEVER, SPAN, TIME, VALUE, Column
from telemetry.severity import Severity

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from rules.pack import Rule
    from rules.state import RuleState

_SHARE = 2 / 3
"""Of a duration that one sample speaks for where the rule says nothing: three samples are needed at least."""


class Seen(NamedTuple):
    """One known sample of each of n devices, none of them twice; every array has shape (n,)."""

    places: NDArray[np.intp]
    values: NDArray[np.float64]
    times: NDArray[np.int64]  # UTC ms
    before: NDArray[np.int64]  # time of the known sample before this one, NEVER for the first
    standing: NDArray[np.int8]  # the severity that stands, 0 for none


class Condition(Protocol):
    """What the engine asks of a condition."""

    @property
    def basis(self) -> str:
        """The condition spelled out; another text voids what was remembered."""

    @property
    def columns(self) -> Mapping[str, Column]:
        """What it remembers for each device."""

    def judge(self, memory: RuleState, seen: Seen) -> NDArray[np.int8]:
        """Return the severity that each device has reached, 0 for none, shape (n,)."""

    def came_true(self, memory: RuleState, place: int, time: int, severity: Severity | None) -> int:
        """Return since when (UTC ms) the condition holds that a sample of ``time`` has just fulfilled.

        ``severity`` names the step; None asks for the one that came true first.
        """

    def limit(self, severity: Severity) -> float | None:
        """Return the limit of a severity, where it has one."""


@dataclass(frozen=True)
class Step:
    """From ``limit`` on it is ``severity``, until the value is back at ``clear``."""

    severity: Severity
    limit: float
    clear: float


@dataclass(frozen=True)
class Limits:
    """A value beyond limits, the mildest first, for some time."""

    way: str  # a key of _WAYS
    steps: tuple[Step, ...]
    for_ms: int
    gap_ms: int  # the longest time that one sample speaks for

    @property
    def basis(self) -> str:
        """The condition spelled out."""
        return repr(self)

    @property
    def columns(self) -> Mapping[str, Column]:
        """Since when each step holds, and for how long that is known; nothing where it need not last."""
        names = range(len(self.steps)) if self.for_ms else ()
        return {key: c for n in names for key, c in ((f"since{n}", TIME), (f"held{n}", SPAN))}

    def judge(self, memory: RuleState, seen: Seen) -> NDArray[np.int8]:
        """Return the severity that each device has reached."""
        reached, stays = _WAYS[self.way]
        level = np.zeros(len(seen.places), np.int8)
        for n, step in enumerate(self.steps):
            beyond = reached(seen.values, step.limit)
            stands = seen.standing >= step.severity
            if stays is not None and step.clear != step.limit:
                beyond |= stands & stays(seen.values, step.clear)
            if self.for_ms:
                beyond &= stands | (self._held(memory, n, seen, beyond) >= self.for_ms)
            level[beyond] = step.severity
        return level

    def came_true(self, memory: RuleState, place: int, time: int, severity: Severity | None) -> int:
        """Return since when a step holds, or the first of all."""
        if not self.for_ms:
            return time
        since = [
            int(memory.columns[f"since{n}"][place])
            for n, step in enumerate(self.steps)
            if severity in (None, step.severity)
        ]
        return min((s for s in since if s != NEVER), default=time)

    def limit(self, severity: Severity) -> float | None:
        """Return the limit of a severity."""
        return next((step.limit for step in self.steps if step.severity == severity), None)

    def _held(self, memory: RuleState, step: int, seen: Seen, beyond: NDArray[np.bool_]) -> NDArray[np.int64]:
        since = memory.take(f"since{step}", seen.places)
        begins = beyond & (since == NEVER)
        more = memory.take(f"held{step}", seen.places) + np.minimum(seen.times - seen.before, self.gap_ms)
        held: NDArray[np.int64] = np.where(beyond & ~begins, more, 0)
        memory.put(f"held{step}", seen.places, held)
        memory.put(f"since{step}", seen.places, np.where(beyond, np.where(begins, seen.times, since), NEVER))
        return held


@dataclass(frozen=True)
class Stuck:
    """A value that stays within ``within`` of where it came to rest, for some time."""

    severity: Severity
    within: float
    for_ms: int
    gap_ms: int  # the longest time that one sample speaks for

    @property
    def basis(self) -> str:
        """The condition spelled out."""
        return repr(self)

    @property
    def columns(self) -> Mapping[str, Column]:
        """Where it rests, since when, and for how long that is known."""
        return {"rest": VALUE, "since": TIME, "held": SPAN}

    def judge(self, memory: RuleState, seen: Seen) -> NDArray[np.int8]:
        """Return the severity where a value has rested for too long."""
        rest = memory.take("rest", seen.places)
        moved = ~(np.abs(seen.values - rest) <= self.within)  # also where there is no rest yet: NaN
        more = memory.take("held", seen.places) + np.minimum(seen.times - seen.before, self.gap_ms)
        held = np.where(moved, 0, more)
        memory.put("held", seen.places, held)
        memory.put("rest", seen.places[moved], seen.values[moved])
        memory.put("since", seen.places[moved], seen.times[moved])
        stands = ~moved & (seen.standing > 0)
        return np.where(stands | (held >= self.for_ms), self.severity, 0).astype(np.int8)

    def came_true(self, memory: RuleState, place: int, time: int, severity: Severity | None) -> int:  # noqa: ARG002 - of the seam
        """Return since when the value rests."""
        since = int(memory.columns["since"][place])
        return time if since == NEVER else since

    def limit(self, severity: Severity) -> float | None:  # noqa: ARG002 - of the seam
        """Return nothing: rest has no limit in the metric's unit."""
        return None


def condition_of(rule: Rule) -> Condition | None:
    """Return the condition that a rule writes; None for ``no_data``, which is not about samples."""
    if rule.no_data is not None:
        return None
    if rule.stuck is not None:
        after_s = rule.stuck.after_s
        return Stuck(
            Severity.parse(rule.stuck.severity),
            rule.stuck.within,
            _ms(after_s),
            _ms(_SHARE * after_s if rule.gap_s is None else rule.gap_s),
        )
    limits = rule.limits
    margin = 0.0 if rule.clear is None else rule.clear - next(iter(limits.values()))
    steps = tuple(Step(severity, limit, limit + margin) for severity, limit in limits.items())
    gap_s = _SHARE * rule.for_s if rule.gap_s is None else rule.gap_s
    return Limits(rule.way, steps, _ms(rule.for_s), _ms(gap_s))


def _ms(seconds: float) -> int:
    return round(seconds * 1000)


_WAYS: Mapping[str, tuple[Callable[..., Any], Callable[..., Any] | None]] = {
    "above": (operator.gt, operator.gt),
    "at_least": (operator.ge, operator.gt),
    "below": (operator.lt, operator.lt),
    "at_most": (operator.le, operator.lt),
    "equals": (operator.eq, None),
}
"""How a limit is passed, and how a standing alarm stays when there is a ``clear``."""
