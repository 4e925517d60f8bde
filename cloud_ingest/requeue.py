"""Asking for quarantined entries to be admitted again; the running ingest does it, a batch after the other."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import msgspec

from telemetry.errors import Unavailable

if TYPE_CHECKING:
    from pathlib import Path

_AT_ONCE = 5_000  # so that the ledger's writer never waits for long


class Wanted(msgspec.Struct, frozen=True):
    """Which entries; what is not given does not matter, and nothing given is all."""

    agent: str | None = None
    reason: str | None = None
    device: str | None = None
    ids: tuple[int, ...] = ()


def requeue(ledger: Path, wanted: Wanted) -> int:
    """Ask for entries to be admitted again; return how many; raise :class:`Unavailable`."""
    query, given = _query(wanted)
    total = 0
    try:
        with closing(
            sqlite3.connect(f"file:{ledger}?mode=rw", uri=True, isolation_level=None, timeout=10)
        ) as db:
            while found := db.execute(
                f"UPDATE quarantine SET again = 1 WHERE id IN (SELECT id FROM quarantine WHERE again = 0{query} LIMIT {_AT_ONCE})",  # noqa: S608 - our own words, values are bound
                given,
            ).rowcount:
                total += found
    except sqlite3.Error as error:
        raise Unavailable(f"ledger {ledger}: {error}") from error
    return total


def asked(ledger: Path) -> int:
    """Return how many entries are asked for and not yet admitted again."""
    try:
        with closing(sqlite3.connect(f"file:{ledger}?mode=ro", uri=True, timeout=10)) as db:
            return int(db.execute("SELECT count(*) FROM quarantine WHERE again").fetchone()[0])
    except sqlite3.Error as error:
        raise Unavailable(f"ledger {ledger}: {error}") from error


def _query(wanted: Wanted) -> tuple[str, list[object]]:
    parts: list[str] = []
    given: list[object] = []
    for column, value in (("agent", wanted.agent), ("reason", wanted.reason)):
        if value is not None:
            parts.append(f" AND {column} = ?")
            given.append(value)
    if wanted.device is not None:  # only what holds one reading tells its device
        parts.append(
            " AND CASE WHEN json_valid(CAST(payload AS TEXT))"
            " THEN json_extract(CAST(payload AS TEXT), '$.device') = ? ELSE 0 END"
        )
        given.append(wanted.device)
    if wanted.ids:
        parts.append(f" AND id IN ({','.join('?' * len(wanted.ids))})")
        given += wanted.ids
    return "".join(parts), given
