"""The outbox: a message leaves it only when the consumer says that its database has committed.

One mechanism for both hops, agent → cloud and cloud → command centre.  It is a table in SQLite
(WAL, ``synchronous=FULL``), so that what :meth:`Outbox.commit` has returned from survives SIGKILL and
power cuts.  It stands on a file of its own (:meth:`Outbox.open`) or inside the caller's database,
where its rows commit together with the caller's.

A message is ``(boot, seq)``: ``boot`` names this outbox from its creation to its end, ``seq`` counts
from 1 and is never given twice.  The outbox is bounded in bytes.  When it is full it gives up the
oldest messages of the lowest priority and puts a gap message in their place, so that the loss arrives
where the data would have.  Every sample is counted in the same transaction as its message:
``made = freed + queued + dropped`` always.
"""

from __future__ import annotations

import secrets
import sqlite3
import time
from contextlib import contextmanager
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Self

import msgspec

from telemetry.errors import Unavailable
from telemetry.outbox_file import PART, ROW_OVERHEAD, connect, mapped, move_aside
from telemetry.readings import Gap
from telemetry.schema import prepare

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

_ANY = 1 << 62  # bytes no payload reaches


class Priority(IntEnum):
    """Who goes first out of the door, and last over board."""

    HISTORY = 0
    LIVE = 1
    ALARM = 2  # never given up: a full outbox refuses more of them
    GAP = 3  # never given up


class Queued(msgspec.Struct, frozen=True):
    """A message that waits for its acknowledgement."""

    seq: int
    priority: int
    samples: int
    put_ms: int
    payload: bytes


class Counters(msgspec.Struct, frozen=True):
    """Samples since this outbox was created; ``made == freed + queued + sum(dropped)``."""

    made: int
    freed: int
    queued: int
    dropped: dict[str, int]
    messages: int  # that wait
    bytes: int  # that they take
    not_reported: dict[str, int] = {}  # read and withheld by a report policy: never made into a message


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
        self._db, self._max_bytes, self._gap_message, self._now_ms = (
            connection,
            max_bytes,
            gap_message,
            now_ms,
        )
        with mapped():
            self.migrated = prepare(self._db, (PART,))
            self._db.execute("INSERT OR IGNORE INTO outbox_meta VALUES ('boot', ?)", (secrets.token_hex(6),))
            self.boot = str(self._meta("boot"))
            self._bytes = self._measure()
            self._cause = "outbox_full"
            # What was handed out is not changed any more; of what an earlier process put nobody knows.
            self._out: set[int] = set()
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
            self._count("made", samples)
            if self._bytes > self._max_bytes:
                self._shed()
        return seq

    def lose(self, gap: Gap) -> None:
        """Record samples that were made but could not be kept, and tell the consumer."""
        with mapped():
            self._count("made", gap.samples)
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
                    self._count("freed", samples)
                    self._bytes -= size + rows * ROW_OVERHEAD
                    freed += rows
                    self._out = {seq for seq in self._out if not first <= seq <= last}
        return freed

    # -- reading ---------------------------------------------------------------------------------

    def waiting(
        self, limit: int, *, besides: Collection[int] = (), after: int = 0, most_bytes: int = _ANY
    ) -> list[Queued]:
        """Return up to ``limit`` messages in sending order: gaps and alarms, then what has a seq above ``after``.

        The seqs in ``besides`` and payloads larger than ``most_bytes`` are left out.
        """
        found: list[Queued] = []
        for priority in reversed(Priority):
            since = after if priority < Priority.ALARM else 0
            more = limit - len(found)
            if more > 0:
                where = "priority = ? AND seq > ? AND length(payload) <= ? ORDER BY seq"
                found += self._select(where, (int(priority), since, most_bytes), more, besides)
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
            low, high = (
                self._db.execute("SELECT coalesce(min(seq), 1) - 1 FROM outbox").fetchone()[0],
                self.last_seq(),
            )
            while low < high:
                middle = (low + high + 1) // 2
                row = self._db.execute(
                    "SELECT put_ms FROM outbox WHERE seq >= ? ORDER BY seq LIMIT 1", (middle,)
                ).fetchone()
                if row is None or row[0] >= put_ms:
                    high = middle - 1
                else:
                    low = middle
            return int(low)

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

    def note(self, key: str) -> str | None:
        """Return a word the owner has left beside the messages."""
        with mapped():
            value = self._meta(f"note:{key}")
        return None if value is None else str(value)

    def withhold(self, policy: str, samples: int) -> None:
        """Count samples that a report policy kept back, in the current transaction."""
        with mapped():
            self._count(f"not_reported:{policy}", samples)

    def set_limit(self, max_bytes: int, cause: str = "outbox_full") -> None:
        """Change how much may wait from the next put on; ``cause`` is what a gap will then say."""
        self._max_bytes, self._cause = max_bytes, cause

    def rewrite(self, first: int, change: Callable[[bytes], bytes], put_later_ms: int) -> int:
        """Change the data from seq ``first`` on that was never handed out; return how many messages.

        What was handed out may be committed at the other end already, and is left as it is.
        """
        with mapped():
            self._db.execute("UPDATE outbox SET put_ms = put_ms + ? WHERE seq >= ?", (put_later_ms, first))
            rows = self._db.execute(
                "SELECT seq, payload FROM outbox WHERE seq >= ? AND priority < ?",
                (first, int(Priority.ALARM)),
            ).fetchall()
            rows = [row for row in rows if row[0] not in self._out]
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
        """Give up the oldest of the lowest priority until a twentieth of the room is free again."""
        surplus = self._bytes - self._max_bytes * 19 // 20
        doomed, samples, start, end = [], 0, 0, 0
        if self._gap_message is not None:
            for seq, count, put_ms, size in self._db.execute(
                "SELECT seq, samples, put_ms, length(payload) FROM outbox WHERE priority < ? ORDER BY priority, seq",
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
        self._count(f"dropped:{gap.cause}", gap.samples)
        if self._gap_message is None:
            return
        seq = self.last_seq() + 1
        row = self._db.execute(
            "SELECT seq, gap, length(payload) FROM outbox WHERE gap IS NOT NULL AND seq > ? ORDER BY seq DESC LIMIT 1",
            (self.opened_at,),
        ).fetchone()
        if row is not None and row[0] not in self._out:
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
        with mapped():
            rows = self._db.execute(
                f"SELECT seq, priority, samples, put_ms, payload FROM outbox WHERE {where} LIMIT ?",  # noqa: S608 - ours
                (*values, limit + len(besides)),
            )
            messages = [Queued(*row) for row in rows if row[0] not in besides][:limit]
        self._out.update(message.seq for message in messages)
        return messages

    def _insert(
        self, seq: int, priority: int, samples: int, payload: bytes, gap: bytes | None = None
    ) -> None:
        self._db.execute(
            "INSERT INTO outbox VALUES (?, ?, ?, ?, ?, ?)",
            (seq, int(priority), samples, self._now_ms(), payload, gap),
        )
        self._bytes += len(payload) + ROW_OVERHEAD

    def _count(self, key: str, samples: int) -> None:
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
        row = self._db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'outbox'").fetchone()
        return 0 if row is None else int(row[0])

    def _measure(self) -> int:
        size, rows = self._db.execute(
            "SELECT coalesce(sum(length(payload)), 0), count(*) FROM outbox"
        ).fetchone()
        return int(size + rows * ROW_OVERHEAD)
