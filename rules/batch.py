"""Batch: a frame as the rules of its class go through it."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from telemetry.quality import ABSENT, UNCERTAIN_FROM

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from rules.frame import Frame


class MetricColumn(NamedTuple):
    """One metric of the n rows of a frame."""

    values: NDArray[np.float64]  # NaN where it is unknown
    spoken: NDArray[np.bool_]  # the row speaks of it, well or badly
    is_spoken: bool  # every row does
    known: NDArray[np.bool_]


class Batch:
    """The n rows of a frame, with the place of each row's device in the state."""

    def __init__(self, frame: Frame, places: NDArray[np.intp]) -> None:
        """``places`` (devices,) tells where each of the frame's devices is in the state."""
        self.frame, self.device_places, self.places = frame, places, places[frame.index]
        self.is_single = len(frame.devices) == len(frame)  # no device twice
        self._columns: dict[int, MetricColumn] = {}
        self._order: NDArray[np.intp] | None = None

    def __len__(self) -> int:
        return len(self.frame)

    @property
    def times(self) -> NDArray[np.int64]:
        """UTC ms of each row."""
        return self.frame.time

    @property
    def order(self) -> NDArray[np.intp]:
        """The rows by device, each device's in time order; equal times in the order they came."""
        if self._order is None:
            single = np.arange(len(self))
            self._order = single if self.is_single else np.lexsort((self.frame.time, self.frame.index))
        return self._order

    def moved(self, places: NDArray[np.intp]) -> Batch:
        """Return the same rows with other places, shape (n,)."""
        found = copy.copy(self)
        found.places = places
        return found

    def column(self, place: int) -> MetricColumn:
        """Return the metric of a column of the class."""
        found = self._columns.get(place)
        if found is None:
            values, quality = self.frame.values[:, place], self.frame.quality[:, place]
            known = (quality < UNCERTAIN_FROM) & np.isfinite(values)
            spoken = quality != ABSENT
            found = MetricColumn(np.where(known, values, np.nan), spoken, bool(spoken.all()), known)
            self._columns[place] = found
        return found

    def namer(self, rows: NDArray[np.intp]) -> Callable[[int], str]:
        """Return what names the device of the nth of ``rows``."""
        return lambda n: self.frame.devices[self.frame.index[rows[n]]]


def in_rounds(rows: NDArray[np.intp], device: NDArray[np.integer[Any]]) -> list[NDArray[np.intp]]:
    """Split ``rows``, of which the nth is of ``device[n]`` and which are sorted by it, so that none comes twice."""
    if not len(rows):
        return []
    begins = np.where(np.diff(device, prepend=-1) != 0, np.arange(len(rows)), 0)
    nth = np.arange(len(rows)) - np.maximum.accumulate(begins)
    if not nth.any():
        return [rows]
    return np.split(rows[np.argsort(nth, kind="stable")], np.cumsum(np.bincount(nth))[:-1])
