"""Terms: bound nodes that can be worked out for all rows of a frame at once.

Numbers are float64 with NaN for *unknown*.  Truth is Kleene's, as int8: 0 false, 1 unknown, 2 true, so that ``and``
is the minimum, ``or`` the maximum and ``not`` is ``2 - x``.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from device_profiles.vocabulary import Metric
    from rules.language.measure import Measure

    Numbers = NDArray[np.float64]
    Truth = NDArray[np.int8]

FALSE, UNKNOWN, TRUE = 0, 1, 2


class Look(Protocol):
    """What terms are worked out on: n rows of one device each, or of all devices of another class."""

    @property
    def times(self) -> NDArray[np.int64]:
        """UTC ms of the rows, shape (n,)."""

    def metric(self, name: str) -> tuple[Numbers, NDArray[np.bool_]]:
        """Return a metric, NaN where it is unknown, and where the device never had it; both of shape (n,)."""

    def take(self, name: str) -> NDArray[Any]:
        """Return what the rule remembers under ``name`` for the rows' devices."""

    def put(self, name: str, values: NDArray[Any]) -> None:
        """Remember it."""

    def elsewhere(self, term: Elsewhere) -> Numbers:
        """Return the metric of another device for each row."""

    def count(self, term: Count) -> Numbers:
        """Return how many devices fulfil the term's predicate, for each row."""


class Term(Protocol):
    """A number for each row."""

    @property
    def measure(self) -> Measure:
        """Its unit."""

    def of(self, look: Look) -> Numbers:
        """Return the numbers, shape (n,)."""


class Predicate(Protocol):
    """A truth for each row."""

    def truth(self, look: Look) -> Truth:
        """Return the truth, shape (n,)."""


@dataclass(frozen=True)
class Constant:
    """A number that is written."""

    value: float
    measure: Measure

    def of(self, look: Look) -> Numbers:
        """Return it for every row."""
        return np.full(len(look.times), self.value)


@dataclass(frozen=True)
class OwnMetric:
    """A metric of the row's device."""

    metric: Metric
    measure: Measure

    def of(self, look: Look) -> Numbers:
        """Return its values."""
        return look.metric(self.metric.name)[0]

    def never(self, look: Look) -> NDArray[np.bool_]:
        """Return where the device never had it."""
        return look.metric(self.metric.name)[1]


@dataclass(frozen=True)
class Arithmetic:
    """``+ - * /``; division by zero is unknown."""

    sign: str
    left: Term
    right: Term
    measure: Measure

    def of(self, look: Look) -> Numbers:
        """Return the result."""
        left, right = self.left.of(look), self.right.of(look)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            found: Numbers = _ARITHMETIC[self.sign](left, right)
        found[~np.isfinite(found)] = np.nan
        return found


@dataclass(frozen=True)
class Most:
    """``max``, ``min``, ``avg`` over several terms: metrics that the device never had are left out."""

    how: str
    terms: tuple[Term, ...]
    measure: Measure

    def of(self, look: Look) -> Numbers:
        """Return the result; one unknown makes it unknown, none at all too."""
        parts = np.stack([term.of(look) for term in self.terms])
        out = np.stack(
            [
                term.never(look) if isinstance(term, OwnMetric) else np.zeros(parts.shape[1], bool)
                for term in self.terms
            ]
        )
        if self.how == "avg":
            count = np.maximum((~out).sum(axis=0), 1)
            found: Numbers = np.where(out, 0.0, parts).sum(axis=0) / count
        else:
            worst = -np.inf if self.how == "max" else np.inf
            kept = np.where(out, worst, parts)
            found = kept.max(axis=0) if self.how == "max" else kept.min(axis=0)
        found[out.all(axis=0)] = np.nan
        return found


@dataclass(frozen=True)
class Absolute:
    """``abs``."""

    term: Term
    measure: Measure

    def of(self, look: Look) -> Numbers:
        """Return it without its sign."""
        return np.abs(self.term.of(look))


@dataclass(frozen=True)
class Derived:
    """A figure that a standard makes of several metrics, like the air quality index."""

    name: str
    work: Callable[[Mapping[str, Numbers], NDArray[np.int64]], Numbers]
    terms: tuple[OwnMetric, ...]
    measure: Measure

    def of(self, look: Look) -> Numbers:
        """Return the figure of what the device has; unknown when any of that is."""
        given: dict[str, Numbers] = {}
        unknown, never = np.zeros(len(look.times), bool), np.ones(len(look.times), bool)
        for term in self.terms:
            values, out = look.metric(term.metric.name)
            given[term.metric.name] = values
            unknown |= np.isnan(values) & ~out
            never &= out
        found = self.work(given, look.times)
        found[unknown | never] = np.nan
        return found


@dataclass(frozen=True)
class Elsewhere:
    """The metric of the device of another class at the same site or in the same area."""

    scope: str
    device_class: str
    metric: Metric
    measure: Measure
    fresh_ms: int

    def of(self, look: Look) -> Numbers:
        """Return the newest known value there."""
        return look.elsewhere(self)


@dataclass(frozen=True)
class Count:
    """How many devices of a class at the same site or in the same area fulfil a predicate."""

    scope: str
    device_class: str
    predicate: Predicate
    metrics: tuple[str, ...]  # that the predicate asks for
    measure: Measure
    fresh_ms: int

    def of(self, look: Look) -> Numbers:
        """Return the number of those that are known to."""
        return look.count(self)


@dataclass(frozen=True)
class Compare:
    """``< <= > >= == !=``."""

    sign: str
    left: Term
    right: Term

    def truth(self, look: Look) -> Truth:
        """Return how it compares, unknown where a side is."""
        left, right = self.left.of(look), self.right.of(look)
        return known_or(_COMPARISONS[self.sign](left, right), np.isnan(left) | np.isnan(right))


@dataclass(frozen=True)
class HasBit:
    """Whether a flag of a word is set."""

    term: Term
    bit: int

    def truth(self, look: Look) -> Truth:
        """Return it, unknown where the word is."""
        values = self.term.of(look)
        words = np.nan_to_num(values).astype(np.int64)
        return known_or((words >> self.bit) & 1 == 1, np.isnan(values))


@dataclass(frozen=True)
class Joined:
    """``and`` or ``or``."""

    word: str
    parts: tuple[Predicate, ...]

    def truth(self, look: Look) -> Truth:
        """Return Kleene's conjunction or disjunction.  Every part is worked out: some remember."""
        found = np.stack([part.truth(look) for part in self.parts])
        joined: Truth = found.min(axis=0) if self.word == "and" else found.max(axis=0)
        return joined


@dataclass(frozen=True)
class Negated:
    """``not``."""

    part: Predicate

    def truth(self, look: Look) -> Truth:
        """Return the contrary; that of unknown is unknown."""
        return (TRUE - self.part.truth(look)).astype(np.int8)


def known_or(holds: NDArray[np.bool_], unknown: NDArray[np.bool_]) -> Truth:
    """Return ``holds`` as truth, unknown where it is not known."""
    truth = np.where(holds, np.int8(TRUE), np.int8(FALSE))
    truth[unknown] = UNKNOWN
    return truth


_ARITHMETIC: Mapping[str, Callable[[Any, Any], Any]] = {
    "+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv,
}  # fmt: skip
_COMPARISONS: Mapping[str, Callable[[Any, Any], Any]] = {
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge, "==": operator.eq, "!=": operator.ne,
}  # fmt: skip
