"""Frame: one device class and micro-batch as columns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from telemetry.quality import ABSENT

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from device_profiles.vocabulary import DeviceClass
    from telemetry.readings import Reading


@dataclass(frozen=True)
class Frame:
    """Readings of one class, a row each, in the order they came.

    ``index`` int32 (n,): row → place in ``devices``; ``time`` int64 (n,): UTC ms; ``values`` float64 (n, m) in the
    order of the class's metrics, NaN where there is none; ``quality`` uint8 (n, m), :data:`ABSENT` where the
    device did not speak of the metric.
    """

    device_class: str
    devices: tuple[str, ...]
    index: NDArray[np.int32]
    time: NDArray[np.int64]
    values: NDArray[np.float64]
    quality: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.time)

    @property
    def sample_count(self) -> int:
        """Samples in the frame, with or without a value."""
        return int(np.count_nonzero(self.quality != ABSENT))

    @classmethod
    def of(cls, readings: Iterable[Reading], device_class: DeviceClass) -> Frame:
        """Turn readings of one class into columns; every metric must be one of the class."""
        rows = list(readings)
        columns = {name: place for place, name in enumerate(device_class.metrics)}
        places: dict[str, int] = {}
        index = np.empty(len(rows), np.int32)
        time = np.empty(len(rows), np.int64)
        values = np.full((len(rows), len(columns)), np.nan)
        quality = np.full((len(rows), len(columns)), ABSENT, np.uint8)
        for row, reading in enumerate(rows):
            index[row] = places.setdefault(reading.device, len(places))
            time[row] = reading.time
            for name, value in reading.values.items():
                column = columns[name]
                values[row, column] = np.nan if value is None else value
                quality[row, column] = reading.quality.get(name, 0)
        return cls(device_class.name, tuple(places), index, time, values, quality)

    def rounds(self) -> list[NDArray[np.intp]]:
        """Split the rows so that no device comes twice in one part, each device's rows in time order."""
        if len(self.devices) == len(self):
            return [np.arange(len(self))]
        order = np.lexsort((self.time, self.index))
        device = self.index[order]
        starts = np.r_[True, device[1:] != device[:-1]]
        first = np.maximum.accumulate(np.where(starts, np.arange(len(device)), 0))
        nth = np.arange(len(device)) - first
        return [order[nth == n] for n in range(int(nth.max()) + 1)]
