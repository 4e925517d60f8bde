"""What is usual for a series: its pace, level, spread and season, learned sample by sample.

All memory is wall-clock time: a constant that means eight hours of five-minute data would mean two of one-minute
data.  Weights are ``1 - exp(-dt / tau)``, or ``1 / n`` while there is less history than that.  Updates are winsorised, so
that one outlier moves nothing far (Huber 1964; measured in docs/anomaly.md).  Nothing of a sample is learned before it has
been scored, so that the scores of a beginning are the beginning of the scores.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from rules.state import NEVER, TIME, VALUE, Column

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from rules.state import RuleState

HOUR, DAY = 3600.0, 86_400.0
REAL = Column("<f4", 0.0)
UNSET = Column("<f4", np.nan)
COLUMNS: Mapping[str, Column] = {
    "origin": VALUE,  # the first value: single precision is of the distance to it
    "born": TIME,
    "count": REAL,
    "period": UNSET,  # median seconds between samples
    "prev": REAL,
    "fast": REAL,  # level of the last hour, without season
    "slow": REAL,  # level of the last days, without season
    "ref": REAL,  # level of the last month, without season
    "dev_ref": REAL,
    "dev_fast": REAL,  # mean absolute distance from each, and between neighbours
    "dev_slow": REAL,
    "dev_step": REAL,
    "quantum": UNSET,  # the smallest step ever seen
    "calm": Column("|u1", 0),  # samples for which steps say nothing, after a gap
    "away": REAL,  # seconds spent far from the slow level
    "hour": Column("|i1", -1),
    "profile": Column("<f4", 0, 48),  # 24 hours, and what a day off adds to each
    "visits": Column("|u1", 0, 48),
}
_SLOW_S, _SPREAD_S, _REF_S, _GAP_PERIODS, _CALM = 2 * DAY, 7 * DAY, 30 * DAY, 8, 3
_NORMAL = 1.2533  # of a normal distribution: standard deviation / mean absolute deviation


class Desk:
    """The columns of a rule's memory at the places that are looked at.

    ``at`` is a slice where the places are consecutive, so that what is taken is a view and nothing is moved.
    """

    def __init__(self, columns: Mapping[str, NDArray[Any]], at: slice | NDArray[np.intp]) -> None:
        self.columns, self.at = columns, at

    def __getitem__(self, name: str) -> NDArray[Any]:
        taken: NDArray[Any] = self.columns[name][self.at]
        return taken

    def __setitem__(self, name: str, values: Any) -> None:
        self.columns[name][self.at] = values

    def cells(self, name: str, slot: NDArray[Any]) -> NDArray[Any]:
        """Return one number of each place's many."""
        taken: NDArray[Any] = self.columns[name][self._cells(slot)]
        return taken

    def put_cells(self, name: str, slot: NDArray[Any], values: Any) -> None:
        """Write one number of each place's many."""
        self.columns[name][self._cells(slot)] = values

    def _cells(self, slot: NDArray[Any]) -> tuple[Any, Any]:
        if (slot == slot[0]).all():  # as in nearly every sweep, and then there is nothing to look up
            return self.at, int(slot[0])
        return np.arange(self.at.start, self.at.stop) if isinstance(self.at, slice) else self.at, slot


def desks(memory: RuleState, names: Mapping[str, Column], places: NDArray[np.intp], block: int) -> list[Desk]:
    """Return the memory at ``places``, in blocks that fit the processor's cache."""
    columns = {name: memory.own(name, places) for name in names}
    if len(places) and int(places[-1]) - int(places[0]) == len(places) - 1 and (np.diff(places) == 1).all():
        first, last = int(places[0]), int(places[-1]) + 1
        return [Desk(columns, slice(n, min(n + block, last))) for n in range(first, last, block)]
    return [Desk(columns, places[n : n + block]) for n in range(0, len(places), block)]


