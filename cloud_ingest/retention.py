"""Retention: what the ledger keeps for people to look up goes when it is old, a little at a time.

Accounts by their hour, gaps by when they were told, deeds by when they were done.  A call drops what takes some
milliseconds: the oldest thousand gaps and deeds, and a month of the accounts of the next few agents.  No index is kept for
it, which every commit would pay for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import sqlite3

DAY_MS = 86_400_000
_AHEAD_MS = 5 * 60_000
_MOST_ROWS = 1000
_AGENTS = 20
_SPAN_MS = 31 * DAY_MS


class Retention:
    """Part of the ledger's file; works inside its transactions."""

    def __init__(self, db: sqlite3.Connection, kept_days: int) -> None:
        self._db, self._kept_ms = db, kept_days * DAY_MS
        self._agent = ""  # whose accounts were looked at last

    def dated(self, at_ms: int, now_ms: int) -> int:
        """Return under which time (UTC ms) to keep what somebody else's clock has dated."""
        return at_ms if now_ms - self._kept_ms <= at_ms <= now_ms + _AHEAD_MS else now_ms

    def prune(self, now_ms: int) -> None:
        """Drop some of what is older than that."""
        before = now_ms - self._kept_ms
        self._db.execute(
            "DELETE FROM gaps WHERE rowid IN (SELECT rowid FROM gaps ORDER BY rowid LIMIT ?) AND at_ms < ?",
            (_MOST_ROWS, before),
        )
        self._db.execute(  # of an earlier program, or while this machine's clock was ahead
            "UPDATE actions SET at_ms = ? WHERE at_ms > ?", (now_ms, now_ms + _AHEAD_MS)
        )
        self._db.execute(
            "DELETE FROM actions WHERE (id, step) IN"
            " (SELECT id, step FROM actions WHERE at_ms < ? ORDER BY at_ms LIMIT ?)",
            (before, _MOST_ROWS),
        )
        for _ in range(_AGENTS):
            agent, oldest = self._next_agent()
            if agent is None:
                break
            self._db.execute(
                "DELETE FROM accounts WHERE agent = ? AND hour_ms < ?",
                (agent, min(before, oldest + _SPAN_MS)),
            )

    def _next_agent(self) -> tuple[str | None, int]:
        """Return the next agent and its oldest hour, None after the last."""
        row = self._db.execute(
            "SELECT agent, hour_ms FROM accounts WHERE agent > ? ORDER BY agent, hour_ms LIMIT 1",
            (self._agent,),
        ).fetchone()
        self._agent = "" if row is None else row[0]
        return (None, 0) if row is None else (row[0], row[1])
