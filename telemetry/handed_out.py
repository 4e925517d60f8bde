"""Which messages may be at the other end already, though nobody has said so: those are never given up.

What is given up was never sent, so that a gap's number is exact: a sample is stored, waiting or told of as lost, and
never two of these.  The mark is on disk before the message is handed out, so that it holds over a kill and a power
cut as well.  Most marks cost no commit of their own: the first few messages that wait are marked as they are put.

A mark is a row ``out:<seq>`` of ``outbox_meta``, so that an outbox of an older program needs no new table, and with
that no copy of itself on a small disk.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from telemetry.outbox_file import ROW_OVERHEAD
from telemetry.queued import Priority, Queued

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Sequence

AHEAD = 8
"""Messages that are marked when they are put; in the steady state no more are on their way."""
MARKED = "SELECT CAST(substr(key, 5) AS INTEGER) FROM outbox_meta WHERE key >= 'out:' AND key < 'out;'"
"""SQL that selects the seqs of marked messages."""
MOST_OF_ROOM = 0.5
"""The share of an outbox that marked messages may take, so that there is always something to give up."""


class HandedOut:
    """The marks of one outbox, and what this process has really handed out."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._sizes: dict[int, int] = {}
        self._bytes = 0
        self.by_us: set[int] = set()
        """Handed out since this process has begun; of what an earlier one has sent only the marks are known."""
        self.reload()

    def reload(self) -> None:
        """Believe the disk again: a transaction was rolled back."""
        rows = self._db.execute(
            f"SELECT seq, length(payload) FROM outbox WHERE seq IN ({MARKED})"  # noqa: S608 - a constant
        ).fetchall()
        self._sizes = {seq: size + ROW_OVERHEAD for seq, size in rows}
        self._bytes = sum(self._sizes.values())

    def __len__(self) -> int:
        return len(self._sizes)

    def choose(
        self, messages: Sequence[Queued], max_bytes: int, least: int
    ) -> tuple[list[Queued], list[Queued]]:
        """Return what of ``messages`` may be sent, and what of that is to be marked before.

        Marked messages take half of ``max_bytes`` at most, or are ``least`` in number.
        """
        chosen, new, taken = list[Queued](), list[Queued](), self._bytes
        for message in messages:
            if message.priority < Priority.ALARM and message.seq not in self._sizes:
                taken += _size(message)
                if taken > max_bytes * MOST_OF_ROOM and len(new) >= least:
                    break
                new.append(message)
            chosen.append(message)
        return chosen, new

    def mark(self, messages: Iterable[Queued]) -> None:
        """Mark messages in the current transaction."""
        for message in messages:
            self._db.execute("INSERT OR IGNORE INTO outbox_meta VALUES (?, 1)", (f"out:{message.seq}",))
            self._sizes[message.seq] = _size(message)
            self._bytes += _size(message)

    def mark_ahead(self, message: Queued, max_bytes: int) -> None:
        """Mark a message that is being put and will be sent next."""
        room = self._bytes + _size(message) <= max_bytes * MOST_OF_ROOM
        if room and len(self) < AHEAD and message.priority < Priority.ALARM:
            self.mark((message,))

    def forget(self, first: int, last: int) -> None:
        """Take the marks off what was answered, in the current transaction."""
        self.by_us = {seq for seq in self.by_us if not first <= seq <= last}
        answered = [seq for seq in self._sizes if first <= seq <= last]
        for seq in answered:
            self._db.execute("DELETE FROM outbox_meta WHERE key = ?", (f"out:{seq}",))
            self._bytes -= self._sizes.pop(seq)


def _size(message: Queued) -> int:
    return len(message.payload) + ROW_OVERHEAD
