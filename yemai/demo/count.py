"""Does the count close?  ``made = stored + queued + quarantined + dropped``, in samples.

``made``, ``dropped`` and what waits are read from the agents' outboxes, ``stored`` is counted in the
store itself, ``quarantined`` in the ingest ledger: three parties that cannot agree by mistake.  A
message whose commit is known to the ledger but whose acknowledgement is still on its way counts as
stored, not as queued.  The figures are exact when no agent is reading devices.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path


class Box(msgspec.Struct, frozen=True):
    """What one agent's outbox says."""

    boot: str
    made: int
    dropped: dict[str, int]
    waiting: tuple[tuple[int, int], ...]  # (seq, samples)


class Count(msgspec.Struct, frozen=True):
    """Where every sample is."""

    made: int
    stored: int
    queued: int
    quarantined: int
    dropped: dict[str, int]

    @property
    def missing(self) -> int:
        """Samples that are nowhere; negative when some are in two places."""
        return self.made - self.stored - self.queued - self.quarantined - sum(self.dropped.values())


def read_box(path: Path) -> Box:
    """Read an outbox file in one transaction, whether or not its agent is running."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, isolation_level=None)) as db:
        db.execute("BEGIN")
        meta: dict[str, Any] = dict(db.execute("SELECT key, value FROM outbox_meta").fetchall())
        waiting = tuple(db.execute("SELECT seq, samples FROM outbox ORDER BY seq").fetchall())
    dropped = {key[8:]: int(value) for key, value in meta.items() if key.startswith("dropped:")}
    return Box(str(meta["boot"]), int(meta.get("made", 0)), dropped, waiting)


def count(boxes: Mapping[str, Box], accounting: Mapping[str, Any]) -> Count:
    """Close the count from the agents' boxes and the answer of ``GET /api/data/accounting``."""
    made = queued = quarantined = overwritten = 0
    dropped: dict[str, int] = {}
    for agent, box in boxes.items():
        made += box.made
        for cause, samples in box.dropped.items():
            dropped[cause] = dropped.get(cause, 0) + samples
        told = accounting["agents"].get(agent, {})
        committed = told.get("boots", {}).get(box.boot, {}).get("ranges", ())
        queued += sum(samples for seq, samples in box.waiting if not _within(seq, committed))
        quarantined += sum(told.get("quarantined", {}).values())
        overwritten += told.get("overwritten", 0)
    return Count(made, accounting["store"]["samples"] + overwritten, queued, quarantined, dropped)


def _within(seq: int, ranges: Iterable[tuple[int, int]]) -> bool:
    return any(first <= seq <= last for first, last in ranges)
