"""Frame: one device class and micro-batch as columns, and how readings become one."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from device_profiles.vocabulary import load_classes
from telemetry.errors import Malformed
from telemetry.quality import ABSENT

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from numpy.typing import NDArray

    from device_profiles.vocabulary import DeviceClass
    from telemetry.readings import MetricName, Reading


@dataclass(frozen=True)
class Frame:
    """Readings of one class, a row each, in the order they came.

    ``index`` int32 (n,): row → place in ``devices``; ``time`` int64 (n,): UTC ms; ``values`` float64 (n, m) in the
    order of the class's metrics, NaN where there is none; ``quality`` uint8 (n, m), :data:`ABSENT` where the
    device did not speak of the metric; ``shift`` int64 (n,): ms that ``time`` was corrected by because the
    sender's clock was wrong, 0 nearly always.
    """

    device_class: str
    devices: tuple[str, ...]
    index: NDArray[np.int32]
    time: NDArray[np.int64]
    values: NDArray[np.float64]
    quality: NDArray[np.uint8]
    shift: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.time)

    @property
    def sample_count(self) -> int:
        """Samples in the frame, with or without a value."""
        return int(np.count_nonzero(self.quality != ABSENT))

    @property
    def nbytes(self) -> int:
        """Bytes of its columns."""
        return sum(a.nbytes for a in (self.index, self.time, self.values, self.quality, self.shift))

    @classmethod
    def of(cls, readings: Iterable[Reading], device_class: DeviceClass) -> Frame:
        """Turn readings of one class into columns; a metric that the class has not is a ``KeyError``."""
        columns = Columns(device_class)
        for reading in readings:
            if not columns.add(reading):
                raise KeyError(*columns.unknown(reading))
        return columns.frame()

    def dump(self) -> bytes:
        """Return the frame as bytes, without the columns that nobody speaks of."""
        spoken = np.flatnonzero((self.quality != ABSENT).any(axis=0))
        return msgspec.msgpack.encode(
            _Stored(
                self.device_class, self.devices, self.index.tobytes(), self.time.tobytes(), spoken.tolist(),
                self.values[:, spoken].tobytes(), self.quality[:, spoken].tobytes(),
                self.shift.tobytes() if self.shift.any() else b"", self.values.shape[1],
            )
        )  # fmt: skip

    @classmethod
    def load(cls, data: bytes) -> Frame:
        """Return the frame that :meth:`dump` wrote; raise :class:`Malformed` for anything else."""
        try:
            told = msgspec.msgpack.decode(data, type=_Stored)
            index, time = np.frombuffer(told.index, np.int32), np.frombuffer(told.time, np.int64)
            # Kept from before its class gained metrics: those are columns at the end, of which nobody spoke.
            known = load_classes().get(told.device_class)
            width = told.width if known is None else max(told.width, len(known.metrics))
            values = np.full((len(time), width), np.nan)
            quality = np.full((len(time), width), ABSENT, np.uint8)
            values[:, told.spoken] = np.frombuffer(told.values).reshape(len(time), len(told.spoken))
            quality[:, told.spoken] = np.frombuffer(told.quality, np.uint8).reshape(
                len(time), len(told.spoken)
            )
            shift = np.frombuffer(told.shift, np.int64) if told.shift else np.zeros(len(time), np.int64)
        except (msgspec.DecodeError, ValueError, IndexError) as error:
            raise Malformed(f"frame: {error}", data) from None
        return cls(told.device_class, told.devices, index, time, values, quality, shift)

    @classmethod
    def joined(cls, frames: Sequence[Frame]) -> Frame:
        """Return frames of one class, at least one, as a single frame with their rows in this order."""
        if len(frames) == 1:
            return frames[0]
        places: dict[str, int] = {}
        index = [
            np.array([places.setdefault(name, len(places)) for name in f.devices], np.int32)[f.index]
            for f in frames
        ]
        rest = (
            np.concatenate([getattr(f, name) for f in frames])
            for name in ("time", "values", "quality", "shift")
        )
        return cls(frames[0].device_class, tuple(places), np.concatenate(index), *rest)

    def rows(self, rows: NDArray[np.intp]) -> Frame:
        """Return a frame of these rows and their devices."""
        used, index = np.unique(self.index[rows], return_inverse=True)
        devices = tuple(self.devices[place] for place in used.tolist())
        rest = (self.time[rows], self.values[rows], self.quality[rows], self.shift[rows])
        return Frame(self.device_class, devices, index.astype(np.int32), *rest)

    def rounds(self) -> list[NDArray[np.intp]]:
        """Split the rows so that no device comes twice in one part, each device's rows in time order.

        Rows of equal device and time keep the order they came in.
        """
        if len(self.devices) == len(self):
            return [np.arange(len(self))]
        order = np.lexsort((self.time, self.index))
        device = self.index[order]
        first = np.maximum.accumulate(np.where(np.diff(device, prepend=-1) != 0, np.arange(len(device)), 0))
        nth = np.arange(len(device)) - first
        by_round = np.argsort(nth, kind="stable")
        return np.split(order[by_round], np.cumsum(np.bincount(nth))[:-1])


class _Stored(msgspec.Struct, array_like=True):
    device_class: str
    devices: tuple[str, ...]
    index: bytes
    time: bytes
    spoken: list[int]  # columns
    values: bytes
    quality: bytes
    shift: bytes
    width: int


@dataclass
class _Layout:
    columns: list[int]
    rows: list[int] = field(default_factory=list)
    values: list[Collection[float | None]] = field(default_factory=list)


class Columns:
    """Readings of one class on their way to be a :class:`Frame`.

    Readings of one profile name the same metrics in the same order.  Each such layout is looked up once and filled
    into the matrix in one stroke: about 0.05 µs a sample, and no object of its own.
    """

    def __init__(self, device_class: DeviceClass) -> None:
        self._class = device_class
        self._columns = {name: place for place, name in enumerate(device_class.metrics)}
        self._places: dict[str, int] = {}
        self._index: list[int] = []
        self._times: list[int] = []
        self._shifts: list[int] = []
        self._layouts: dict[tuple[str, ...], _Layout] = {}
        self._graded: list[tuple[int, Reading]] = []
        self.uploads: list[int] = []
        """Of each row, the number of the upload that it came with."""

    def add(self, reading: Reading, upload: int = 0, shift: int = 0) -> bool:
        """Add a row, ``shift`` ms later than its own time; return False, adding nothing, for an unknown metric."""
        names = tuple(reading.values)
        layout = self._layouts.get(names)
        if layout is None:
            if not self._columns.keys() >= reading.values.keys():
                return False
            layout = self._layouts[names] = _Layout([self._columns[name] for name in names])
        row = len(self._times)
        layout.rows.append(row)
        layout.values.append(reading.values.values())
        self._index.append(self._places.setdefault(reading.device, len(self._places)))
        self._times.append(reading.time + shift)
        self._shifts.append(shift)
        self.uploads.append(upload)
        if reading.quality:
            self._graded.append((row, reading))
        return True

    def unknown(self, reading: Reading) -> set[MetricName]:
        """Return the metrics that the class has not."""
        return reading.values.keys() - self._columns.keys()

    def frame(self) -> Frame:
        """Return the rows as columns, in the order they were added."""
        shape = (len(self._times), len(self._columns))
        values, quality = np.full(shape, np.nan), np.full(shape, ABSENT, np.uint8)
        for layout in self._layouts.values():
            if not layout.columns:
                continue
            block = np.ix_(layout.rows, layout.columns)
            values[block] = _matrix(layout.values, len(layout.columns))
            quality[block] = 0
        for row, reading in self._graded:
            for name, grade in reading.quality.items():
                if name in reading.values:
                    quality[row, self._columns[name]] = grade
        return Frame(
            self._class.name,
            tuple(self._places),
            np.array(self._index, np.int32),
            np.array(self._times, np.int64),
            values,
            quality,
            np.array(self._shifts, np.int64),
        )


def _matrix(rows: list[Collection[float | None]], width: int) -> NDArray[np.float64]:
    try:
        flat = np.fromiter(chain.from_iterable(rows), np.float64, len(rows) * width)
    except TypeError:  # a None among them, which numpy reads as NaN only this way
        flat = np.array(list(chain.from_iterable(rows)), np.float64)
    return flat.reshape(len(rows), width)
