"""Reads the ledger beside its writer: quarantine and accounts, for people and other systems."""

from __future__ import annotations

import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import msgspec

from cloud_ingest.framelog import counts_of, mapped
from cloud_ingest.ledger import ranges_of
from cloud_ingest.registry.model import UNANNOUNCED
from telemetry.errors import Refused

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cloud_ingest.config import LedgerConfig

MOST_HOURS = 100_000
"""In one answer, which is made in memory: a day of 4,000 agents, or ten years of one."""
_SHOWN_BYTES = 2048
_QUARANTINED = "quarantined:"
_HOUR_MS = 3_600_000


class _Named(msgspec.Struct):
    device: str


class LedgerReader:
    """Opens the file for each question; raises :class:`~telemetry.errors.Unavailable` while it cannot be read."""

    def __init__(self, config: LedgerConfig) -> None:
        self._path = config.path

    def quarantine(
        self, limit: int, *, agent: str | None = None, reason: str | None = None, before: int | None = None
    ) -> list[dict[str, Any]]:
        """Return the newest entries (older than entry ``before``); bytes as text where they are, else as hex."""
        with self._open() as db:
            rows = db.execute(
                "SELECT id, at_ms, agent, origin, reason, detail, samples, substr(payload, 1, ?1), length(payload)"
                " FROM quarantine WHERE (?2 IS NULL OR agent = ?2) AND (?3 IS NULL OR reason = ?3)"
                " AND (?4 IS NULL OR id < ?4) ORDER BY id DESC LIMIT ?5",
                (_SHOWN_BYTES, agent, reason, before, limit),
            ).fetchall()
        keys = ("id", "at_ms", "agent", "origin", "reason", "detail", "samples")
        return [
            {**dict(zip(keys, row[:7], strict=True)), "bytes": row[8], **_shown(bytes(row[7] or b""))}
            for row in rows
        ]

    def accounts(self, agent: str | None = None) -> dict[str, Any]:
        """Return what became of the samples of every agent, or of one, in all."""
        agents: dict[str, Any] = {}
        only, given = "WHERE ? IS NULL OR agent = ?", (agent, agent)
        with self._open() as db:
            for name, boot, ranges in db.execute(f"SELECT agent, boot, ranges FROM committed {only}", given):  # noqa: S608 - a constant
                _of(agents, name)["boots"][boot] = {"ranges": ranges_of(ranges)}
            for name in _accounted(db, agent):
                for account, samples in db.execute(
                    "SELECT account, sum(samples) FROM accounts WHERE agent = ? GROUP BY account", (name,)
                ):
                    _enter(_of(agents, name), account, samples)
            for name, cause, samples, start, end in db.execute(
                f'SELECT agent, cause, samples, start, "end" FROM gaps {only}',  # noqa: S608
                given,
            ):
                _of(agents, name)["gaps"].append(
                    {"cause": cause, "samples": samples, "start": start, "end": end}
                )
        return agents

    def losses(self, agent: str, span: tuple[int, int]) -> list[dict[str, Any]]:
        """Return what an agent tells that it lost of what was read in ``span`` (UTC ms), the least first."""
        with self._open() as db:
            rows = db.execute(
                'SELECT cause, samples, start, "end" FROM gaps WHERE agent = ? AND start <= ? AND "end" >= ?'
                " ORDER BY samples",
                (agent, span[1], span[0]),
            ).fetchall()
        return [dict(zip(("cause", "samples", "start", "end"), row, strict=True)) for row in rows]

    def unannounced(self, after: int, most: int) -> tuple[int, list[tuple[str, str, int]]]:
        """Return ``(agent, device, arrival)`` of entries that no registered device may have said, and the last entry.

        ``after`` is an entry as well; of a ledger that was made anew all are looked at again.
        """
        with self._open() as db:
            db.execute("BEGIN")
            (last,) = db.execute(
                "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'quarantine'"
            ).fetchone()
            rows = db.execute(
                "SELECT id, agent, reason, payload, at_ms FROM quarantine WHERE id > ? ORDER BY id LIMIT ?",
                (after if after <= last else 0, most),
            ).fetchall()
        found = [
            (agent, msgspec.json.decode(payload, type=_Named).device[:64], at_ms)
            for _, agent, reason, payload, at_ms in rows
            if reason in UNANNOUNCED
        ]
        return (rows[-1][0] if rows else last), found

    def waiting(self) -> int:
        """Return the samples that are committed and not yet in the store."""
        with self._open() as db:
            return sum(samples for _, _, samples in _waiting(db))

    def oldest_waiting(self) -> int | None:
        """Return when the oldest frame was committed that the store has not, UTC ms; None when it has all."""
        with self._open() as db:
            found = db.execute(
                "SELECT at_ms FROM frames WHERE id > (SELECT upto FROM stored) ORDER BY id LIMIT 1"
            ).fetchone()
        return None if found is None else int(found[0])

    def hours(self, span: tuple[int, int], agent: str | None = None) -> list[dict[str, Any]]:
        """Return what became of each agent's samples by the hour in which they were made (UTC ms).

        ``read`` is what its devices said: ``received``, and what the agent itself tells that it lost (``gaps``).
        ``received`` is ``stored``, ``waiting`` for the store, or ``quarantined``.  ``duplicated`` came once more and was
        counted before, ``overwritten`` was stored and then replaced, ``readmitted`` had been in quarantine.  Raises
        :class:`Refused` for more than :data:`MOST_HOURS` entries.
        """
        entries: dict[tuple[str, int], dict[str, Any]] = {}

        def of(agent: str, hour: int) -> dict[str, Any]:
            fresh = {"agent": agent, "hour": hour, "read": 0, "waiting": 0, **_fresh()}
            return entries.setdefault((agent, hour), fresh)

        where, given = " AND (? IS NULL OR agent = ?)", (agent, agent)
        with self._open() as db:
            db.execute("BEGIN")
            for name in _accounted(db, agent):
                for hour, account, samples in db.execute(
                    "SELECT hour_ms, account, samples FROM accounts WHERE agent = ? AND hour_ms BETWEEN ? AND ?",
                    (name, *span),
                ):
                    entry = of(name, hour)
                    _enter(entry, account, samples)
                    entry["read"] += samples if account == "received" else 0
                if len(entries) > MOST_HOURS:
                    raise Refused(
                        f"from_ms to to_ms: more than {MOST_HOURS:,} hours of agents; name one agent, or ask for a shorter time"
                    )
            for name, hour, samples in _waiting(db):
                if span[0] <= hour <= span[1] and agent in (None, name):
                    of(name, hour)["waiting"] += samples
            for name, cause, samples, start, end in db.execute(
                f'SELECT agent, cause, samples, start, "end" FROM gaps WHERE start BETWEEN ? AND ?{where}',  # noqa: S608
                (*span, *given),
            ):
                entry = of(name, start - start % _HOUR_MS)
                entry["gaps"].append({"cause": cause, "samples": samples, "start": start, "end": end})
                entry["read"] += samples
        return [entries[key] for key in sorted(entries)]

    def actions(self, limit: int, device: str | None) -> list[dict[str, Any]]:
        """Return the newest steps of commands and judgements at the sites."""
        with self._open() as db:
            rows = db.execute(
                "SELECT id, step, agent, device, at_ms, body FROM actions WHERE coalesce(?, device) = device"
                " ORDER BY at_ms DESC, id, step LIMIT ?",
                (device, limit),
            ).fetchall()
        keys = ("id", "step", "agent", "device", "at_ms")
        return [
            {**dict(zip(keys, row[:5], strict=True)), "body": msgspec.json.decode(row[5])} for row in rows
        ]

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        with mapped("ledger"):
            db = sqlite3.connect(f"file:{self._path}?mode=ro", uri=True, isolation_level=None, timeout=5)
            try:
                yield db
            finally:
                db.close()


