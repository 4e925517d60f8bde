"""Held: uploads that came and wait for their turn, written down so that a crash costs none of them.

A row holds what one turn put back, and goes when the last of it is committed.  In memory is all of it as well
(:mod:`cloud_ingest.turns`), so that nothing is read but at a start.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from cloud_ingest.source import Delivery
from cloud_ingest.turns import Held, Lane

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Iterator, Sequence

TABLES = "CREATE TABLE IF NOT EXISTS held (id INTEGER PRIMARY KEY AUTOINCREMENT, uploads BLOB NOT NULL);"


class _Stored(msgspec.Struct, array_like=True):
    agent: str
    origin: str
    received_ms: int
    lane: Lane
    boot: str
    seq: int
    payload: bytes


class HeldUploads:
    """Part of the ledger's file, which makes its table; written inside its transactions."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def keep(self, held: Sequence[Held]) -> int:
        """Write uploads down; return their row, 0 for none."""
        if not held:
            return 0
        told = [
            _Stored(d.agent, d.origin, d.received_ms, lane, boot, seq, d.payload)
            for d, lane, boot, seq, _ in held
        ]
        row = self._db.execute("INSERT INTO held (uploads) VALUES (?)", (msgspec.msgpack.encode(told),))
        return row.lastrowid or 0

    def drop(self, rows: Iterable[int]) -> None:
        """Forget rows."""
        self._db.executemany("DELETE FROM held WHERE id = ?", [(row,) for row in rows])

    def read(self) -> Iterator[Held]:
        """Return everything that waits, in its order."""
        for row, data in self._db.execute("SELECT id, uploads FROM held ORDER BY id"):
            for it in msgspec.msgpack.decode(data, type=list[_Stored]):
                delivery = Delivery(it.agent, it.origin, it.payload, it.received_ms, None)
                yield Held(delivery, it.lane, it.boot, it.seq, row)
