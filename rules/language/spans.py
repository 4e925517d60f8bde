"""Terms over a stretch of time: ``rate`` and ``increase``.

Each keeps, for each device, up to eight samples of the past, an eighth of the stretch apart.  So what is called "five
minutes ago" is the oldest sample in the last five minutes; it lies between 4:22 and 5:00 ago where samples come often
enough.  Memory is bounded whatever the period of the device is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from rules.state import NEVER, TIME, VALUE, Column

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from rules.language.measure import Measure
    from rules.language.terms import Look, Numbers, Term

_SLOTS = 8
_MINUTE_MS = 60_000


@dataclass(frozen=True)
class Rate:
    """How fast a term changes, a minute: from the oldest sample in the stretch to this one.

    Unknown while the stretch is covered for less than half.
    """

    key: str
    term: Term
    span_ms: int
    measure: Measure

    @property
    def columns(self) -> Mapping[str, Column]:
        """What it remembers."""
        return _ring(self.key)

    def of(self, look: Look) -> Numbers:
        """Return units a minute."""
        values = self.term.of(look)
        oldest, since = _oldest(self.key, look, values, self.span_ms)
        with np.errstate(invalid="ignore", divide="ignore"):
            rate: Numbers = (values - oldest) / (since / _MINUTE_MS)
        rate[since < self.span_ms / 2] = np.nan
        return rate


@dataclass(frozen=True)
class Increase:
    """How much a counter has grown in the stretch, or in that part of it that samples cover.

    A counter that falls below half of what it was has begun anew at 0; a smaller fall is none of its doing and counts for
    nothing.  Known from the second sample in the stretch on: what is not covered can
    only add to it.
    """

    key: str
    term: Term
    span_ms: int
    measure: Measure

    @property
    def columns(self) -> Mapping[str, Column]:
        """What it remembers: the counter, and its growth since the first sample."""
        return {**_ring(self.key), f"{self.key}.was": VALUE, f"{self.key}.sum": VALUE}

    def of(self, look: Look) -> Numbers:
        """Return the growth, in the counter's unit."""
        values, was = self.term.of(look), look.take(f"{self.key}.was")
        anew = np.where(values < was / 2, values, 0.0)  # it fell: it began anew, or it trembles
        grown = np.where(values >= was, values - was, anew)
        total = np.nan_to_num(look.take(f"{self.key}.sum")) + np.where(np.isnan(was), 0.0, grown)
        known = ~np.isnan(values)
        look.put(f"{self.key}.was", np.where(known, values, was))
        look.put(f"{self.key}.sum", np.where(known, total, look.take(f"{self.key}.sum")))
        oldest, since = _oldest(self.key, look, np.where(known, total, np.nan), self.span_ms)
        increase: Numbers = np.where(since > 0, total - oldest, np.nan)
        return increase


def _ring(key: str) -> dict[str, Column]:
    return {
        name: column
        for n in range(_SLOTS)
        for name, column in ((f"{key}.t{n}", TIME), (f"{key}.v{n}", VALUE))
    }


def _oldest(key: str, look: Look, values: Numbers, span_ms: int) -> tuple[Numbers, NDArray[np.int64]]:
    """Return the oldest value in the stretch and how long ago it was (0: none), and keep this one."""
    now = look.times
    times = np.stack([look.take(f"{key}.t{n}") for n in range(_SLOTS)])
    kept = np.stack([look.take(f"{key}.v{n}") for n in range(_SLOTS)])
    inside = (times != NEVER) & (now - times <= span_ms) & (times < now)
    slot = np.where(inside, times, np.iinfo(np.int64).max).argmin(axis=0)
    rows = np.arange(len(now))
    some = inside.any(axis=0)
    oldest = np.where(some, kept[slot, rows], np.nan)
    since = np.where(some, now - times[slot, rows], 0)
    due = ~np.isnan(values) & (now - times.max(axis=0, initial=NEVER) >= span_ms / _SLOTS)
    drop = times.argmin(axis=0)
    for n in range(_SLOTS):
        mine = due & (drop == n)
        if mine.any():
            look.put(f"{key}.t{n}", np.where(mine, now, times[n]))
            look.put(f"{key}.v{n}", np.where(mine, values, kept[n]))
    return oldest, since
