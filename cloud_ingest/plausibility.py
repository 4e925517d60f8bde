"""Plausibility: what a value that can be decoded is still worth.

================================  ==============  =======================================================
a value outside ``low`` … ``high``  IMPLAUSIBLE     the range of its class
a jump beyond ``max_rate``          IMPLAUSIBLE     until a second sample confirms the new level
no change for ``rests_s``           STUCK           until it moves
no value, but called good           DEVICE_FAULT
================================  ==============  =======================================================

``max_rate`` and ``rests_s`` are set in a class only where nothing real behaves so; a metric that tells of a fire
has neither, so that no rule is made blind to what it is there for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from telemetry.quality import UNCERTAIN_FROM, Quality

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from device_profiles.vocabulary import DeviceClass, Metric
    from rules.frame import Frame


class Plausibility:
    """Remembers two levels and a time for each device and metric that has a rate or a rest; forgets at a restart."""

    def __init__(self, classes: Mapping[str, DeviceClass]) -> None:
        self._classes = {name: _Watch(list(c.metrics.values())) for name, c in classes.items()}

    def judge(self, frame: Frame) -> None:
        """Write what is found into ``frame.quality``; what is remembered is provisional until :meth:`settle`."""
        self._classes[frame.device_class].judge(frame)

    def settle(self, *, committed: bool) -> None:
        """Keep what was judged since the last time, or forget it: the same frames will come again."""
        for watch in self._classes.values():
            watch.settle(committed=committed)


class _Watch:
    def __init__(self, metrics: Sequence[Metric]) -> None:
        self._low = np.array([metric.low for metric in metrics])
        self._high = np.array([metric.high for metric in metrics])
        self._watched = np.flatnonzero([bool(metric.max_rate or metric.rests_s) for metric in metrics])
        watched = [metrics[n] for n in self._watched.tolist()]
        self._rate = np.array([metric.max_rate or np.inf for metric in watched]) / 1000  # a millisecond
        self._rests = np.array([metric.rests_s * 1000 or np.inf for metric in watched])
        self._places: dict[str, int] = {}
        none = np.zeros((0, len(watched)))
        self._level, self._doubted, self._at, self._since = none, none, none, none
        self._before: list[tuple[NDArray[np.intp], tuple[NDArray[np.float64], ...]]] = []

    def settle(self, *, committed: bool) -> None:
        if not committed:
            for places, were in reversed(self._before):
                self._level[places], self._doubted[places], self._at[places], self._since[places] = were
        self._before.clear()

    def judge(self, frame: Frame) -> None:
        believed = frame.quality < UNCERTAIN_FROM
        there = np.isfinite(frame.values)
        with np.errstate(invalid="ignore"):
            outside = (frame.values < self._low) | (frame.values > self._high)
        frame.quality[believed & there & outside] = Quality.IMPLAUSIBLE
        frame.quality[believed & ~there] = Quality.DEVICE_FAULT
        if len(self._watched):
            places = self._room(frame.devices)
            for rows in frame.rounds():
                self._watch(frame, rows, places[frame.index[rows]])

    def _watch(self, frame: Frame, rows: NDArray[np.intp], places: NDArray[np.intp]) -> None:
        block = np.ix_(rows, self._watched)
        values, quality, time = frame.values[block], frame.quality[block], frame.time[rows][:, None]
        level, doubted = self._level[places], self._doubted[places]
        at, since = self._at[places], self._since[places]
        self._before.append((places, (level, doubted, at, since)))
        with np.errstate(invalid="ignore"):
            known = (quality < UNCERTAIN_FROM) & ~(time <= at)  # what is late is not part of the story
            allowed = self._rate * np.maximum(time - at, 1000)
            jumps = known & (np.abs(values - level) > allowed)
            confirmed = jumps & (np.abs(values - doubted) <= allowed)
            jumps &= ~confirmed
            moved = known & ~jumps & ~(values == level)
            since = np.where(moved | np.isnan(since), time, since)
            stuck = known & ~jumps & (time - since >= self._rests)
        quality[jumps], quality[stuck] = Quality.IMPLAUSIBLE, Quality.STUCK
        frame.quality[block] = quality
        taken = known & ~jumps
        self._level[places] = np.where(taken, values, level)
        self._at[places] = np.where(known, time, at)
        self._since[places] = np.where(known, since, self._since[places])
        self._doubted[places] = np.where(jumps, values, np.where(taken, np.nan, doubted))

    def _room(self, devices: Sequence[str]) -> NDArray[np.intp]:
        found = np.array([self._places.setdefault(name, len(self._places)) for name in devices], np.intp)
        more = 2 * len(self._places) - len(self._level) if len(self._places) > len(self._level) else 0
        if more:
            fresh = np.full((more, len(self._watched)), np.nan)
            self._level, self._doubted, self._at, self._since = (
                np.concatenate([array, fresh])
                for array in (self._level, self._doubted, self._at, self._since)
            )
        return found
