"""Bank: the detectors of one rule, over all series of one metric at once, and when their evidence is an alarm.

Evidence is −log10 p from each detector.  Its combination is compared with a level that follows from the budget: so many
alarms a day for the whole class leave each sample of each series so small a probability.  Hysteresis and delays belong
here and not in the scores.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from rules.calendar import is_holiday
from rules.series import COLUMNS, DAY, REAL, Desk, Look, desks, learn, look_at
from rules.state import NEVER, Column
from telemetry import plugins
from telemetry.text import Text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from rules.evidence import Evidence, Words
    from rules.neighbours import Groups
    from rules.state import RuleState

BLOCK = 16_384
"""Series that are worked through together: what fits the cache, measured."""
FOLDER = "rules.detectors"
WARM_UP = 30
"""Samples of a series before anything but rest and range is judged."""
VERSION = 1
_ALARM = {
    "alarm.hot": Column("|u1", 0),  # of the last three samples, which nearly reached the level
    "alarm.cool": REAL,  # s of little evidence
    "alarm.cool_n": Column("|u1", 0),
    "alarm.held": REAL,  # s that it has stood for reasons that may become normal
    "alarm.raised": REAL,  # what earlier alarms have added to the level
}
CLEAR = 2.0
"""An alarm ends when the evidence is less than that for a while: one in a hundred samples is always as odd."""
_COOL_N, _COOL_S = 3, 1800.0
_PENALTY, _PENALTY_MOST, _PENALTY_S = 0.25, 2.5, 14 * DAY
_NEARLY = 1.0


@dataclass(frozen=True)
class Calendar:
    """Local civil time: when days begin, and which days (since 1970-01-01) are days off; China's by default."""

    utc_offset_s: int = 8 * 3600
    is_off: Callable[[NDArray[np.int64]], NDArray[np.bool_]] = is_holiday


