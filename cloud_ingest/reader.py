"""Reads the ledger beside its writer: quarantine and accounts, for people and other systems."""

from __future__ import annotations

import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from cloud_ingest.framelog import counts_of
from cloud_ingest.ledger import ranges_of
from telemetry.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cloud_ingest.config import LedgerConfig

_SHOWN_BYTES = 2048
_QUARANTINED = "quarantined:"


class LedgerReader:
    """Opens the file for each question; raises :class:`Unavailable` while there is none."""

    def __init__(self, config: LedgerConfig) -> None:
        self._path = config.path

    def quarantine(self, limit: int) -> list[dict[str, Any]]:
        """Return the newest entries; bytes as text where they are, as hex where they are not."""
        with self._open() as db:
            rows = db.execute(
                "SELECT id, at_ms, agent, origin, reason, detail, samples, substr(payload, 1, ?), length(payload)"
                " FROM quarantine ORDER BY id DESC LIMIT ?",
                (_SHOWN_BYTES, limit),
            ).fetchall()
        keys = ("id", "at_ms", "agent", "origin", "reason", "detail", "samples")
        return [
            {**dict(zip(keys, row[:7], strict=True)), "bytes": row[8], **_shown(bytes(row[7] or b""))}
            for row in rows
        ]

    def accounts(self) -> dict[str, Any]:
        """Return what became of every agent's samples, in all."""
        agents: dict[str, Any] = {}
        with self._open() as db:
            db.execute("BEGIN")
            for agent, boot, ranges in db.execute("SELECT agent, boot, ranges FROM committed"):
                _of(agents, agent)["boots"][boot] = {"ranges": ranges_of(ranges)}
            for agent, account, samples in db.execute(
                "SELECT agent, account, sum(samples) FROM accounts GROUP BY agent, account"
            ):
                _enter(_of(agents, agent), account, samples)
            for agent, cause, samples, start, end in db.execute(
                'SELECT agent, cause, samples, start, "end" FROM gaps'
            ):
                _of(agents, agent)["gaps"].append(
                    {"cause": cause, "samples": samples, "start": start, "end": end}
                )
        return agents

    def waiting(self) -> int:
        """Return the samples that are committed and not yet in the store."""
        with self._open() as db:
            rows = db.execute("SELECT counts FROM frames WHERE id > (SELECT upto FROM stored)").fetchall()
        return sum(samples for (told,) in rows for samples in counts_of(told).values())

    def hours(self, span: tuple[int, int], agent: str | None = None) -> list[dict[str, Any]]:
        """Return what became of each agent's samples by the hour in which they were made (UTC ms).

        ``read`` is what its devices said: what came in, and what the agent itself tells that it lost.
        """
        entries: dict[tuple[str, int], dict[str, Any]] = {}

        def of(agent: str, hour: int) -> dict[str, Any]:
            fresh = {"agent": agent, "hour": hour, "read": 0, **_fresh()}
            return entries.setdefault((agent, hour), fresh)

        where, given = " AND (? IS NULL OR agent = ?)", (agent, agent)
        with self._open() as db:
            db.execute("BEGIN")
            for name, hour, account, samples in db.execute(
                f"SELECT agent, hour_ms, account, samples FROM accounts WHERE hour_ms BETWEEN ? AND ?{where}",  # noqa: S608 - a constant
                (*span, *given),
            ):
                entry = of(name, hour)
                _enter(entry, account, samples)
                entry["read"] += samples if account == "received" else 0
            for name, cause, samples, start, end in db.execute(
                f'SELECT agent, cause, samples, start, "end" FROM gaps WHERE start BETWEEN ? AND ?{where}',  # noqa: S608
                (*span, *given),
            ):
                entry = of(name, start - start % 3_600_000)
                entry["gaps"].append({"cause": cause, "samples": samples, "start": start, "end": end})
                entry["read"] += samples
        return [entries[key] for key in sorted(entries)]

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


def _fresh() -> dict[str, Any]:
    return {"received": 0, "stored": 0, "duplicated": 0, "overwritten": 0, "quarantined": {}, "gaps": []}


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
