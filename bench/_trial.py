"""Detectors against what is known: series played in time order, and their alarms held beside labelled spans."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from rules.bank import Bank, Calendar, Sample, level_of
from rules.state import NEVER, RuleState

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from rules.neighbours import Groups

MONTH_MS, HOUR_MS = 30.4 * 86_400_000, 3_600_000


def play(
    bank: Bank,
    times: NDArray[np.int64],
    values: NDArray[np.float64],
    budget: float,
    groups: Groups | None = None,
    rows: NDArray[np.float64] | None = None,
) -> NDArray[np.bool_]:
    """Return where an alarm stands, (n, k), for n samples of each of k series; a ``budget`` a day for each.

    ``times`` and ``values`` are (n, k), NaN unknown; ``rows`` (n, k, d).
    """
    count = values.shape[1]
    memory, level = RuleState.new(bank.basis, bank.columns, count), level_of(budget, 1, len(bank.names))
    standing, flags = np.zeros(count, np.int8), np.zeros(values.shape, bool)
    judged = np.full(count, NEVER, np.int64)
    for n in range(len(times)):
        places = np.flatnonzero(np.isfinite(values[n]) & (times[n] > judged))
        if len(places):
            row = None if rows is None else rows[n][places]
            sample = Sample(
                places, values[n][places], times[n][places], judged[places], standing[places], row
            )
            memory.put("judged", places, times[n][places])
            standing[places] = bank.sweep(memory, sample, level, groups).alarm
            judged[places] = times[n][places]
        flags[n] = standing > 0
    return flags


def make_bank(names: tuple[str, ...] = ()) -> Bank:
    """Return a bank that knows local time as the simulated city does."""
    return Bank(names, Calendar())


def spans(mask: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Return the runs of true values, the end not included."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], mask.astype(np.int8), [0]])))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


@dataclass
class Tally:
    """Found, missed and imagined."""

    events: int = 0
    found: int = 0
    alarms: int = 0
    false: int = 0
    months: float = 0.0
    flagged: float = 0.0
    """Months that alarms stood outside of what is labelled."""
    delays_h: list[float] = field(default_factory=list)

    def add(
        self, times: NDArray[np.int64], flags: NDArray[np.bool_], labels: NDArray[np.bool_], after_ms: float
    ) -> None:
        """Count one series: all arrays (n,).

        An event is found by an alarm that stands at one of its samples or the two after it.  An alarm is false when nothing
        labelled lies between ``after_ms`` before its beginning and its end: what a repair makes jump is no news.
        """
        events, alarms = spans(labels), spans(flags)
        ends = np.array([times[last - 1] for _, last in events], np.float64)
        starts = np.array([times[first] for first, _ in events], np.float64)
        self.events += len(events)
        self.alarms += len(alarms)
        for first, last in events:
            hits = np.flatnonzero(flags[first : last + 2])
            if len(hits):
                self.found += 1
                self.delays_h.append(max(0.0, float(times[first + hits[0]] - times[first])) / HOUR_MS)
        excused = np.zeros(len(times), bool)
        for first, last in zip(starts, ends, strict=True):
            excused |= (times >= first) & (times <= last + after_ms)
        for first, last in alarms:
            self.false += not excused[first:last].any()
        self.months += float(times[-1] - times[0]) / MONTH_MS
        self.flagged += float((flags & ~excused).mean()) * float(times[-1] - times[0]) / MONTH_MS

    @property
    def recall(self) -> float:
        """Share of the events that were found."""
        return self.found / max(self.events, 1)

    @property
    def precision(self) -> float:
        """Share of the alarms that were not false."""
        return 1 - self.false / max(self.alarms, 1)

    def figures(self) -> Iterator[tuple[str, float, str]]:
        """Return name, value and unit of each number."""
        yield "precision", self.precision, "share"
        yield "recall", self.recall, "share"
        yield "events", self.events, "count"
        yield "delay_h_median", float(np.median(self.delays_h)) if self.delays_h else float("nan"), "h"
        yield "false_per_device_month", self.false / self.months, "1/month"
        yield "flagged_outside", self.flagged / self.months, "share"
