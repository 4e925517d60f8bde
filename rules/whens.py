"""Conditions that are written as ``when``, and those that differ from device to device."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from rules.conditions import Condition, Lasting, Limits, Seen
from rules.language.terms import FALSE, TRUE, UNKNOWN
from rules.state import PLACE, TIME, Column

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from rules.state import RuleState
    from telemetry.severity import Severity


class Claim(NamedTuple):
    """The predicate with the number ``fact`` holds: it is ``severity``."""

    severity: Severity
    fact: int
    text: str


@dataclass(frozen=True)
class Whens:
    """Predicates that hold for some time, the mildest first.

    Each of them is true, false or unknown for a sample.  Unknown leaves its step as it is: a step that stands goes on
    standing, one that runs goes on running.
    """

    claims: tuple[Claim, ...]
    clear: int | None  # the number of the predicate that ends a standing alarm; None: when the claim is false
    clear_text: str
    lasting: Lasting

    @property
    def basis(self) -> str:
        """The condition spelled out."""
        return repr(self)

    @property
    def columns(self) -> Mapping[str, Column]:
        """What must last, and when each predicate was last known."""
        known = {f"known{severity:d}": TIME for severity in self._severities} if self.lasting.for_ms else {}
        return {**self.lasting.columns(self._severities), **known}

    @property
    def _severities(self) -> tuple[Severity, ...]:
        return tuple(claim.severity for claim in self.claims)

    def judge(self, memory: RuleState, seen: Seen) -> NDArray[np.int8]:
        """Return the severity that each device has reached."""
        assert seen.facts is not None
        level = np.zeros(len(seen.places), np.int8)
        for claim in self.claims:
            beyond, known = self._fact(claim, seen)
            stands = seen.standing >= claim.severity
            counts = stands & ~known
            mine = seen.only(known)
            if self.lasting.for_ms:
                mine = mine._replace(before=memory.take(f"known{claim.severity:d}", mine.places))
                memory.put(f"known{claim.severity:d}", mine.places, mine.times)
            counts[known] = self.lasting.fulfilled(memory, claim.severity, mine, beyond[known])
            level[counts] = claim.severity
        return level

    def stirs(self, seen: Seen) -> NDArray[np.bool_] | None:
        """Return the samples after which anything is remembered, None where every sample is."""
        assert seen.facts is not None
        if self.lasting.m:
            return None
        stirs: NDArray[np.bool_] = (seen.facts[:, [claim.fact for claim in self.claims]] != FALSE).any(axis=1)
        if self.clear is not None:
            stirs |= seen.facts[:, self.clear] != TRUE
        return stirs

    def rests(self, memory: RuleState, places: NDArray[np.intp]) -> NDArray[np.bool_]:
        """Return where nothing runs."""
        return self.lasting.rests(memory, self._severities, places)

    def came_true(self, memory: RuleState, place: int, time: int, severity: Severity | None) -> int:
        """Return since when a step holds, or the first of all."""
        return self.lasting.since(memory, place, self._severities if severity is None else (severity,), time)

    def limit(self, severity: Severity) -> float | None:  # noqa: ARG002 - of the seam
        """Return nothing: a predicate has no one limit."""
        return None

    def _fact(self, claim: Claim, seen: Seen) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Return where the claim holds, or goes on holding, and where that is known."""
        assert seen.facts is not None
        fact = seen.facts[:, claim.fact]
        beyond, known = fact == TRUE, fact != UNKNOWN
        if self.clear is not None:
            clear, stands = seen.facts[:, self.clear], seen.standing >= claim.severity
            beyond = np.where(stands, beyond | (clear != TRUE), beyond)
            known = np.where(stands, (fact == TRUE) | (clear != UNKNOWN), known)
        if seen.in_force is not None:
            beyond, known = beyond & seen.in_force, known | ~seen.in_force
        return beyond, known


@dataclass(frozen=True)
class Never:
    """A rule that is switched off for some devices."""

    basis: str = "off"

    @property
    def columns(self) -> Mapping[str, Column]:
        """Nothing."""
        return {}

    def judge(self, memory: RuleState, seen: Seen) -> NDArray[np.int8]:  # noqa: ARG002 - of the seam
        """Return no severity."""
        return np.zeros(len(seen.places), np.int8)

    def came_true(self, memory: RuleState, place: int, time: int, severity: Severity | None) -> int:  # noqa: ARG002
        """Return the sample's own time."""
        return time

    def limit(self, severity: Severity) -> float | None:  # noqa: ARG002 - of the seam
        """Return nothing."""
        return None


@dataclass(frozen=True)
class Varied:
    """A condition that reads differently for some devices; ``which`` of ``variants`` is in the rule's memory."""

    variants: tuple[Condition, ...]  # the rule's own first

    @property
    def basis(self) -> str:
        """All of them spelled out."""
        return " | ".join(variant.basis for variant in self.variants)

    @property
    def columns(self) -> Mapping[str, Column]:
        """What all of them remember, and the number of each device's own."""
        merged = {name: c for variant in self.variants for name, c in variant.columns.items()}
        return {**merged, "variant": PLACE}

    def judge(self, memory: RuleState, seen: Seen) -> NDArray[np.int8]:
        """Return the severity that each device has reached by its own variant."""
        level, which = np.zeros(len(seen.places), np.int8), memory.take("variant", seen.places)
        for n in np.unique(which).tolist():
            mine = which == n
            level[mine] = self.variants[n].judge(memory, seen.only(mine))
        return level

    def came_true(self, memory: RuleState, place: int, time: int, severity: Severity | None) -> int:
        """Return since when the device's own variant holds."""
        return self.at(memory, place).came_true(memory, place, time, severity)

    def limit(self, severity: Severity) -> float | None:
        """Return the limit of the rule itself."""
        return self.variants[0].limit(severity)

    def at(self, memory: RuleState, place: int) -> Condition:
        """Return the variant of one device."""
        return self.variants[int(memory.columns["variant"][place])]


def stirring(condition: Condition, seen: Seen) -> NDArray[np.bool_] | None:
    """Return the samples after which a condition remembers anything, None where it does not say."""
    return condition.stirs(seen) if isinstance(condition, Limits | Whens) else None


def resting(condition: Condition, memory: RuleState, places: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Return where no alarm stands and nothing runs."""
    rests: NDArray[np.bool_] = memory.take("level", places) == 0
    return (
        rests & condition.rests(memory, places) if isinstance(condition, Limits | Whens) else ~rests & rests
    )
