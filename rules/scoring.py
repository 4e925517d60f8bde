"""Scores of series that are no device's: rows of a file, a notebook's arrays, a labelled set; in time order, row by row.

The same bank as in a rule, with the same defaults for every file: nothing here looks ahead, or knows how long or how wide a
series will be.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from rules.bank import Bank, Calendar, Sample, level_of, weekends
from rules.evidence import Words
from rules.state import RuleState
from telemetry.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

METRICS = 8
"""As many as are judged together."""
TOGETHER = "*"
BUDGET = 0.01
"""Alarms a day for each series where nobody says another: one in a hundred days."""


class Point(NamedTuple):
    """What is said of one value."""

    time: int  # UTC ms
    series: str
    value: float
    flag: bool  # an alarm stands
    score: float  # combined −log10 p, 0 while learning or where the value is unknown
    detector: str  # the strongest, where an alarm began here
    because: Text | None  # its reason, where an alarm began here


class Scorer:
    """Scores rows of values, one for each of ``names``; a row's values share its time.

    With ``together`` the first eight are judged together as well, as one more series named :data:`TOGETHER`.
    """

    def __init__(
        self,
        names: Sequence[str],
        *,
        detectors: Sequence[str] = (),
        budget_per_day: float = BUDGET,
        calendar: Calendar | None = None,
        together: bool = False,
    ) -> None:
        self._names, calendar = tuple(names), calendar or Calendar(0, weekends)
        words = tuple(Words(Text(name, name)) for name in names)
        self._each = _Track(Bank(detectors, calendar), words, budget_per_day)
        self._joint: _Track | None = None
        if together:
            joint = (Words(Text(TOGETHER, TOGETHER), "", words[:METRICS]),)
            self._joint = _Track(Bank(("hotelling",), calendar), joint, budget_per_day)

    def feed(self, time_ms: int, values: Sequence[float] | NDArray[np.float64]) -> list[Point]:
        """Return a point for each name.

        NaN and infinity are unknown: they score 0 and leave a standing alarm as it is.  So does a row that is not newer than the
        newest before it.
        """
        row = np.asarray(values, np.float64)
        told = self._each.judge(time_ms, row, None)
        points = [Point(time_ms, name, float(row[n]), *told[n]) for n, name in enumerate(self._names)]
        if self._joint is not None:
            known = np.where(np.isfinite(row), row, np.nan)[:METRICS]
            some = np.array([0.0 if np.isfinite(known).any() else np.nan])
            points.append(Point(time_ms, TOGETHER, np.nan, *self._joint.judge(time_ms, some, known)[0]))
        return points


class _Track:
    """A bank over some series that are always sampled together."""

    def __init__(self, bank: Bank, words: Sequence[Words], budget_per_day: float) -> None:
        self._bank, self._words, self._size = bank, words, len(words)
        self._memory = RuleState.new(bank.basis, bank.columns, self._size)
        self._level = level_of(budget_per_day, 1, len(bank.names))
        self._standing = np.zeros(self._size, np.int8)

    def judge(
        self, time_ms: int, row: NDArray[np.float64], wide: NDArray[np.float64] | None
    ) -> list[tuple[bool, float, str, Text | None]]:
        """Return flag, score, detector and reason of each series."""
        judged = self._memory.columns["judged"]
        places = np.flatnonzero(np.isfinite(row) & (time_ms > judged))
        told: dict[int, tuple[float, str, Text | None]] = {}
        if len(places):
            sample = Sample(
                places, row[places], np.full(len(places), time_ms), judged[places], self._standing[places],
                None if wide is None else wide[None],
            )  # fmt: skip
            self._memory.put("judged", places, time_ms)
            verdict = self._bank.sweep(self._memory, sample, self._level)
            begins = verdict.alarm & (self._standing[places] == 0)
            self._standing[places] = verdict.alarm
            for n, place in enumerate(places.tolist()):
                why = verdict.why(n, self._bank.detectors, self._words[place]) if begins[n] else ("", None)
                told[place] = (round(float(verdict.score[n]), 3), *why)
        return [(bool(self._standing[n]), *told.get(n, (0.0, "", None))) for n in range(self._size)]


def score(
    times_ms: Iterable[int], values: NDArray[np.float64], *, budget_per_day: float = BUDGET
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return scores and flags of one series, both (n,): each from the values up to its own alone.

    >>> times = [900_000 * n for n in range(400)]
    >>> values = np.sin(np.arange(400) / 9) + np.arange(400) % 3 / 20
    >>> values[300] = 40
    >>> scores, flags = score(times, values)
    >>> bool(flags[300]), bool(flags[:300].any())
    (True, False)
    """
    scorer = Scorer(["value"], budget_per_day=budget_per_day)
    points = [scorer.feed(int(t), [v])[0] for t, v in zip(times_ms, values, strict=True)]
    return np.array([p.score for p in points]), np.array([p.flag for p in points], bool)
