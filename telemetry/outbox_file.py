"""The file an outbox stands on: opened durable, checked, and moved aside when it is corrupt."""

from __future__ import annotations

import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING

from telemetry.errors import Unavailable
from telemetry.schema import Part

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PART = Part(
    "outbox",
    "outbox",
    """
CREATE TABLE IF NOT EXISTS outbox (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    priority INTEGER NOT NULL, samples INTEGER NOT NULL, put_ms INTEGER NOT NULL,
    payload BLOB NOT NULL, gap BLOB
);
CREATE INDEX IF NOT EXISTS outbox_order ON outbox (priority DESC, seq);
CREATE TABLE IF NOT EXISTS outbox_meta (key TEXT PRIMARY KEY, value NOT NULL) WITHOUT ROWID;
""",
)
ROW_OVERHEAD = 64  # bytes a row costs beside its payload, index entry included: measured 55-62


def connect(path: Path) -> sqlite3.Connection:
    """Open the file, made if absent; raise ``sqlite3.DatabaseError`` when SQLite calls it corrupt."""
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=5)
    try:
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=FULL")
        (verdict,) = db.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            raise sqlite3.DatabaseError(verdict)
    except BaseException:
        db.close()
        raise
    return db


def move_aside(path: Path, now_ms: int) -> Path:
    """Rename a corrupt file to ``<name>.corrupt-<ms>`` and return its new name."""
    aside = path.with_name(f"{path.name}.corrupt-{now_ms}")
    path.rename(aside)
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    return aside


def newest_before(db: sqlite3.Connection, put_ms: int, last: int) -> int:
    """Return the seq of the newest message put before ``put_ms`` (UTC ms), 0 when there is none, looking at few rows.

    ``last`` is the seq that was given last.
    """
    low, high = db.execute("SELECT coalesce(min(seq), 1) - 1 FROM outbox").fetchone()[0], last
    while low < high:
        middle = (low + high + 1) // 2
        row = db.execute(
            "SELECT put_ms FROM outbox WHERE seq >= ? ORDER BY seq LIMIT 1", (middle,)
        ).fetchone()
        if row is None or row[0] >= put_ms:
            high = middle - 1
        else:
            low = middle
    return int(low)


@contextmanager
def mapped() -> Iterator[None]:
    """Turn what passes by itself (disk full, read-only, locked) into :class:`Unavailable`."""
    try:
        yield
    except sqlite3.OperationalError as error:
        raise Unavailable(f"outbox: {error}") from error
