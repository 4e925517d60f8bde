"""The outbox: a message leaves it only when the consumer says that its database has committed.

One mechanism for both hops, agent → cloud and cloud → command centre.  It is a table in SQLite
(WAL, ``synchronous=FULL``), so that what :meth:`Outbox.commit` has returned from survives SIGKILL and
power cuts.  It stands on a file of its own (:meth:`Outbox.open`) or inside the caller's database,
where its rows commit together with the caller's.

A message is ``(boot, seq)``: ``boot`` names this outbox from its creation to its end, ``seq`` counts
from 1 and is never given twice.  The outbox is bounded in bytes.  When it is full it gives up the
oldest messages of the lowest priority and puts a gap message in their place, so that the loss arrives
where the data would have.  What may have been sent is never given up (:mod:`telemetry.handed_out`).  Every
sample is counted in the same transaction as its message: ``made = freed + queued + dropped`` always.
"""

from __future__ import annotations

import secrets
import sqlite3
import time
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Self

import msgspec

from telemetry.errors import Unavailable
from telemetry.handed_out import MARKED, HandedOut
from telemetry.outbox_file import PART, ROW_OVERHEAD, connect, mapped, move_aside, newest_before
from telemetry.queued import Counters, Priority, Queued
from telemetry.readings import Gap
from telemetry.schema import prepare

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

__all__ = ["Counters", "Outbox", "Priority", "Queued"]

_ANY = 1 << 62  # bytes no payload reaches


