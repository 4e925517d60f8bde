"""The ledger: marks, rule state, quarantine, accounts and the alarm outbox, committed together.

One SQLite file (WAL, ``synchronous=FULL``).  A micro-batch is one transaction, so that after a crash an upload
either is marked and its alarms are in the outbox, or neither.
"""

from __future__ import annotations

import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import msgspec

from cloud_ingest.marks import Ranges
from rules.state import State
from telemetry.errors import Unavailable
from telemetry.outbox import Outbox

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from cloud_ingest.config import LedgerConfig
    from telemetry.readings import Gap

MOST_BOOTS = 32
_SCHEMA = """
CREATE TABLE IF NOT EXISTS marks (agent TEXT, boot TEXT, first INTEGER, last INTEGER, PRIMARY KEY (agent, boot, first)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS rule_state (class TEXT PRIMARY KEY, data BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS quarantine (
    id INTEGER PRIMARY KEY AUTOINCREMENT, at_ms INTEGER NOT NULL, agent TEXT NOT NULL, origin TEXT NOT NULL,
    reason TEXT NOT NULL, detail TEXT NOT NULL, samples INTEGER NOT NULL, payload BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS accounts (agent TEXT, entry TEXT, samples INTEGER NOT NULL, PRIMARY KEY (agent, entry)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS gaps (agent TEXT, cause TEXT, samples INTEGER, start INTEGER, "end" INTEGER, at_ms INTEGER);
"""


class Quarantined(msgspec.Struct, frozen=True):
    """Something that could not be admitted, with its bytes."""

    agent: str
    origin: str
    reason: str
    detail: str
    samples: int
    payload: bytes


class Ledger:
    """One thread at a time may use it; readers open connections of their own."""

    def __init__(self, config: LedgerConfig) -> None:
        self._config = config
        try:
            config.path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(config.path, isolation_level=None, check_same_thread=False, timeout=5)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            self._db.executescript(_SCHEMA)
        except (sqlite3.Error, OSError) as error:
            raise Unavailable(f"ledger {config.path}: {error}") from error
        self.outbox = Outbox(self._db, max_bytes=config.alarm_bytes)
        self._marks: dict[tuple[str, str], Ranges] = {}
        for agent, boot, first, last in self._db.execute(
            "SELECT agent, boot, first, last FROM marks ORDER BY first"
        ):
            self._marks.setdefault((agent, boot), Ranges()).pairs.append((first, last))
        self._held = int(
            self._db.execute("SELECT coalesce(sum(length(payload)), 0) FROM quarantine").fetchone()[0]
        )

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit what happens inside together, or nothing; raise :class:`Unavailable` when the disk refuses."""
        marks = {key: list(ranges.pairs) for key, ranges in self._marks.items()}
        held = self._held
        try:
            with self.outbox.transaction():
                yield
        except BaseException:
            self._marks = {key: Ranges(pairs) for key, pairs in marks.items()}
            self._held = held
            raise

    # -- marks ---------------------------------------------------------------------------------------

    def knows(self, agent: str, boot: str, seq: int) -> bool:
        """Return whether this upload is committed."""
        ranges = self._marks.get((agent, boot))
        return ranges is not None and seq in ranges

    def mark(self, uploads: Iterable[tuple[str, str, int]]) -> None:
        """Mark uploads as committed."""
        touched = set()
        for agent, boot, seq in uploads:
            self._marks.setdefault((agent, boot), Ranges()).add(seq)
            touched.add((agent, boot))
        for agent, boot in touched:
            self._db.execute("DELETE FROM marks WHERE agent = ? AND boot = ?", (agent, boot))
            self._db.executemany(
                "INSERT INTO marks VALUES (?, ?, ?, ?)",
                [(agent, boot, *pair) for pair in self._marks[agent, boot].pairs],
            )
            boots = [key for key in self._marks if key[0] == agent]
            for old in boots[:-MOST_BOOTS]:
                del self._marks[old]
                self._db.execute("DELETE FROM marks WHERE agent = ? AND boot = ?", old)

    def committed(self, agent: str, boot: str, seqs: Iterable[int]) -> tuple[tuple[int, int], ...]:
        """Return the ranges of committed uploads that hold ``seqs``."""
        ranges = self._marks.get((agent, boot))
        return () if ranges is None else ranges.around(seqs)

    # -- rules ---------------------------------------------------------------------------------------

    def rule_state(self) -> State:
        """Return the rule engine's state as of the last commit."""
        return State.load(dict(self._db.execute("SELECT class, data FROM rule_state").fetchall()))

    def keep_rule_state(self, state: State, classes: Iterable[str]) -> None:
        """Keep the parts of ``classes``."""
        self._db.executemany(
            "INSERT OR REPLACE INTO rule_state VALUES (?, ?)",
            [(name, state.dump(name)) for name in classes if name in state.classes],
        )

    # -- quarantine and accounts ---------------------------------------------------------------------

    def quarantine(self, items: Iterable[Quarantined], now_ms: int) -> None:
        """Keep what could not be admitted; the oldest bytes go when there is no room, and are counted."""
        for item in items:
            self._db.execute(
                "INSERT INTO quarantine (at_ms, agent, origin, reason, detail, samples, payload) VALUES (?, ?, ?, ?, ?, ?, ?)",
                (now_ms, item.agent, item.origin, item.reason, item.detail, item.samples, item.payload),
            )
            self._held += len(item.payload)
            self.account(item.agent, f"quarantined:{item.reason}", item.samples)
        while self._held > self._config.quarantine_bytes:
            row, agent, size, samples = self._db.execute(
                "SELECT id, agent, length(payload), samples FROM quarantine ORDER BY id LIMIT 1"
            ).fetchone()
            self._db.execute("DELETE FROM quarantine WHERE id = ?", (row,))
            self.account(agent, "quarantine_evicted", samples)
            self._held -= size

    def account(self, agent: str, entry: str, samples: int) -> None:
        """Add to an account."""
        self._db.execute(
            "INSERT INTO accounts VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET samples = samples + excluded.samples",
            (agent, entry, samples),
        )

    def note_gap(self, agent: str, gap: Gap, now_ms: int) -> None:
        """Keep what an agent tells of its own losses."""
        self._db.execute(
            "INSERT INTO gaps VALUES (?, ?, ?, ?, ?, ?)",
            (agent, gap.cause, gap.samples, gap.start, gap.end, now_ms),
        )