@dataclass
class Look:
    """One sample of each of n series beside what was expected of it; every array has shape (n,).

    ``v`` is the value less the series' origin, as ``expected`` is; errors and scales are in the metric's unit.  A scale
    is the standard deviation that the usual error would have if it were normal.
    """

    x: NDArray[np.float64]
    time: NDArray[np.int64]  # UTC ms
    v: NDArray[np.float32]
    dt: NDArray[np.float32]  # s since the sample before, NaN for the first
    share: NDArray[np.float32]  # s that the sample may teach: dt, three periods at most
    count: NDArray[np.float32]
    age: NDArray[np.float32]  # s since the first sample
    period: NDArray[np.float32]
    calm: NDArray[np.bool_]  # just after a gap
    standing: NDArray[np.bool_]  # an alarm stands
    origin: NDArray[np.float64]
    expected: NDArray[np.float32]
    season: NDArray[np.float32]
    delta: NDArray[np.float32]  # v less the sample before
    err_fast: NDArray[np.float32]
    err_slow: NDArray[np.float32]
    scale_fast: NDArray[np.float32]
    scale_slow: NDArray[np.float32]
    scale_step: NDArray[np.float32]
    err_ref: NDArray[np.float32]
    scale_ref: NDArray[np.float32]
    quantum: NDArray[np.float32]
    hour: NDArray[np.intp]
    off: NDArray[np.bool_]  # a day off
    settled: NDArray[np.bool_] | np.bool_ = np.False_  # what an alarm stood for has become normal
    row: NDArray[np.float64] | None = None  # (n, d): all metrics of a rule that names several, NaN unknown
    common: NDArray[np.float32] | None = None  # what the neighbours deviate by, in scales; NaN unknown
    common_ref: NDArray[np.float32] | None = None  # the same from the level of the last month
    nearby: NDArray[np.float64] | None = None  # what the neighbours show, in the unit

    @property
    def z(self) -> NDArray[np.float32]:
        """Distance from what is usual at this hour, in scales."""
        return self.err_slow / self.scale_slow


