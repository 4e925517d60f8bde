"""InfluxDB: the production store.

Measurement = class, tags = device, site, area, profile, fields as :mod:`cloud_ingest.lines` draws them.  A batch is
sent in parts.  A part that the server refuses is halved until the guilty point stands alone: that one is returned as
rejected, the rest is written.  A point overwrites the one of the same series and time, so that nothing is harmed by
sending a part again.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING, Any

import numpy as np

from cloud_ingest.earlier import Held, Newest, replaced, sum_of
from cloud_ingest.influx import Link, Server, identifier, text
from cloud_ingest.lines import lines, prefix
from cloud_ingest.store import Aggregate, Rejected, Written
from telemetry.errors import Refused, Unavailable
from telemetry.quality import ABSENT, UNCERTAIN_FROM

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from cloud_ingest.store import TagsOf
    from device_profiles.vocabulary import DeviceClass
    from rules.frame import Frame

Config = Link
_PART = 5000  # points in one request
_ASKED_TOGETHER = 100  # devices in one query
_LATEST_DAYS = 30


class _Points:
    """The lines of a batch, and which row of which frame each one is."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._frames: list[Frame] = []
        self._starts: list[int] = []
        self._rows: list[NDArray[np.intp]] = []

    def add(self, frame: Frame, made: Sequence[str]) -> None:
        """Take over a frame's lines; an empty one is none."""
        rows = np.array([row for row, line in enumerate(made) if line], np.intp)
        self._starts.append(len(self.lines))
        self.lines += made if len(rows) == len(made) else [line for line in made if line]
        self._frames.append(frame)
        self._rows.append(rows)

    def rejected(self, point: int, reason: str) -> Rejected:
        """Tell what was refused."""
        part = bisect_right(self._starts, point) - 1
        frame, row = self._frames[part], self._rows[part][point - self._starts[part]]
        samples = int(np.count_nonzero(frame.quality[row] != ABSENT))
        return Rejected(frame.devices[frame.index[row]], reason, samples, self.lines[point].encode())