class Outbox:
    """A durable, bounded queue of messages.  Not thread-safe: one owner at a time.

    :param connection: SQLite in autocommit mode (``isolation_level=None``); the caller's or its own.
    :param max_bytes: payload bytes, with overhead, that may wait.
    :param gap_message: encodes a loss as a message of this outbox, given its seq; without it,
        messages are never given up and a full outbox raises :class:`Unavailable`.
    :param now_ms: the wall clock.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        *,
        max_bytes: int,
        gap_message: Callable[[int, str, Gap], bytes] | None = None,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._db, self._max_bytes = connection, max_bytes
        self._gap_message, self._now_ms = gap_message, now_ms
        with mapped():
            self.migrated = prepare(self._db, (PART,))
            self._db.execute("INSERT OR IGNORE INTO outbox_meta VALUES ('boot', ?)", (secrets.token_hex(6),))
            self.boot = str(self._meta("boot"))
            self._bytes = self._measure()
            self._cause = "outbox_full"
            self._out = HandedOut(connection)
            self.opened_at = self.last_seq()

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        max_bytes: int,
        gap_message: Callable[[int, str, Gap], bytes] | None = None,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> Self:
        """Open an outbox on its own file, made if absent.

        A file that SQLite calls corrupt is moved aside to ``<name>.corrupt-<ms>``, never deleted, and
        a new one begins with a gap message that tells of it.  Raises :class:`Unavailable` when the
        file cannot be opened at all.
        """
        with mapped():
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                connection = connect(path)
            except sqlite3.OperationalError:
                raise
            except sqlite3.DatabaseError:
                aside = move_aside(path, now_ms())
                box = cls(connect(path), max_bytes=max_bytes, gap_message=gap_message, now_ms=now_ms)
                box.set_note("moved_aside", aside.name)
                with box.transaction():
                    box.lose(Gap("outbox_corrupt", 0, now_ms(), now_ms()))
                return box
            except OSError as error:
                raise Unavailable(f"{path}: {error.strerror}") from error
        return cls(connection, max_bytes=max_bytes, gap_message=gap_message, now_ms=now_ms)

    # -- writing ---------------------------------------------------------------------------------

    @contextmanager
    def transaction(self) -> Iterator[Self]:
        """Commit what happens inside together, or nothing of it."""
        with mapped():
            self._db.execute("BEGIN IMMEDIATE")
            size = self._bytes
            try:
                yield self
                self._db.execute("COMMIT")
            except BaseException:
                self._bytes = size
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                self._out.reload()
                raise

    def put(
        self, encode: Callable[[int], bytes], *, samples: int = 0, priority: Priority = Priority.LIVE
    ) -> int:
        """Queue the message that ``encode`` makes of its seq; durable once the transaction is.

        Call it inside :meth:`transaction`, or inside the caller's own.  Raises :class:`Unavailable`
        when there is no room and nothing of lower priority to give up.
        """
        with mapped():
            seq = self.last_seq() + 1
            payload = encode(seq)
            self._insert(seq, priority, samples, payload)
            self.count("made", samples)
            if self._bytes > self._max_bytes:
                self._shed()
            elif self._gap_message is not None:
                self._out.mark_ahead(Queued(seq, priority, samples, 0, payload), self._max_bytes)
        return seq

    def hand_out(self, messages: Sequence[Queued], *, least: int = 1) -> list[Queued]:
        """Note on disk that these are sent now, and return those that may be.

        Where they would leave nothing to give up, only ``least`` of those that were not sent before may, and none
        of those while the disk takes no note.
        """
        chosen = list(messages)
        if self._gap_message is not None:
            chosen, new = self._out.choose(chosen, self._max_bytes, least)
            if new:
                try:
                    with nullcontext() if self._db.in_transaction else self.transaction():
                        self._out.mark(new)
                except Unavailable:  # the owner hears of it when it puts something
                    chosen = [message for message in chosen if message not in new]
        self._out.by_us.update(message.seq for message in chosen)
        return chosen

    def lose(self, gap: Gap) -> None:
        """Record samples that were made but could not be kept, and tell the consumer."""
        with mapped():
            self.count("made", gap.samples)
            self._drop(gap)

    def acknowledge(self, boot: str, ranges: Iterable[tuple[int, int]]) -> int:
        """Free what the consumer has committed; return how many messages that were.

        Acknowledgements for another boot, and repeated ones, free nothing.
        """
        if boot != self.boot:
            return 0
        freed = 0
        with mapped():
            for first, last in ranges:
                rows, samples, size = self._db.execute(
                    "SELECT count(*), coalesce(sum(samples), 0),"
                    " coalesce(sum(length(payload)), 0) FROM outbox WHERE seq BETWEEN ? AND ?",
                    (first, last),
                ).fetchone()
                if rows:
                    self._db.execute("DELETE FROM outbox WHERE seq BETWEEN ? AND ?", (first, last))
                    self.count("freed", samples)
                    self._bytes -= size + rows * ROW_OVERHEAD
                    freed += rows
                    self._out.forget(first, last)
        return freed

    # -- reading ---------------------------------------------------------------------------------

    def waiting(
        self, limit: int, *, besides: Collection[int] = (), after: int = 0, most_bytes: int = _ANY
    ) -> list[Queued]:
        """Return up to ``limit`` messages in sending order.

        Gaps and alarms, then what was sent before and not answered, then what has a seq above ``after``.  The seqs
        in ``besides`` and payloads larger than ``most_bytes`` are left out.
        """
        found: list[Queued] = []
        besides = set(besides)

        def more(where: str, *values: int) -> None:
            where = f"{where} AND length(payload) <= ? ORDER BY seq"
            found.extend(self._select(where, (*values, most_bytes), limit - len(found), besides))
            besides.update(message.seq for message in found)

        for priority in (Priority.GAP, Priority.ALARM):
            more("priority = ?", priority)
        if self._out:
            more(f"+priority < ? AND seq IN ({MARKED})", Priority.ALARM)
        for priority in (Priority.LIVE, Priority.HISTORY):
            more("priority = ? AND seq > ?", priority, after)
        return found

    def history(
        self, limit: int, until: int, *, besides: Collection[int] = (), most_bytes: int = _ANY
    ) -> list[Queued]:
        """Return up to ``limit`` messages up to seq ``until`` that are neither gaps nor alarms, the oldest first."""
        where = "seq <= ? AND priority < ? AND length(payload) <= ? ORDER BY seq"
        return self._select(where, (until, int(Priority.ALARM), most_bytes), limit, besides)

    def newest_before(self, put_ms: int) -> int:
        """Return the seq of the newest message put before ``put_ms`` (UTC ms), 0 when there is none.

        Looks up a few rows only; where the clock was set back in between, near enough for sending order.
        """
        with mapped():
            return newest_before(self._db, put_ms, self.last_seq())

    def counters(self) -> Counters:
        """Return what became of every sample so far."""
        with mapped():
            queued, messages = self._db.execute(
                "SELECT coalesce(sum(samples), 0), count(*) FROM outbox"
            ).fetchone()
            return Counters(
                int(self._meta("made") or 0),
                int(self._meta("freed") or 0),
                queued,
                self._tallies("dropped"),
                messages,
                self._bytes,
                self._tallies("not_reported"),
            )

    @property
    def size(self) -> int:
        """Bytes that what waits takes, known without looking."""
        return self._bytes

    @property
    def handed_out(self) -> int:
        """How many messages count as sent and not answered, whoever sent them."""
        return len(self._out)

    def note(self, key: str) -> str | None:
        """Return a word the owner has left beside the messages."""
        with mapped():
            value = self._meta(f"note:{key}")
        return None if value is None else str(value)

    def notes(self) -> dict[str, str]:
        """Return every word the owner has left, by its key."""
        with mapped():
            return {key: str(word) for key, word in self._tallies("note").items()}

    def withhold(self, policy: str, samples: int) -> None:
        """Count samples that a report policy kept back, in the current transaction."""
        with mapped():
            self.count(f"not_reported:{policy}", samples)

    def set_limit(self, max_bytes: int, cause: str = "outbox_full") -> None:
        """Change how much may wait from the next put on; ``cause`` is what a gap will then say."""
        self._max_bytes, self._cause = max_bytes, cause

    def rewrite(self, first: int, change: Callable[[bytes], bytes], put_later_ms: int) -> int:
        """Change the data from seq ``first`` on that this process has not handed out; return how many messages.

        What was handed out may be committed at the other end already, and is left as it is.
        """
        with mapped():
            self._db.execute("UPDATE outbox SET put_ms = put_ms + ? WHERE seq >= ?", (put_later_ms, first))
            rows = self._db.execute(
                "SELECT seq, payload FROM outbox WHERE seq >= ? AND priority < ?",
                (first, int(Priority.ALARM)),
            ).fetchall()
            rows = [row for row in rows if row[0] not in self._out.by_us]
            for seq, payload in rows:
                changed = change(payload)
                self._db.execute("UPDATE outbox SET payload = ? WHERE seq = ?", (changed, seq))
                self._bytes += len(changed) - len(payload)
        return len(rows)

    def set_note(self, key: str, value: str) -> None:
        """Leave a word beside the messages, in the current transaction if there is one."""
        with mapped():
            self._db.execute("INSERT OR REPLACE INTO outbox_meta VALUES (?, ?)", (f"note:{key}", value))

    def close(self) -> None:
        """Close the connection; what is committed stays."""
        self._db.close()

    # -- inside ----------------------------------------------------------------------------------

    def _shed(self) -> None:
        """Give up the oldest of the lowest priority, but not what may be sent, until a twentieth of the room is free."""
        surplus = self._bytes - self._max_bytes * 19 // 20
        doomed, samples, start, end = [], 0, 0, 0
        if self._gap_message is not None:
            for seq, count, put_ms, size in self._db.execute(
                "SELECT seq, samples, put_ms, length(payload) FROM outbox"  # noqa: S608 - a constant
                f" WHERE priority < ? AND seq NOT IN ({MARKED}) ORDER BY priority, seq",
                (Priority.ALARM,),
            ):
                if surplus <= 0:
                    break
                doomed.append(seq)
                samples += count
                start, end = min(start or put_ms, put_ms), max(end, put_ms)
                surplus -= size + ROW_OVERHEAD
                self._bytes -= size + ROW_OVERHEAD
        if not doomed:
            raise Unavailable(
                f"outbox is full: {self._bytes} of {self._max_bytes} bytes, none of which may be given up"
            )
        self._db.executemany("DELETE FROM outbox WHERE seq = ?", ((seq,) for seq in doomed))
        self._drop(Gap(self._cause, samples, start, end))

    def _drop(self, gap: Gap) -> None:
        self.count(f"dropped:{gap.cause}", gap.samples)
        if self._gap_message is None:
            return
        seq = self.last_seq() + 1
        row = self._db.execute(
            "SELECT seq, gap, length(payload) FROM outbox WHERE gap IS NOT NULL AND seq > ? ORDER BY seq DESC LIMIT 1",
            (self.opened_at,),
        ).fetchone()
        if row is not None and row[0] not in self._out.by_us:
            earlier = msgspec.json.decode(row[1], type=Gap)
            if earlier.cause == gap.cause:
                self._db.execute("DELETE FROM outbox WHERE seq = ?", (row[0],))
                self._bytes -= row[2] + ROW_OVERHEAD
                gap = Gap(
                    gap.cause,
                    earlier.samples + gap.samples,
                    min(earlier.start, gap.start),
                    max(earlier.end, gap.end),
                )
        self._insert(seq, Priority.GAP, 0, self._gap_message(seq, self.boot, gap), msgspec.json.encode(gap))

    def _select(
        self, where: str, values: tuple[int, ...], limit: int, besides: Collection[int]
    ) -> list[Queued]:
        if limit <= 0:
            return []
        with mapped():
            rows = self._db.execute(
                f"SELECT seq, priority, samples, put_ms, payload FROM outbox WHERE {where} LIMIT ?",  # noqa: S608 - ours
                (*values, limit + len(besides)),
            )
            return [Queued(*row) for row in rows if row[0] not in besides][:limit]

    def _insert(
        self, seq: int, priority: int, samples: int, payload: bytes, gap: bytes | None = None
    ) -> None:
        self._db.execute(
            "INSERT INTO outbox VALUES (?, ?, ?, ?, ?, ?)",
            (seq, int(priority), samples, self._now_ms(), payload, gap),
        )
        self._bytes += len(payload) + ROW_OVERHEAD

    def count(self, key: str, samples: int) -> None:
        """Add samples to a line of the book, ``made``, ``freed`` or ``dropped:…``, in the current transaction."""
        self._db.execute(
            "INSERT INTO outbox_meta VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = value + excluded.value",
            (key, samples),
        )

    def _meta(self, key: str) -> str | int | None:
        row = self._db.execute("SELECT value FROM outbox_meta WHERE key = ?", (key,)).fetchone()
        return None if row is None else row[0]

    def _tallies(self, kind: str) -> dict[str, int]:
        rows = self._db.execute(
            "SELECT substr(key, ?), value FROM outbox_meta WHERE key LIKE ?", (len(kind) + 2, f"{kind}:%")
        )
        return dict(rows.fetchall())

    def last_seq(self) -> int:
        """Return the seq that was given last, 0 before the first."""
        with mapped():
            row = self._db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'outbox'").fetchone()
        return 0 if row is None else int(row[0])

    def _measure(self) -> int:
        size, rows = self._db.execute(
            "SELECT coalesce(sum(length(payload)), 0), count(*) FROM outbox"
        ).fetchone()
        return int(size + rows * ROW_OVERHEAD)
