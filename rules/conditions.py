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
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from rules.pack import Rule
    from rules.state import RuleState

_SHARE = 2 / 3
"""Of a duration that one sample speaks for where the rule says nothing: three samples are needed at least."""


class Seen(NamedTuple):
    """One known sample of each of n devices, none of them twice; every array has shape (n,) but ``facts`` (n, k)."""

    places: NDArray[np.intp]
    values: NDArray[np.float64]
    times: NDArray[np.int64]  # UTC ms
    before: NDArray[np.int64]  # time of the known sample before this one, NEVER for the first
    standing: NDArray[np.int8]  # the severity that stands, 0 for none
    facts: NDArray[np.int8] | None = None  # truths of the rule's predicates
    in_force: NDArray[np.bool_] | None = None  # by the rule's schedule; None: always

    def only(self, rows: NDArray[np.bool_]) -> Seen:
        """Return some of the devices."""
        return Seen(*(None if part is None else part[rows] for part in self))  # type: ignore[arg-type]


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
class Lasting:
    """For how long, or how often, a step must hold before it counts."""

    for_ms: int = 0
    gap_ms: int = 0  # the longest time that one sample speaks for
    n: int = 0  # with m: of the last m samples, n must hold
    m: int = 0

    def columns(self, steps: Sequence[Severity]) -> Mapping[str, Column]:
        """Since when each step holds, and for how long that is known; or a bit for each of the last samples."""
        if self.m:
            return {f"last{step:d}": SPAN for step in steps}
        names = steps if self.for_ms else ()
        return {key: c for s in names for key, c in ((f"since{s:d}", TIME), (f"held{s:d}", SPAN))}

    def fulfilled(
        self, memory: RuleState, step: Severity, seen: Seen, beyond: NDArray[np.bool_]
    ) -> NDArray[np.bool_]:
        """Return where a step that is ``beyond`` counts now; one that stands already stays while it is beyond."""
        stands = seen.standing >= step
        if self.m:
            bits = (memory.take(f"last{step:d}", seen.places) << 1 | beyond) & ((1 << self.m) - 1)
            memory.put(f"last{step:d}", seen.places, bits)
            enough: NDArray[np.bool_] = np.bitwise_count(bits) >= self.n
            return enough
        if not self.for_ms:
            return beyond
        since = memory.take(f"since{step:d}", seen.places)
        begins = beyond & (since == NEVER)
        more = memory.take(f"held{step:d}", seen.places) + np.minimum(seen.times - seen.before, self.gap_ms)
        held = np.where(beyond & ~begins, more, 0)
        memory.put(f"held{step:d}", seen.places, held)
        memory.put(
            f"since{step:d}", seen.places, np.where(beyond, np.where(begins, seen.times, since), NEVER)
        )
        counts: NDArray[np.bool_] = beyond & (stands | (held >= self.for_ms))
        return counts

    def since(self, memory: RuleState, place: int, steps: Sequence[Severity], time: int) -> int:
        """Return since when any of ``steps`` holds, ``time`` where that is not kept."""
        if not self.for_ms:
            return time
        since = [int(memory.columns[f"since{step:d}"][place]) for step in steps]
        return min((s for s in since if s != NEVER), default=time)

    def rests(
        self, memory: RuleState, steps: Sequence[Severity], places: NDArray[np.intp]
    ) -> NDArray[np.bool_]:
        """Return where nothing runs."""
        rest = np.ones(len(places), bool)
        for step in steps if self.for_ms else ():
            rest &= memory.take(f"since{step:d}", places) == NEVER
        return rest


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
    lasting: Lasting

    @property
    def basis(self) -> str:
        """The condition spelled out."""
        return repr(self)

    @property
    def columns(self) -> Mapping[str, Column]:
        """What must last."""
        return self.lasting.columns(self._severities)

    @property
    def _severities(self) -> tuple[Severity, ...]:
        return tuple(step.severity for step in self.steps)

    def judge(self, memory: RuleState, seen: Seen) -> NDArray[np.int8]:
        """Return the severity that each device has reached."""
        reached, stays = _WAYS[self.way]
        level = np.zeros(len(seen.places), np.int8)
        for step in self.steps:
            beyond = reached(seen.values, step.limit)
            if stays is not None and step.clear != step.limit:
                beyond |= (seen.standing >= step.severity) & stays(seen.values, step.clear)
            if seen.in_force is not None:
                beyond &= seen.in_force
            level[self.lasting.fulfilled(memory, step.severity, seen, beyond)] = step.severity
        return level

    def stirs(self, seen: Seen) -> NDArray[np.bool_] | None:
        """Return the samples after which anything is remembered, None where every sample is."""
        if self.lasting.m:
            return None
        reached, stays = _WAYS[self.way]
        stirs: NDArray[np.bool_] = np.zeros(len(seen.places), bool)
        for step in self.steps if stays is None else self.steps[:1]:  # the mildest is left last
            stirs |= reached(seen.values, step.limit)
            if stays is not None and step.clear != step.limit:
                stirs |= stays(seen.values, step.clear)
        return stirs

    def rests(self, memory: RuleState, places: NDArray[np.intp]) -> NDArray[np.bool_]:
        """Return where nothing runs."""
        return self.lasting.rests(memory, self._severities, places)

    def came_true(self, memory: RuleState, place: int, time: int, severity: Severity | None) -> int:
        """Return since when a step holds, or the first of all."""
        return self.lasting.since(memory, place, self._severities if severity is None else (severity,), time)

    def limit(self, severity: Severity) -> float | None:
        """Return the limit of a severity."""
        return next((step.limit for step in self.steps if step.severity == severity), None)


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
        if seen.in_force is not None:
            moved |= ~seen.in_force
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


def lasting_of(rule: Rule) -> Lasting:
    """Return how long what a rule writes must last."""
    if rule.n_of_m is not None:
        return Lasting(n=rule.n_of_m[0], m=rule.n_of_m[1])
    return Lasting(_ms(rule.for_s), _ms(_SHARE * rule.for_s if rule.gap_s is None else rule.gap_s))


def condition_of(rule: Rule) -> Condition | None:
    """Return the condition that a rule writes by keys; None for ``no_data``, which is not about samples.

    What it writes as ``when`` is bound by :mod:`rules.compiled`.
    """
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
    return Limits(rule.way, steps, lasting_of(rule))


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
