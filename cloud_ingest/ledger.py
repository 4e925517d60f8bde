"""The ledger: admitted frames, marks, rule state, quarantine, accounts and the alarm outbox, committed together.

One SQLite file (WAL, ``synchronous=FULL``).  A micro-batch is one transaction, so that after a crash an upload
either is marked, its frames wait for the store and its alarms are in the outbox, or nothing of it.
"""

from __future__ import annotations

import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING

import msgspec
import structlog

from cloud_ingest import framelog, held
from cloud_ingest.framelog import FrameLog, mapped
from cloud_ingest.held import HeldUploads
from cloud_ingest.marks import Ranges
from cloud_ingest.retention import Retention
from telemetry.errors import Unavailable
from telemetry.outbox import Outbox
from telemetry.outbox_file import PART as OUTBOX
from telemetry.readings import Ack
from telemetry.schema import Part, prepare

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from cloud_ingest.config import LedgerConfig
    from telemetry.commands import ActionUpload
    from telemetry.readings import Gap

log = structlog.get_logger()
MOST_BOOTS = 32
"""Of one agent; the boot that was not heard of for longest goes first."""
FAULT = "ingest fault"
"""The reason of what this program failed at: others make room for it, and it for nobody."""
TABLES = """
CREATE TABLE IF NOT EXISTS committed (
    agent TEXT, boot TEXT, ranges TEXT NOT NULL, used INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (agent, boot)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS quarantine (
    id INTEGER PRIMARY KEY AUTOINCREMENT, at_ms INTEGER NOT NULL, agent TEXT NOT NULL, origin TEXT NOT NULL,
    reason TEXT NOT NULL, detail TEXT NOT NULL, samples INTEGER NOT NULL, payload BLOB NOT NULL,
    made_ms INTEGER NOT NULL, again INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS quarantine_again ON quarantine (again) WHERE again;
CREATE TABLE IF NOT EXISTS accounts (
    agent TEXT, hour_ms INTEGER, account TEXT, samples INTEGER NOT NULL, PRIMARY KEY (agent, hour_ms, account)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS gaps (agent TEXT, cause TEXT, samples INTEGER, start INTEGER, "end" INTEGER, at_ms INTEGER);
CREATE TABLE IF NOT EXISTS actions (
    id TEXT, step TEXT, agent TEXT NOT NULL, device TEXT NOT NULL, at_ms INTEGER NOT NULL, body TEXT NOT NULL,
    PRIMARY KEY (id, step)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS actions_order ON actions (at_ms);
CREATE TABLE IF NOT EXISTS writing (one INTEGER PRIMARY KEY CHECK (one = 1), upto INTEGER NOT NULL, replaces BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS clocks (agent TEXT PRIMARY KEY, shift_ms INTEGER NOT NULL) WITHOUT ROWID;
"""


def _with_turns(db: sqlite3.Connection) -> None:
    """1 → 2: the boot that was not heard of for longest is known."""
    if not any(row[1] == "used" for row in db.execute("PRAGMA table_info(committed)")):
        db.execute("ALTER TABLE committed ADD COLUMN used INTEGER NOT NULL DEFAULT 0")


def _with_writing(_: sqlite3.Connection) -> None:
    """2 → 3: what a write replaces is known before it is done, in a table of its own."""


def _with_held(_: sqlite3.Connection) -> None:
    """3 → 4: uploads may wait for their turn, in a table of their own."""


PART = Part(
    "ledger", "committed", TABLES + framelog.TABLES + held.TABLES, (_with_turns, _with_writing, _with_held)
)
"""A table or column that changes here, in the frame log or in what is held is a step of this; see ``telemetry/schema.py``."""


class Quarantined(msgspec.Struct, frozen=True):
    """Something that could not be admitted, with its bytes; ``made_ms`` is when, as far as it is known."""

    agent: str
    origin: str
    reason: str
    detail: str
    samples: int
    payload: bytes
    made_ms: int