class Store:
    """See :class:`cloud_ingest.store.Store`."""

    def __init__(self, config: Link, classes: Mapping[str, DeviceClass], tags_of: TagsOf) -> None:
        self._server, self._classes, self._tags_of = Server(config), classes, tags_of
        self._prefixes: dict[str, tuple[Mapping[str, str], str, str]] = {}
        self._newest = Newest(self._newest_written)
        self._was_away = False
        self._reads = True  # False for a server that takes InfluxDB's writes and answers no InfluxQL

    def check(self) -> None:
        """See the seam."""
        self._server.open()

    def replaces(self, frames: Sequence[Frame], batch: Sequence[Sequence[int]]) -> dict[str, int] | None:
        """See the seam; of a server that answers no InfluxQL only what a batch does to itself."""
        return sum_of(
            replaced(
                frame, uploads, self._newest.late(frame),
                lambda rows, frame=frame: self._held(frame, rows),  # type: ignore[misc]
            )
            for frame, uploads in zip(frames, batch, strict=True)
        )  # fmt: skip

    def write(self, frames: Sequence[Frame], batch: Sequence[Sequence[int]], received_ms: int) -> Written:
        """See the seam."""
        if self._was_away:  # ask before the work: what waits may be tried for hours
            self._server.open()
            self._was_away = False
        points, samples = _Points(), 0
        for frame, numbers in zip(frames, batch, strict=True):
            metrics, uploads = list(self._classes[frame.device_class].metrics), np.asarray(numbers, np.int64)
            prefixes = [self._prefix(frame.device_class, device) for device in frame.devices]
            points.add(frame, lines(frame, metrics, prefixes, uploads, received_ms))
            samples += frame.sample_count
        count = len(points.lines)
        rejected = [
            points.rejected(point, reason)
            for start in range(0, count, _PART)
            for point, reason in self._put(points.lines, start, min(start + _PART, count))
        ]
        self._newest.note(frames)
        return Written(samples - sum(item.samples for item in rejected), tuple(rejected))

    def latest(self) -> list[dict[str, Any]]:
        """See the seam."""
        found: list[dict[str, Any]] = []
        for name, device_class in self._classes.items():
            newest = "GROUP BY device ORDER BY time DESC LIMIT 1"
            lately = f"SELECT * FROM {identifier(name)} WHERE time > now() - {_LATEST_DAYS}d {newest}"
            ever = f"SELECT * FROM {identifier(name)} {newest}"  # dear where there are years
            for series in self._server.select(lately) or self._server.select(ever):
                row = dict(zip(series.columns, series.values[0], strict=True))
                told = {metric: _sample(row, metric) for metric in device_class.metrics}
                found.append(
                    {
                        "device": series.tags["device"],
                        "time": row["time"],
                        "received": row.get("received") or row["time"],
                        "values": {
                            metric: value for metric, (value, q) in told.items() if q or value is not None
                        },
                        "quality": {metric: q for metric, (_, q) in told.items() if q},
                    }
                )
        return found

    def history(
        self,
        device_class: str,
        device: str,
        metric: str,
        span: tuple[int, int],
        step_ms: int,
        aggregate: Aggregate,
    ) -> list[tuple[int, float | None, int]]:
        """See the seam."""
        where = _where(device_class, [device], span)
        if step_ms > 0:
            query = f"SELECT {aggregate}({identifier(metric)}) {where} GROUP BY time({step_ms}ms) fill(none)"
            return [
                (time, value, 0) for series in self._server.select(query) for time, value in series.values
            ]
        rows = self._server.rows(f"SELECT {_listed([metric, f'{metric}__u', f'{metric}__q'])} {where}")
        return [(row["time"], *_sample(row, metric)) for row in rows]

    def gaps(
        self, device_class: str, device: str, span: tuple[int, int], longer_ms: int
    ) -> list[tuple[int, int]]:
        """See the seam."""
        good = _listed(self._classes[device_class].metrics)
        rows = self._server.rows(f"SELECT {good} {_where(device_class, [device], span)}")
        times = np.fromiter((row["time"] for row in rows), np.int64)
        wide = np.flatnonzero(np.diff(times) > longer_ms)
        return list(zip(times[wide].tolist(), times[wide + 1].tolist(), strict=True))

    def doubts(self, device_class: str, device: str, span: tuple[int, int]) -> dict[str, int]:
        """See the seam."""
        metrics = self._classes[device_class].metrics
        asked = ", ".join(f"mode({identifier(f'{m}__q')}) AS {identifier(m)}" for m in metrics)
        found: dict[str, int] = {}
        for series in self._server.select(f"SELECT {asked} {_where(device_class, [device], span)}"):
            row = dict(zip(series.columns, series.values[0], strict=True))
            codes = {metric: row.get(metric) for metric in metrics}
            found |= {
                m: int(code) for m, code in codes.items() if code is not None and code >= UNCERTAIN_FROM
            }
        return found

    def count(self) -> dict[str, int]:
        """See the seam."""
        counts = dict.fromkeys(self._classes, 0)
        for name, device_class in self._classes.items():
            for series in self._server.select(f"SELECT count(*) FROM {identifier(name)}"):
                told = dict(zip(series.columns, series.values[0], strict=True))
                fields = (f"count_{metric}{end}" for metric in device_class.metrics for end in ("", "__q"))
                counts[name] = sum(told.get(field) or 0 for field in fields)
        return counts

    def close(self) -> None:
        """See the seam."""
        self._server.close()

    # -- inside ----------------------------------------------------------------------------------------

    def _prefix(self, device_class: str, device: str) -> str:
        tags = self._tags_of(device)
        known = self._prefixes.get(device)
        if known is None or known[0] != tags or known[1] != device_class:
            told = prefix(device_class, {"device": device, **tags})
            known = self._prefixes[device] = tags, device_class, told
        return known[2]

    def _put(self, made: Sequence[str], start: int, end: int) -> list[tuple[int, str]]:
        """Write lines; return those that the server refuses for what they are, with its words."""
        try:
            problem = self._server.write("\n".join(made[start:end]).encode())
        except Unavailable:
            self._was_away = True
            raise
        if not problem:
            return []
        if end - start == 1:
            return [(start, problem)]
        half = (start + end) // 2
        return self._put(made, start, half) + self._put(made, half, end)

    def _newest_written(self) -> dict[str, int]:
        try:
            return {row["device"]: row["time"] for row in self.latest()}
        except Refused:
            self._reads = False
            return {}

    def _held(self, frame: Frame, rows: NDArray[np.intp]) -> dict[tuple[str, int], Held]:
        if not self._reads:
            return {}
        metrics = self._classes[frame.device_class].metrics
        devices = sorted({frame.devices[i] for i in frame.index[rows].tolist()})
        span = int(frame.time[rows].min()), int(frame.time[rows].max())
        found = {}
        for start in range(0, len(devices), _ASKED_TOGETHER):
            where = _where(frame.device_class, devices[start : start + _ASKED_TOGETHER], span)
            for series in self._server.select(f"SELECT * {where} GROUP BY device"):
                for values in series.values:
                    row = dict(zip(series.columns, values, strict=True))
                    spoken = np.array([_sample(row, metric) != (None, 0) for metric in metrics])
                    found[series.tags["device"], row["time"]] = Held(int(row.get("upload") or 0), spoken)
        return found


def _sample(row: Mapping[str, Any], metric: str) -> tuple[float | None, int]:
    """Return value and quality as a row of fields tells them; ``(None, 0)`` when it does not.

    A field that is no number was not written here.
    """
    code = row.get(f"{metric}__q")
    value = row.get(metric if code is None else f"{metric}__u")
    return float(value) if isinstance(value, int | float) else None, code or 0


def _where(device_class: str, devices: Iterable[str], span: tuple[int, int]) -> str:
    either = " OR ".join(f"device = {text(device)}" for device in devices)
    first, last = (min(max(moment, 0), 2**62 // 10**6) for moment in span)  # InfluxDB counts ns in 63 bits
    return f"FROM {identifier(device_class)} WHERE ({either}) AND time >= {first}ms AND time <= {last}ms"


def _listed(fields: Iterable[str]) -> str:
    return ", ".join(identifier(field) for field in fields)
