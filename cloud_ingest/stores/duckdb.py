"""DuckDB: the embedded store, one file and one process.

A wide table a class: ``device, time, received, upload, raw_time`` (as the agent's clock had it, where that was
wrong), and for each metric its value and its quality in
``<metric>__q``, which is NULL where the device did not speak of it.  There is no index: the rows of a batch are
new in nearly every case, and the time column's zone maps find the others fast.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import msgspec
import numpy as np
import pyarrow as pa

from cloud_ingest.store import Aggregate, Written
from cloud_ingest.stores._duckdb_schema import prepare
from telemetry.errors import Unavailable
from telemetry.quality import ABSENT, UNCERTAIN_FROM

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from cloud_ingest.store import TagsOf
    from device_profiles.vocabulary import DeviceClass
    from rules.frame import Frame


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The ``[store]`` table beside ``kind``."""

    path: Path = Path("samples.duckdb")
    memory_limit: str = "512MB"


class Store:
    """See :class:`cloud_ingest.store.Store`."""

    def __init__(self, config: Config, classes: Mapping[str, DeviceClass], tags_of: TagsOf) -> None:
        del tags_of  # the registry knows; a table would have to be rewritten when a device moves
        self._classes, self._writing = classes, threading.Lock()
        config.path.parent.mkdir(parents=True, exist_ok=True)
        with _mapped():
            self._db = duckdb.connect(
                str(config.path), config={"threads": 1, "memory_limit": config.memory_limit}
            )
            try:
                prepare(self._db, config.path, classes)
            except BaseException:
                self._db.close()
                raise
            for device_class in classes.values():
                self._make_table(device_class)

    def check(self) -> None:
        """See the seam."""
        self._ask("SELECT 1")

    def write(self, frames: Sequence[Frame], batch: Sequence[Sequence[int]], received_ms: int) -> Written:
        """See the seam."""
        samples, overwritten = 0, dict[str, int]()
        with self._writing, _mapped():
            self._db.begin()
            try:
                for frame, uploads in zip(frames, batch, strict=True):
                    for rows in _distinct(frame):
                        self._put(frame, rows, np.asarray(uploads, np.int64), received_ms, overwritten)
                    samples += frame.sample_count
                self._db.commit()
            except BaseException:
                self._db.rollback()
                raise
        return Written(samples, overwritten)

    def latest(self) -> list[dict[str, Any]]:
        """See the seam."""
        found = []
        for name, device_class in self._classes.items():
            metrics = list(device_class.metrics)
            for row in self._ask(
                f'SELECT * EXCLUDE (upload, raw_time) FROM "{name}"'
                " QUALIFY row_number() OVER (PARTITION BY device ORDER BY time DESC) = 1"
            ):
                told = {metric: (row[3 + 2 * i], row[4 + 2 * i]) for i, metric in enumerate(metrics)}
                found.append(
                    {
                        "device": row[0],
                        "time": row[1],
                        "received": row[2],
                        "values": {metric: value for metric, (value, q) in told.items() if q is not None},
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
        q = f'"{metric}__q"'
        if step_ms <= 0:
            return self._ask(
                f'SELECT time, "{metric}", {q} FROM "{device_class}"'
                f" WHERE device = ? AND time BETWEEN ? AND ? AND {q} IS NOT NULL ORDER BY time",
                [device, *span],
            )
        how = {"mean": f'avg("{metric}")', "min": f'min("{metric}")', "max": f'max("{metric}")',
               "last": f'arg_max("{metric}", time)'}[aggregate]  # fmt: skip
        return self._ask(
            f'SELECT time // ? * ? AS step, {how}, 0 FROM "{device_class}"'
            f" WHERE device = ? AND time BETWEEN ? AND ? AND {q} < {UNCERTAIN_FROM} GROUP BY step ORDER BY step",
            [step_ms, step_ms, device, *span],
        )

    def gaps(
        self, device_class: str, device: str, span: tuple[int, int], longer_ms: int
    ) -> list[tuple[int, int]]:
        """See the seam."""
        good = " OR ".join(
            f'"{metric}__q" < {UNCERTAIN_FROM}' for metric in self._classes[device_class].metrics
        )
        return self._ask(
            "SELECT before, time FROM (SELECT time, lag(time) OVER (ORDER BY time) AS before"
            f' FROM "{device_class}" WHERE device = ? AND time BETWEEN ? AND ? AND ({good}))'
            " WHERE time - before > ? ORDER BY time",
            [device, *span, longer_ms],
        )

    def count(self) -> dict[str, int]:
        """See the seam."""
        return {
            name: int(
                self._ask(
                    "SELECT "
                    + " + ".join(f'count("{metric}__q")' for metric in c.metrics)
                    + f' FROM "{name}"'
                )[0][0]
            )
            for name, c in self._classes.items()
        }

    def close(self) -> None:
        """See the seam."""
        with self._writing:
            self._db.close()

    # -- inside ----------------------------------------------------------------------------------------

    def _make_table(self, device_class: DeviceClass) -> None:
        columns = "".join(f', "{metric}" DOUBLE, "{metric}__q" UTINYINT' for metric in device_class.metrics)
        self._db.execute(
            f'CREATE TABLE IF NOT EXISTS "{device_class.name}"'
            f" (device VARCHAR NOT NULL, time BIGINT NOT NULL, received BIGINT NOT NULL, upload BIGINT NOT NULL, raw_time BIGINT{columns})"
        )
        there = {row[0] for row in self._db.execute(f'DESCRIBE "{device_class.name}"').fetchall()}
        for metric in device_class.metrics:  # a class may gain metrics; a metric never changes its type
            if metric not in there:
                self._db.execute(f'ALTER TABLE "{device_class.name}" ADD COLUMN "{metric}" DOUBLE')
                self._db.execute(f'ALTER TABLE "{device_class.name}" ADD COLUMN "{metric}__q" UTINYINT')

    def _put(
        self,
        frame: Frame,
        rows: NDArray[np.intp],
        uploads: NDArray[np.int64],
        received_ms: int,
        overwritten: dict[str, int],
    ) -> None:
        table, metrics = frame.device_class, list(self._classes[frame.device_class].metrics)
        self._db.register("incoming", _table(frame, rows, uploads, metrics, received_ms))
        low, high = int(frame.time[rows].min()), int(frame.time[rows].max())
        same = "t.device = i.device AND t.time = i.time"
        again = " + ".join(f'(t."{m}__q" IS NOT NULL AND i."{m}__q" IS NOT NULL)::INT' for m in metrics)
        known = self._db.execute(
            f'SELECT i.device, t.upload <> i.upload, {again} FROM incoming i JOIN "{table}" t ON {same}'
            " WHERE t.time BETWEEN ? AND ?",
            [low, high],
        ).fetchall()
        if known:
            for device, other, samples in known:
                if other and samples:
                    overwritten[device] = overwritten.get(device, 0) + samples
            columns = ", ".join(
                f'"{c}" = CASE WHEN i."{m}__q" IS NULL THEN t."{c}" ELSE i."{c}" END'
                for m in metrics
                for c in (m, f"{m}__q")
            )
            self._db.execute(
                f'UPDATE "{table}" t SET received = i.received, upload = i.upload, raw_time = i.raw_time, {columns} FROM incoming i'
                f" WHERE {same} AND t.time BETWEEN ? AND ?",
                [low, high],
            )
        names = "device, time, received, upload, raw_time, " + ", ".join(f'"{m}", "{m}__q"' for m in metrics)
        fresh = (
            f'WHERE NOT EXISTS (SELECT 1 FROM "{table}" t WHERE {same} AND t.time BETWEEN {low} AND {high})'
            if known
            else ""
        )
        self._db.execute(f'INSERT INTO "{table}" ({names}) SELECT {names} FROM incoming i {fresh}')
        self._db.unregister("incoming")

    def _ask(self, query: str, parameters: Sequence[object] = ()) -> list[Any]:
        with _mapped():
            cursor = self._db.cursor()
            try:
                return cursor.execute(query, list(parameters)).fetchall()
            finally:
                cursor.close()


def _table(
    frame: Frame, rows: NDArray[np.intp], uploads: NDArray[np.int64], metrics: Sequence[str], received_ms: int
) -> pa.Table:
    devices = pa.DictionaryArray.from_arrays(
        pa.array(frame.index[rows]), pa.array(frame.devices, pa.string())
    )
    columns: dict[str, Any] = {
        "device": devices.cast(pa.string()),
        "time": frame.time[rows],
        "received": np.full(len(rows), received_ms, np.int64),
        "upload": uploads[rows],
        "raw_time": pa.array(frame.time[rows] - frame.shift[rows], mask=frame.shift[rows] == 0),
    }
    for place, metric in enumerate(metrics):
        quality, values = frame.quality[rows, place], frame.values[rows, place]
        columns[metric] = pa.array(values, mask=~np.isfinite(values))
        columns[f"{metric}__q"] = pa.array(quality, mask=quality == ABSENT)
    return pa.table(columns)


def _distinct(frame: Frame) -> list[NDArray[np.intp]]:
    """Split the rows so that no (device, time) comes twice in one part, in order."""
    keys = np.stack([frame.index.astype(np.int64), frame.time])
    _, inverse, counts = np.unique(keys, axis=1, return_inverse=True, return_counts=True)
    if len(counts) == len(frame):
        return [np.arange(len(frame))]
    seen: dict[int, int] = {}
    parts: list[list[int]] = []
    for row, key in enumerate(inverse.ravel().tolist()):
        nth = seen[key] = seen.get(key, -1) + 1
        if nth == len(parts):
            parts.append([])
        parts[nth].append(row)
    return [np.array(part, np.intp) for part in parts]


@contextmanager
def _mapped() -> Iterator[None]:
    try:
        yield
    except (duckdb.IOException, duckdb.OutOfMemoryException, duckdb.ConnectionException) as error:
        raise Unavailable(f"duckdb: {error}") from error
