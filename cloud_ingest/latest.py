"""The newest reading of each device, in columns; a row is made only when somebody asks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from telemetry.quality import ABSENT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from numpy.typing import NDArray

    from device_profiles.vocabulary import DeviceClass
    from rules.frame import Frame


class Latest:
    """Written by the pipeline's thread, read by others: they may see a row half new, never a broken one."""

    def __init__(self, classes: Mapping[str, DeviceClass]) -> None:
        self._classes = {name: _Rows(device_class) for name, device_class in classes.items()}
        self._class_of: dict[str, str] = {}
        self.told: Callable[[Frame, int], None] = lambda _frame, _received_ms: None
        """Called with each frame that is noted."""

    def note(self, frame: Frame, received_ms: int) -> None:
        """Take over what is newer than what is known."""
        rows = self._classes[frame.device_class]
        self._class_of.update(dict.fromkeys(frame.devices, frame.device_class))
        rows.note(rows.places(frame.devices)[frame.index], frame, received_ms)
        self.told(frame, received_ms)

    def recall(self, rows: Iterable[Mapping[str, Any]], class_of: Mapping[str, str]) -> None:
        """Take over rows such as :meth:`get` returns, of those devices that have a class and nothing newer."""
        for row in rows:
            device_class = class_of.get(row["device"])
            if device_class is not None:
                self._class_of[row["device"]] = device_class
                self._classes[device_class].load(row)

    def get(self, device: str) -> dict[str, Any] | None:
        """Return ``{device, time, received, values, quality}``, or None for a device that never spoke."""
        name = self._class_of.get(device)
        return None if name is None else self._classes[name].row(device)

    def __getitem__(self, device: str) -> dict[str, Any]:
        row = self.get(device)
        if row is None:
            raise KeyError(device)
        return row

    def values(self) -> Iterator[dict[str, Any]]:
        """Return the row of each device that ever spoke."""
        for device, name in list(self._class_of.items()):
            yield self._classes[name].row(device)


class _Rows:
    """One class: arrays over its devices."""

    def __init__(self, device_class: DeviceClass) -> None:
        self._metrics = list(device_class.metrics)
        self._places: dict[str, int] = {}
        self._time, self._received = np.zeros(0, np.int64), np.zeros(0, np.int64)
        self._values = np.zeros((0, len(self._metrics)))
        self._quality = np.zeros((0, len(self._metrics)), np.uint8)

    def places(self, devices: Iterable[str]) -> NDArray[np.intp]:
        """Return where ``devices`` are, making room for new ones."""
        found = np.array([self._places.setdefault(name, len(self._places)) for name in devices], np.intp)
        more = 2 * len(self._places) - len(self._time) if len(self._places) > len(self._time) else 0
        if more:
            width = len(self._metrics)
            self._received = np.concatenate([self._received, np.zeros(more, np.int64)])
            self._values = np.concatenate([self._values, np.full((more, width), np.nan)])
            self._quality = np.concatenate([self._quality, np.full((more, width), ABSENT, np.uint8)])
            self._time = np.concatenate([self._time, np.full(more, -1, np.int64)])
        return found

    def note(self, places: NDArray[np.intp], frame: Frame, received_ms: int) -> None:
        order = np.argsort(frame.time, kind="stable")  # the newest of a device is written last
        order = order[frame.time[order] >= self._time[places[order]]]
        there = places[order]
        self._values[there], self._quality[there] = frame.values[order], frame.quality[order]
        self._received[there], self._time[there] = received_ms, frame.time[order]

    def load(self, row: Mapping[str, Any]) -> None:
        (place,) = self.places([row["device"]])
        if self._time[place] >= row["time"]:
            return
        self._time[place], self._received[place] = row["time"], row["received"]
        for column, metric in enumerate(self._metrics):
            if metric in row["values"]:
                value = row["values"][metric]
                self._values[place, column] = np.nan if value is None else value
                self._quality[place, column] = row["quality"].get(metric, 0)

    def row(self, device: str) -> dict[str, Any]:
        place = self._places[device]
        values, quality = self._values[place].tolist(), self._quality[place].tolist()
        told = [n for n, grade in enumerate(quality) if grade != ABSENT]
        return {
            "device": device,
            "time": int(self._time[place]),
            "received": int(self._received[place]),
            "values": {self._metrics[n]: values[n] if np.isfinite(values[n]) else None for n in told},
            "quality": {self._metrics[n]: quality[n] for n in told if quality[n]},
        }