def _accounted(db: sqlite3.Connection, agent: str | None) -> Iterator[str]:
    """Yield an agent, or one after the other all that have accounts: each is found where the last one's hours end."""
    if agent is not None:
        yield agent
        return
    (name,) = db.execute("SELECT min(agent) FROM accounts").fetchone()
    while name is not None:
        yield name
        (name,) = db.execute("SELECT min(agent) FROM accounts WHERE agent > ?", (name,)).fetchone()


def _waiting(db: sqlite3.Connection) -> Iterator[tuple[str, int, int]]:
    for (told,) in db.execute("SELECT counts FROM frames WHERE id > (SELECT upto FROM stored)"):
        for (agent, hour), samples in counts_of(told).items():
            yield agent, hour, samples


def _fresh() -> dict[str, Any]:
    counts = ("received", "stored", "duplicated", "overwritten", "readmitted", "quarantine_evicted")
    return {**dict.fromkeys(counts, 0), "quarantined": {}, "gaps": []}


def _of(agents: dict[str, Any], agent: str) -> dict[str, Any]:
    told: dict[str, Any] = agents.setdefault(agent, {"boots": {}, **_fresh()})
    return told


def _enter(entry: dict[str, Any], account: str, samples: int) -> None:
    if not account.startswith(_QUARANTINED):
        entry[account] = samples
    elif samples:  # what was admitted later leaves nothing
        entry["quarantined"][account.removeprefix(_QUARANTINED)] = samples


def _shown(payload: bytes) -> dict[str, str]:
    try:
        return {"text": payload.decode("utf-8")}
    except UnicodeDecodeError:
        return {"hex": payload.hex(" ")}