def weekends(days: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which days (since 1970-01-01) are Saturdays and Sundays."""
    off: NDArray[np.bool_] = (days + 3) % 7 >= 5  # 1970-01-01 was a Thursday
    return off


class Sample(NamedTuple):
    """One known sample of each of n series, none twice; UTC ms and the metric's unit."""

    places: NDArray[np.intp]
    values: NDArray[np.float64]
    times: NDArray[np.int64]
    before: NDArray[np.int64]
    standing: NDArray[np.int8]
    rows: NDArray[np.float64] | None = None  # (n, d): of a rule that names several metrics


class Verdict:
    """What a bank says of n samples."""

    def __init__(self, size: int, names: Sequence[str]) -> None:
        self.names = names
        self.score = np.zeros(size, np.float32)  # combined −log10 p
        self.level = np.zeros(size, np.float32)  # from which on it is an alarm
        self.alarm = np.zeros(size, bool)
        self.evidence = np.zeros((len(names), size), np.float32)
        self.parts: list[tuple[int, Desk, Look]] = []

    def why(self, n: int, detectors: Mapping[str, Evidence], words: Words) -> tuple[str, Text]:
        """Return the strongest detector for the nth sample and what it says, with what the neighbours show."""
        start, desk, look = max((p for p in self.parts if p[0] <= n), key=lambda p: p[0])
        name = self.names[int(np.argmax(self.evidence[:, n]))]
        told = detectors[name].tell(desk, look, n - start, words)
        if look.nearby is None or name == "peers" or not np.isfinite(look.nearby[n - start]):
            return name, told
        nearby = words.number(float(look.nearby[n - start]))
        return name, Text(f"{told.zh}；邻近设备为{nearby}", f"{told.en}; neighbours show {nearby}")


class Bank:
    """Detectors that share one idea of what is usual."""

    def __init__(self, names: Sequence[str] = (), calendar: Calendar | None = None) -> None:
        found: dict[str, Evidence] = {
            name: plugins.load(FOLDER, name).Detector() for name in names or plugins.names(FOLDER)
        }
        self.detectors = {name: d for name, d in found.items() if names or not d.about.wide}
        self.names = tuple(self.detectors)
        self._calendar = calendar or Calendar()
        own = {key: c for d in self.detectors.values() for key, c in d.columns.items()}
        self.columns: Mapping[str, Column] = {**COLUMNS, **_ALARM, **own}
        self.basis = f"anomaly {VERSION} {' '.join(self.names)}"

    @property
    def bytes_per_series(self) -> int:
        """What a series costs, beside the nine bytes that every rule remembers."""
        return sum(np.dtype(c.kind).itemsize * c.width for c in self.columns.values())

    def sweep(
        self,
        memory: RuleState,
        seen: Sample,
        budget: Callable[[NDArray[Any]], Any],
        groups: Groups | None = None,
    ) -> Verdict:
        """Score samples, then learn from them; ``budget`` turns periods (s) into levels.

        ``groups`` tells for each place of the memory who its neighbours are.  The times of the samples are in ``judged`` already.
        """
        verdict = Verdict(len(seen.places), self.names)
        start = 0
        for desk in desks(memory, self.columns, seen.places, BLOCK):
            end = min(start + BLOCK, len(seen.places))
            part = slice(start, end)
            look = look_at(
                desk, seen.values[part], seen.times[part], seen.before[part], seen.standing[part] > 0,
                self._calendar.is_off, self._calendar.utc_offset_s,
            )  # fmt: skip
            look.row = None if seen.rows is None else seen.rows[part]
            verdict.parts.append((start, desk, look))
            start = end
        if groups is not None and not groups.is_lonely and "peers" in self.names:
            _compare(memory, verdict, groups)
        for start, desk, look in verdict.parts:
            part = slice(start, start + len(look.v))
            found = verdict.evidence[:, part]
            for row, detector in enumerate(self.detectors.values()):
                found[row] = detector.score(desk, look)
            score = np.where(look.count >= WARM_UP, combined(found), 0)
            level = budget(look.period) + desk["alarm.raised"]
            verdict.score[part], verdict.level[part] = score, level
            rests = found[self.names.index("stuck")] >= CLEAR if "stuck" in self.names else np.False_
            look.settled = _settled(desk, look, rests)
            verdict.alarm[part] = _decide(desk, look, score, level)
            if look.settled.any():
                for detector in self.detectors.values():
                    detector.settle(desk, look.settled)
            learn(desk, look)
        return verdict


def _compare(memory: RuleState, verdict: Verdict, groups: Groups) -> None:
    """Tell each look what the neighbours show, those of this very sweep among them."""
    for _, desk, look in verdict.parts:
        desk["peers.z"] = np.clip(look.z, -1e6, 1e6)
        desk["peers.ref"] = np.clip(look.err_ref / look.scale_ref, -1e6, 1e6)
        desk["peers.x"] = look.x
    judged, period = memory.columns["judged"], memory.columns["period"]
    newest = max(int(look.time.max()) for _, _, look in verdict.parts)
    lately = (judged != NEVER) & (newest - judged <= 3000 * np.nan_to_num(period, nan=0.0) + 1000)
    found = [groups.medians(memory.columns[name], lately) for name in ("peers.z", "peers.ref", "peers.x")]
    for _, desk, look in verdict.parts:
        look.common, look.common_ref, look.nearby = (column[desk.at] for column in found)


def combined(evidence: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the evidence of several detectors, (k, n), as one: the strongest, and a third of the next.

    They lean on the same samples, so that their sum (Fisher 1932) would count one oddity several times.
    """
    if len(evidence) == 1:
        only: NDArray[np.float32] = evidence[0]
        return only
    most, next_to = np.maximum(evidence[0], evidence[1]), np.minimum(evidence[0], evidence[1])
    for row in evidence[2:]:
        np.maximum(next_to, np.minimum(most, row), out=next_to)
        np.maximum(most, row, out=most)
    both: NDArray[np.float32] = most + np.maximum(next_to - 1, 0) / 3
    return both


def level_of(budget_per_day: float, series: float, detectors: int) -> Callable[[NDArray[Any]], Any]:
    """Return how a budget for all ``series`` becomes the level of one, by its period in seconds."""
    share = budget_per_day / max(series, 1.0) / max(detectors, 1)

    def level(period: NDArray[Any]) -> Any:
        samples = DAY / np.clip(np.nan_to_num(period, nan=60.0), 1.0, DAY)
        return np.clip(-np.log10(share / samples), 3.0, 11.0).astype(np.float32)

    return level


def _settled(desk: Desk, look: Look, rests: Any) -> NDArray[np.bool_]:
    """Return where an alarm has stood for a day, not because of rest: that is the new normal, or alarms would never end."""
    held = np.where(look.standing & ~rests, desk["alarm.held"] + look.share, 0)
    settled: NDArray[np.bool_] = held > DAY
    desk["alarm.held"] = np.where(settled, 0, held)
    return settled


def _decide(
    desk: Desk, look: Look, score: NDArray[np.float32], level: NDArray[np.float32]
) -> NDArray[np.bool_]:
    """Return where an alarm stands now.

    It begins at once where the level is reached, and where two of three samples nearly reach it; it ends when
    three samples in a row over half an hour show little.
    """
    nearly = score >= level - _NEARLY
    hot = (desk["alarm.hot"] << 1 | nearly) & 7
    twice = nearly & ((hot == 7) | (hot == 5) | (hot == 3))
    begins = ~look.standing & ((score >= level) | twice)
    quiet = score < CLEAR
    cool = np.where(quiet, desk["alarm.cool"] + look.share, 0)
    cool_n = np.where(quiet, np.minimum(desk["alarm.cool_n"], 200) + 1, 0)
    ends = (
        look.standing & (cool_n >= _COOL_N) & (cool >= np.minimum(_COOL_S, 12 * np.nan_to_num(look.period)))
    )
    ends |= look.settled
    raised = desk["alarm.raised"] * np.exp(-look.share / np.float32(_PENALTY_S))
    desk["alarm.raised"] = np.minimum(raised + _PENALTY * begins, _PENALTY_MOST)
    desk["alarm.hot"], desk["alarm.cool"], desk["alarm.cool_n"] = hot, cool, cool_n
    stands: NDArray[np.bool_] = (look.standing & ~ends) | begins
    return stands