class Ledger:
    """One thread at a time may use it; :mod:`cloud_ingest.reader` reads beside it."""

    def __init__(self, config: LedgerConfig) -> None:
        self._config = config
        try:
            config.path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(config.path, isolation_level=None, check_same_thread=False, timeout=5)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            for older in prepare(self._db, (PART, OUTBOX)):
                log.info(
                    "schema_migrated",
                    path=str(config.path),
                    part=older.part,
                    version=older.newest,
                    was=older.version,
                )
            self.frames = FrameLog(self._db, max_bytes=config.waiting_bytes)
            self.held = HeldUploads(self._db)
            self._retention = Retention(self._db, config.kept_days)
        except (sqlite3.Error, OSError) as error:
            raise Unavailable(f"ledger {config.path}: {error}") from error
        self.outbox = Outbox(self._db, max_bytes=config.alarm_bytes)
        self._marks: dict[str, dict[str, Ranges]] = {}  # agent → boot → seqs
        self._turn = 0
        for agent, boot, ranges, used in self._db.execute(
            "SELECT agent, boot, ranges, used FROM committed ORDER BY used"
        ):
            self._marks.setdefault(agent, {})[boot] = Ranges(ranges_of(ranges))
            self._turn = used
        self._before: dict[tuple[str, str], list[tuple[int, int]] | None] = {}
        self.clocks: dict[str, int] = dict(self._db.execute("SELECT agent, shift_ms FROM clocks").fetchall())
        """By how many ms the times of an agent are corrected."""
        self._held, self.faults = self._db.execute(
            "SELECT coalesce(sum(length(payload)), 0), coalesce(sum(reason = ?), 0) FROM quarantine", (FAULT,)
        ).fetchone()

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit what happens inside together, or nothing; raise :class:`Unavailable` when the disk refuses."""
        held, clocks, undo = (self._held, self.faults), dict(self.clocks), self.frames.remember()
        self._before.clear()
        try:
            with self.outbox.transaction():
                yield
        except BaseException:
            for (agent, boot), pairs in self._before.items():
                if pairs is None:
                    self._marks[agent].pop(boot, None)
                else:
                    self._marks[agent][boot] = Ranges(pairs)
            (self._held, self.faults), self.clocks = held, clocks
            undo()
            raise
        self.frames.settle()

    # -- marks ---------------------------------------------------------------------------------------

    def knows(self, agent: str, boot: str, seq: int) -> bool:
        """Return whether this upload is committed."""
        ranges = self._marks.get(agent, {}).get(boot)
        return ranges is not None and seq in ranges

    def mark(self, uploads: Iterable[tuple[str, str, int]]) -> None:
        """Mark uploads as committed."""
        touched: dict[tuple[str, str], Ranges] = {}
        self._turn += 1
        for agent, boot, seq in uploads:
            ranges = touched.get((agent, boot))
            if ranges is None:
                ranges = touched[agent, boot] = self._touch(agent, boot)
            ranges.add(seq)
        self._db.executemany(
            "INSERT INTO committed VALUES (?, ?, ?, ?)"
            " ON CONFLICT DO UPDATE SET ranges = excluded.ranges, used = excluded.used",
            [
                (agent, boot, msgspec.json.encode(ranges.pairs).decode(), self._turn)
                for (agent, boot), ranges in touched.items()
            ],
        )

    def committed(self, agent: str, boot: str, seqs: Iterable[int]) -> tuple[tuple[int, int], ...]:
        """Return the ranges of committed uploads that hold ``seqs``."""
        ranges = self._marks.get(agent, {}).get(boot)
        return () if ranges is None else ranges.around(seqs)

    def receipts(self, uploads: Iterable[tuple[str, str, int]]) -> list[tuple[str, Ack]]:
        """Return what to tell the agents of these uploads."""
        by_boot: dict[tuple[str, str], list[int]] = {}
        for agent, boot, seq in uploads:
            by_boot.setdefault((agent, boot), []).append(seq)
        return [
            (agent, Ack(boot, self.committed(agent, boot, seqs))) for (agent, boot), seqs in by_boot.items()
        ]

    def _touch(self, agent: str, boot: str) -> Ranges:
        boots = self._marks.setdefault(agent, {})
        known = boots.get(boot)
        self._before.setdefault((agent, boot), None if known is None else list(known.pairs))
        if known is None:
            for old in list(boots)[: max(0, len(boots) + 1 - MOST_BOOTS)]:
                self._before.setdefault((agent, old), list(boots[old].pairs))
                del boots[old]
                self._db.execute("DELETE FROM committed WHERE agent = ? AND boot = ?", (agent, old))
            known = Ranges()
        else:
            del boots[boot]
        boots[boot] = known  # the one used last is the last to go
        return known

    # -- quarantine and accounts ---------------------------------------------------------------------

    def quarantine(self, items: Iterable[Quarantined], now_ms: int) -> None:
        """Keep what could not be admitted; the oldest bytes go when there is no room, and are counted.

        Raises :class:`Unavailable` when all of it is what this program failed at: agents had better keep the rest.
        """
        for item in items:
            self._db.execute(
                "INSERT INTO quarantine (at_ms, agent, origin, reason, detail, samples, payload, made_ms)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (now_ms, item.agent, item.origin, item.reason, item.detail, item.samples, item.payload, item.made_ms),
            )  # fmt: skip
            self._held += len(item.payload)
            self.faults += item.reason == FAULT
        while self._held > self._config.quarantine_bytes:
            oldest = self._db.execute(
                "SELECT id, agent, length(payload), samples, made_ms FROM quarantine WHERE reason != ? ORDER BY id LIMIT 1",
                (FAULT,),
            ).fetchone()
            if oldest is None:
                raise Unavailable(
                    "quarantine_bytes are full of what ingest failed at: update it, and requeue them"
                )
            row, agent, size, samples, made_ms = oldest
            self._db.execute("DELETE FROM quarantine WHERE id = ?", (row,))
            self.account({(agent, made_ms - made_ms % 3_600_000, "quarantine_evicted"): samples})
            self._held -= size

    def asked_again(self, most: int) -> list[tuple[int, Quarantined]]:
        """Return quarantined items that somebody wants admitted again, with their ids, the oldest first."""
        with mapped("ledger"):
            rows = self._db.execute(
                "SELECT id, agent, origin, reason, detail, samples, payload, made_ms FROM quarantine"
                " WHERE again ORDER BY id LIMIT ?",
                (most,),
            ).fetchall()
        return [(row[0], Quarantined(*row[1:])) for row in rows]

    def release(self, ids: Iterable[int]) -> None:
        """Let go of quarantined items."""
        for row in ids:
            size, is_fault = self._db.execute(
                "SELECT length(payload), reason = ? FROM quarantine WHERE id = ?", (FAULT, row)
            ).fetchone()
            self._db.execute("DELETE FROM quarantine WHERE id = ?", (row,))
            self._held -= size
            self.faults -= is_fault

    def keep_back(self, row: int) -> None:
        """Let a quarantined item wait until somebody asks for it once more."""
        self._db.execute("UPDATE quarantine SET again = 0 WHERE id = ?", (row,))

    def account(self, counts: Mapping[tuple[str, int, str], int]) -> None:
        """Add samples to the accounts of ``(agent, hour, account)``."""
        self._db.executemany(
            "INSERT INTO accounts VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET samples = samples + excluded.samples",
            [(*key, samples) for key, samples in counts.items()],
        )

    def note_gap(self, agent: str, gap: Gap, now_ms: int) -> None:
        """Keep what an agent tells of its own losses."""
        self._db.execute(
            "INSERT INTO gaps VALUES (?, ?, ?, ?, ?, ?)",
            (agent, gap.cause, gap.samples, gap.start, gap.end, now_ms),
        )

    def note_actions(self, upload: ActionUpload, now_ms: int) -> None:
        """Keep what an agent has done and judged by itself: each step of a command and each transition once.

        A time that is longer ago than anything is kept, or ahead, is taken for now; what the agent said is in the body.
        Its transitions raise nothing here: the same samples give the same alarms the same ids.
        """
        if not upload.results and not upload.transitions:
            return
        told = [(r.id, r.state.value, r.device, r.time, msgspec.json.encode(r)) for r in upload.results]
        told += [(t.id, "judged", t.device, t.time, msgspec.json.encode(t)) for t in upload.transitions]
        self._db.executemany(
            "INSERT OR IGNORE INTO actions VALUES (?, ?, ?, ?, ?, ?)",
            [
                (name, step, upload.agent, device, self._retention.dated(at_ms, now_ms), body.decode())
                for name, step, device, at_ms, body in told
            ],
        )

    def prune(self, now_ms: int) -> None:
        """Drop a little of what is older than ``kept_days``."""
        with self.transaction():
            self._retention.prune(now_ms)

    # -- the store's side ----------------------------------------------------------------------------

    def begin_write(self, upto: int, replaces: Mapping[str, int]) -> None:
        """Keep what the store said that a write of all frames up to ``upto`` replaces (device → samples).

        Once they are written, in part or whole, nobody can tell any more: after a crash this is what counts.
        """
        row = (upto, msgspec.msgpack.encode(replaces))
        self._db.execute("INSERT OR REPLACE INTO writing VALUES (1, ?, ?)", row)

    def end_write(self) -> None:
        """Forget it: it is accounted for in the same transaction."""
        self._db.execute("DELETE FROM writing")

    def begun_write(self) -> tuple[int, dict[str, int]] | None:
        """Return what :meth:`begin_write` kept of a write that is not ended."""
        with mapped("ledger"):
            row = self._db.execute("SELECT upto, replaces FROM writing").fetchone()
        return None if row is None else (row[0], msgspec.msgpack.decode(row[1], type=dict[str, int]))

    def set_clock(self, agent: str, shift_ms: int) -> None:
        """Correct the times of an agent from now on."""
        self.clocks[agent] = shift_ms
        self._db.execute("INSERT OR REPLACE INTO clocks VALUES (?, ?)", (agent, shift_ms))


def ranges_of(text: str) -> list[tuple[int, int]]:
    """Return the ranges that a row of ``committed`` holds."""
    return msgspec.json.decode(text, type=list[tuple[int, int]])