class LedgerReader:
    """Reads a ledger beside its writer."""

    def __init__(self, config: LedgerConfig) -> None:
        self._path = config.path

    def quarantine(self, limit: int) -> list[dict[str, Any]]:
        """Return the newest entries; bytes as text where they are, as hex where they are not."""
        with self._open() as db:
            rows = db.execute(
                "SELECT id, at_ms, agent, origin, reason, detail, samples, substr(payload, 1, 2048), length(payload)"
                " FROM quarantine ORDER BY id DESC LIMIT ?",
                (limit,),
            ).fetchall()
        keys = ("id", "at_ms", "agent", "origin", "reason", "detail", "samples")
        return [
            {**dict(zip(keys, row[:7], strict=True)), "bytes": row[8], **_shown(bytes(row[7] or b""))}
            for row in rows
        ]

    def accounts(self) -> dict[str, Any]:
        """Return what became of every agent's samples, by the ledger."""
        agents: dict[str, Any] = {}

        def of(agent: str) -> dict[str, Any]:
            fresh = {
                "boots": {},
                "received": 0,
                "stored": 0,
                "duplicated": 0,
                "overwritten": 0,
                "quarantined": {},
                "gaps": [],
            }
            told: dict[str, Any] = agents.setdefault(agent, fresh)
            return told

        with self._open() as db:
            db.execute("BEGIN")
            for agent, boot, first, last in db.execute(
                "SELECT agent, boot, first, last FROM marks ORDER BY first"
            ):
                of(agent)["boots"].setdefault(boot, {"ranges": []})["ranges"].append((first, last))
            for agent, entry, samples in db.execute("SELECT agent, entry, samples FROM accounts"):
                if entry.startswith("quarantined:"):
                    of(agent)["quarantined"][entry[12:]] = samples
                else:
                    of(agent)[entry] = samples
            for agent, cause, samples, start, end in db.execute(
                'SELECT agent, cause, samples, start, "end" FROM gaps'
            ):
                of(agent)["gaps"].append({"cause": cause, "samples": samples, "start": start, "end": end})
        return agents

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        try:
            db = sqlite3.connect(f"file:{self._path}?mode=ro", uri=True, isolation_level=None, timeout=5)
        except sqlite3.OperationalError as error:
            raise Unavailable(f"ledger: {error}") from error
        try:
            yield db
        finally:
            db.close()


def _shown(payload: bytes) -> dict[str, str]:
    try:
        return {"text": payload.decode("utf-8")}
    except UnicodeDecodeError:
        return {"hex": payload.hex(" ")}
