"""DuckDB: the embedded store, one file and one process.

A wide table a class: ``device, time, received, upload, raw_time`` (as the agent's clock had it, where that was
wrong), and for each metric its value and its quality in
``<metric>__q``, which is NULL where the device did not speak of it.  There is no index: the rows of a batch are
new in nearly every case, and the time column's zone maps find the others fast.

A disk that is full fails the commit, which DuckDB then has undone; a failure after which it serves no more (its file
could not be written halfway through) closes the database, and the next call opens it again from what was committed.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import duckdb
import msgspec
import numpy as np
import pyarrow as pa

from cloud_ingest.earlier import Held, Newest, replaced, rounds, sum_of
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

_PASSING = (
    duckdb.IOException,
    duckdb.OutOfMemoryException,
    duckdb.ConnectionException,
    duckdb.TransactionException,  # the commit of a batch could not be written
)


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The ``[store]`` table beside ``kind``."""

    path: Path = Path("samples.duckdb")
    memory_limit: str = "512MB"


class Store:
    """See :class:`cloud_ingest.store.Store`."""

    def __init__(self, config: Config, classes: Mapping[str, DeviceClass], tags_of: TagsOf) -> None:
        del tags_of  # the registry knows; a table would have to be rewritten when a device moves
        self._config, self._classes = config, classes
        self._writing, self._opening = threading.Lock(), threading.Lock()
        self._newest = Newest(self._newest_written)
        self._open_db: duckdb.DuckDBPyConnection | None = None
        with suppress(Unavailable), self._mapped():  # whoever uses it first hears of it
            self._opened()

    def check(self) -> None:
        """See the seam."""
        self._ask("SELECT 1")

    def replaces(self, frames: Sequence[Frame], batch: Sequence[Sequence[int]]) -> dict[str, int] | None:
        """See the seam."""
        return sum_of(
            replaced(
                frame, uploads, self._newest.late(frame),
                lambda rows, frame=frame: self._held(frame, rows),  # type: ignore[misc]
            )
            for frame, uploads in zip(frames, batch, strict=True)
        )  # fmt: skip

    def write(self, frames: Sequence[Frame], batch: Sequence[Sequence[int]], received_ms: int) -> Written:
        """See the seam."""
        with self._writing, self._mapped():
            late = [self._newest.late(frame) for frame in frames]
            db = self._opened()
            db.begin()
            try:
                for frame, uploads, again in zip(frames, batch, late, strict=True):
                    numbers = np.asarray(uploads, np.int64)
                    for nth, rows in enumerate(rounds(frame)):
                        meeting = rows if nth else np.intersect1d(rows, again)
                        self._put(db, _Part(frame, rows, meeting, numbers, received_ms))
                db.commit()
            except BaseException:
                self._newest.forget()
                with suppress(duckdb.Error):  # a commit that failed is undone already
                    db.rollback()
                raise
        self._newest.note(frames)
        return Written(sum(frame.sample_count for frame in frames))

    def latest(self) -> list[dict[str, Any]]:
        """See the seam."""
        found = []
        for name, device_class in self._classes.items():
            metrics = list(device_class.metrics)
            columns = "".join(
                f', "{metric}", "{metric}__q"' for metric in metrics
            )  # a late metric's come last
            for row in self._ask(
                f'SELECT device, time, received{columns} FROM "{name}" SEMI JOIN'
                f' (SELECT device, max(time) AS time FROM "{name}" GROUP BY device) USING (device, time)'
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

    def doubts(self, device_class: str, device: str, span: tuple[int, int]) -> dict[str, int]:
        """See the seam."""
        metrics = list(self._classes[device_class].metrics)
        asked = ", ".join(f'mode("{m}__q") FILTER (WHERE "{m}__q" >= {UNCERTAIN_FROM})' for m in metrics)
        (row,) = self._ask(
            f'SELECT {asked} FROM "{device_class}" WHERE device = ? AND time BETWEEN ? AND ?', [device, *span]
        )
        return {metric: code for metric, code in zip(metrics, row, strict=True) if code is not None}

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
        with self._writing, self._opening:
            if self._open_db is not None:
                self._open_db.close()
                self._open_db = None

    # -- inside ----------------------------------------------------------------------------------------

    def _opened(self) -> duckdb.DuckDBPyConnection:
        with self._opening:
            if self._open_db is None:
                self._config.path.parent.mkdir(parents=True, exist_ok=True)
                db = duckdb.connect(
                    str(self._config.path), config={"threads": 1, "memory_limit": self._config.memory_limit}
                )
                try:
                    prepare(db, self._config.path, self._classes)
                    for device_class in self._classes.values():
                        _make_table(db, device_class)
                except BaseException:
                    db.close()
                    raise
                self._open_db = db
            return self._open_db

    def _put(self, db: duckdb.DuckDBPyConnection, part: _Part) -> None:
        frame, meeting = part.frame, part.meeting
        table, metrics = frame.device_class, list(self._classes[frame.device_class].metrics)
        names = "device, time, received, upload, raw_time, " + ", ".join(f'"{m}", "{m}__q"' for m in metrics)
        db.register("incoming", _table(part, metrics))
        fresh = ""
        if len(meeting):
            low, high = int(frame.time[meeting].min()), int(frame.time[meeting].max())
            same = f"t.device = i.device AND t.time = i.time AND t.time BETWEEN {low} AND {high}"
            columns = ", ".join(
                f'"{c}" = CASE WHEN i."{m}__q" IS NULL THEN t."{c}" ELSE i."{c}" END'
                for m in metrics
                for c in (m, f"{m}__q")
            )
            db.execute(
                f'UPDATE "{table}" t SET received = i.received, upload = i.upload, raw_time = i.raw_time, {columns}'
                f" FROM incoming i WHERE {same}"
            )
            fresh = f'WHERE NOT EXISTS (SELECT 1 FROM "{table}" t WHERE {same})'
        db.execute(f'INSERT INTO "{table}" ({names}) SELECT {names} FROM incoming i {fresh}')
        db.unregister("incoming")

    def _newest_written(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for name in self._classes:
            for device, time in self._ask(f'SELECT device, max(time) FROM "{name}" GROUP BY device'):
                found[device] = max(time, found.get(device, -1))
        return found

    def _held(self, frame: Frame, rows: NDArray[np.intp]) -> dict[tuple[str, int], Held]:
        devices = pa.array([frame.devices[i] for i in frame.index[rows].tolist()])
        wanted = pa.table({"device": devices, "time": frame.time[rows]})
        span = int(frame.time[rows].min()), int(frame.time[rows].max())
        spoken = ", ".join(f'"{m}__q" IS NOT NULL' for m in self._classes[frame.device_class].metrics)
        found = self._ask(
            f'SELECT device, time, upload, {spoken} FROM "{frame.device_class}"'
            " SEMI JOIN wanted USING (device, time) WHERE time BETWEEN ? AND ?",
            span,
            wanted=wanted,
        )
        return {(device, time): Held(upload, np.array(told)) for device, time, upload, *told in found}

    def _ask(self, query: str, parameters: Sequence[object] = (), **tables: pa.Table) -> list[Any]:
        with self._mapped():
            cursor = self._opened().cursor()
            try:
                for name, table in tables.items():
                    cursor.register(name, table)
                return cursor.execute(query, list(parameters)).fetchall()
            finally:
                cursor.close()

    @contextmanager
    def _mapped(self) -> Iterator[None]:
        """Tell what may pass as :class:`Unavailable`; of a query that is wrong in itself nothing is mapped."""
        try:
            yield
        except duckdb.FatalException as error:
            with self._opening, suppress(duckdb.Error):
                broken, self._open_db = self._open_db, None
                if broken is not None:
                    broken.close()
            raise Unavailable(f"duckdb {self._config.path}: {error}") from error
        except (*_PASSING, OSError) as error:
            raise Unavailable(f"duckdb {self._config.path}: {error}") from error


def _make_table(db: duckdb.DuckDBPyConnection, device_class: DeviceClass) -> None:
    columns = "".join(f', "{metric}" DOUBLE, "{metric}__q" UTINYINT' for metric in device_class.metrics)
    db.execute(
        f'CREATE TABLE IF NOT EXISTS "{device_class.name}"'
        f" (device VARCHAR NOT NULL, time BIGINT NOT NULL, received BIGINT NOT NULL, upload BIGINT NOT NULL, raw_time BIGINT{columns})"
    )
    there = {row[0] for row in db.execute(f'DESCRIBE "{device_class.name}"').fetchall()}
    for metric in device_class.metrics:  # a class may gain metrics; a metric never changes its type
        if metric not in there:
            db.execute(f'ALTER TABLE "{device_class.name}" ADD COLUMN "{metric}" DOUBLE')
            db.execute(f'ALTER TABLE "{device_class.name}" ADD COLUMN "{metric}__q" UTINYINT')


class _Part(NamedTuple):
    """Rows of a frame of which no two are of the same device and time; those of ``meeting`` may be there already."""

    frame: Frame
    rows: NDArray[np.intp]
    meeting: NDArray[np.intp]
    uploads: NDArray[np.int64]
    received_ms: int


def _table(part: _Part, metrics: Sequence[str]) -> pa.Table:
    frame, rows = part.frame, part.rows
    devices = pa.DictionaryArray.from_arrays(
        pa.array(frame.index[rows]), pa.array(frame.devices, pa.string())
    )
    columns: dict[str, Any] = {
        "device": devices.cast(pa.string()),
        "time": frame.time[rows],
        "received": np.full(len(rows), part.received_ms, np.int64),
        "upload": part.uploads[rows],
        "raw_time": pa.array(frame.time[rows] - frame.shift[rows], mask=frame.shift[rows] == 0),
    }
    for place, metric in enumerate(metrics):
        quality, values = frame.quality[rows, place], frame.values[rows, place]
        columns[metric] = pa.array(values, mask=~np.isfinite(values))
        columns[f"{metric}__q"] = pa.array(quality, mask=quality == ABSENT)
    return pa.table(columns)