def look_at(
    desk: Desk,
    x: NDArray[np.float64],
    time: NDArray[np.int64],
    before: NDArray[np.int64],
    standing: NDArray[np.bool_],
    is_off: Callable[[NDArray[np.int64]], NDArray[np.bool_]],
    utc_offset_s: int,
) -> Look:
    """Compare samples with what their series have taught; learn only what a first sample settles."""
    first = before == NEVER
    if first.any():
        for name, values in (("origin", x), ("born", time)):
            held = desk[name]
            desk[name] = np.where(first, values, held)
    origin, count = desk["origin"].copy(), desk["count"].copy()
    v = (x - origin).astype(np.float32)
    dt = np.where(first, np.nan, (time - before) / 1000).astype(np.float32)
    period = np.where(np.isnan(desk["period"]), dt, desk["period"])
    gap = dt > np.maximum(_GAP_PERIODS * period, HOUR)
    share = np.fmin(dt, 3 * period)
    share[first] = 0
    local = time // 1000 + utc_offset_s
    hours = (local % 86_400) / np.float32(HOUR)
    off = is_off(local // 86_400)
    season = _season(desk, hours.astype(np.float32), off)
    y = v - season
    quantum = np.where(np.isnan(desk["quantum"]), 0, desk["quantum"]).astype(np.float32)
    # what a sensor cannot resolve is no news, nor is a millionth of its value
    floor = np.maximum(0.5 * quantum, 1e-6 * np.abs(x)).astype(np.float32) + np.float32(1e-12)
    young = 1 + 12 / (count + 1)
    age = ((time - desk["born"]) / 1000).astype(np.float32)
    fresh_day = 1 + 2 * np.exp(-age / np.float32(DAY))  # a day's round is not known before it has been seen
    wide = np.sqrt(1 + np.where(gap, dt, 0) / np.float32(_SLOW_S))
    slow = np.where(first, v, desk["slow"])
    fast = np.where(first, v, desk["fast"])
    ref = np.where(first, v, desk["ref"])
    return Look(
        x=x, time=time, v=v, dt=dt, share=share, count=count, age=age, period=period,
        calm=gap | (desk["calm"] > 0) | first, standing=standing, origin=origin,
        expected=slow + season, season=season,
        delta=np.where(first, 0, v - desk["prev"]).astype(np.float32),
        err_fast=y - fast, err_slow=y - slow,
        scale_fast=(_NORMAL * desk["dev_fast"] + floor) * young * wide,
        scale_slow=(_NORMAL * desk["dev_slow"] + floor) * young * wide * fresh_day,
        scale_step=(_NORMAL * desk["dev_step"] + floor) * young * np.sqrt(np.maximum(1, np.nan_to_num(dt / period, nan=1.0))),
        err_ref=y - ref, scale_ref=(_NORMAL * desk["dev_ref"] + floor) * young,
        quantum=quantum, hour=hours.astype(np.intp), off=off,
    )  # fmt: skip


def _season(desk: Desk, hours: NDArray[np.float32], off: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return what the hour adds, between the centres of the two nearest hours; shrunk while seldom seen."""
    place = hours - np.float32(0.5)
    low = np.floor(place).astype(np.intp)
    part = (place - low).astype(np.float32)
    low, high = low % 24, (low + 1) % 24
    season = (1 - part) * _shrunk(desk, low) + part * _shrunk(desk, high)
    if off.any():
        more = (1 - part) * _shrunk(desk, low + 24) + part * _shrunk(desk, high + 24)
        season = season + np.where(off, more, 0)
    told: NDArray[np.float32] = season.astype(np.float32)
    return told


def _shrunk(desk: Desk, slot: NDArray[np.intp]) -> NDArray[Any]:
    seen = desk.cells("visits", slot).astype(np.float32)
    shrunk: NDArray[Any] = desk.cells("profile", slot) * (seen / (seen + 3))
    return shrunk


def weight(share: NDArray[np.float32], tau_s: float, count: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return what a new sample weighs in a mean over the last ``tau_s`` seconds."""
    weights: NDArray[np.float32] = np.maximum(-np.expm1(-share / np.float32(tau_s)), 1 / (count + 1))
    return weights


def learn(desk: Desk, look: Look) -> None:
    """Let samples that have been scored become part of what is usual."""
    first = look.count == 0
    clip = np.where(look.count < 20, 20, np.where(look.standing, 2, 4)).astype(np.float32)
    a, a_ref = weight(look.share, _SPREAD_S, look.count), weight(look.share, _REF_S, look.count)
    for name, err, scale in (
        ("dev_fast", look.err_fast, look.scale_fast),
        ("dev_slow", look.err_slow, look.scale_slow),
        ("dev_step", look.delta, look.scale_step),
        ("dev_ref", look.err_ref, look.scale_ref),
    ):
        dev = desk[name]
        step = (a_ref if name == "dev_ref" else a) * (np.minimum(np.abs(err), clip * scale) - dev)
        desk[name] = np.where(first, 0, dev + step)
    bound = clip * look.scale_slow
    err = np.clip(look.err_slow, -bound, bound)
    slow = desk["slow"] + weight(look.share, _SLOW_S, look.count) * err
    bound = clip * look.scale_ref
    ref = desk["ref"] + a_ref * np.clip(look.err_ref, -bound, bound)
    quick = np.maximum(np.float32(HOUR / 2), 4 * np.nan_to_num(look.period))
    bound = 2 * clip * look.scale_fast
    fast = desk["fast"] + -np.expm1(-look.share / quick) * np.clip(look.err_fast, -bound, bound)
    y = look.v - look.season
    fast = np.where(first | (look.calm & (look.dt > _GAP_PERIODS * look.period)), y, fast)
    away = np.where(np.abs(look.z) > 4, desk["away"] + look.share, 0)
    settled = look.settled | (away > DAY)  # what has lasted for a day is the new normal
    desk["slow"] = np.where(first | settled, np.where(first, 0, fast), slow)
    desk["ref"] = np.where(look.settled, fast, np.where(first, 0, ref))
    desk["fast"], desk["away"] = fast, np.where(settled, 0, away)
    _learn_season(desk, look, np.where(look.standing, 0, err))
    _learn_pace(desk, look)
    desk["prev"], desk["count"] = look.v, look.count + 1


def _learn_season(desk: Desk, look: Look, err: NDArray[np.float32]) -> None:
    new_hour = desk["hour"] != look.hour
    for extra, rows in ((0, None), (24, look.off)):
        if rows is not None and not rows.any():
            continue
        slot = look.hour + extra
        seen = desk.cells("visits", slot)
        pace = np.minimum(look.share, np.float32(HOUR)) / np.float32(HOUR)
        step = pace / (1 + np.minimum(seen, 14)) * err
        count = seen + (new_hour & (seen < 255))
        if rows is not None:
            step, count = np.where(rows, step, 0), np.where(rows, count, seen)
        desk.put_cells("profile", slot, desk.cells("profile", slot) + step)
        desk.put_cells("visits", slot, count)
    desk["hour"] = look.hour


def _learn_pace(desk: Desk, look: Look) -> None:
    known = look.dt > 0
    step = np.where(look.dt > 1.05 * look.period, 1.05, np.where(look.dt < 0.95 * look.period, 1 / 1.05, 1))
    desk["period"] = np.where(known, look.period * step, desk["period"])
    moved = np.abs(look.delta)
    moved = np.where(moved > 0, moved, np.nan)
    desk["quantum"] = np.fmin(desk["quantum"], moved)
    gap = look.dt > np.maximum(_GAP_PERIODS * look.period, HOUR)
    calm = desk["calm"]
    desk["calm"] = np.where(gap, _CALM, calm - (calm > 0))
