"""The frame log: what was admitted, until the store has it and the rule state no longer needs it.

::

    committed ──▶ 1 2 3 4 5 6 7 8 9
                      │     └ stored up to here: the store writer goes on at the next
                      └ snapshot of a class up to here: a restart judges again from the next

The engine is a function of its state and the frame, so a snapshot of a class and the frames since give its state
again, to the bit.  That is far less to write with each batch than all that its rules remember.  A class is written
anew when its frames have grown to twice its snapshot.
"""

from __future__ import annotations

import sqlite3
from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import numpy as np
import structlog

from rules.frame import Frame
from rules.state import State
from telemetry.errors import Malformed, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from cloud_ingest.guarded import Guarded

log = structlog.get_logger()
_LEAST_BYTES = 4 << 20
_AT_HAND_BYTES = (
    32 << 20
)  # of frames that are kept in memory too, so that a store that keeps up costs no reading
_FRAME_BYTES = 4096  # of a frame beside its columns
TABLES = """
CREATE TABLE IF NOT EXISTS frames (
    id INTEGER PRIMARY KEY AUTOINCREMENT, class TEXT NOT NULL, at_ms INTEGER NOT NULL,
    frame BLOB NOT NULL, uploads BLOB NOT NULL, counts BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS rule_state (class TEXT PRIMARY KEY, upto INTEGER NOT NULL, data BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS rule_state_aside (class TEXT PRIMARY KEY, data BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS stored (one INTEGER PRIMARY KEY CHECK (one = 1), upto INTEGER NOT NULL);
INSERT OR IGNORE INTO stored VALUES (1, 0);
"""
Counts = dict[tuple[str, int], int]
"""Samples by agent and hour."""


class Waiting(NamedTuple):
    """A frame that the store has not."""

    id: int
    at_ms: int  # when it was committed
    frame: Frame
    uploads: NDArray[np.int64]  # (n,), the number of the upload that each row came with
    counts: Counts


class FrameLog:
    """Part of the ledger's file, which makes its tables; written inside its transactions."""

    def __init__(self, db: sqlite3.Connection, *, max_bytes: int) -> None:
        self._db, self._max_bytes = db, max_bytes
        self._stored = self._bytes = 0
        self._at_hand: deque[Waiting] = deque()
        self._kept: dict[str, int] = {}  # class → the last frame in its snapshot
        self._size: dict[str, int] = {}  # class → bytes of its snapshot
        self._since: dict[str, int] = {}  # class → bytes of its frames since
        self._together: Callable[[Iterable[str]], Iterable[str]] = lambda names: names
        self._learn()

    # -- the store's side ------------------------------------------------------------------------------

    @property
    def waiting_bytes(self) -> int:
        """Bytes that wait for the store."""
        return self._bytes

    @property
    def is_full(self) -> bool:
        """Whether no more may wait for the store."""
        return self._bytes > self._max_bytes

    @property
    def no_room(self) -> str:
        """How full it is, for a person to read."""
        return f"{self._bytes} bytes wait for the store, {self._max_bytes} may (ledger.waiting_bytes)"

    def append(
        self, frames: Sequence[Frame], uploads: Sequence[Sequence[int]], counts: Counts, now_ms: int
    ) -> None:
        """Keep the frames of one batch; raise :class:`Unavailable` when no more may wait for the store."""
        if frames and self.is_full:
            raise Unavailable(self.no_room)
        told = [(agent, hour, samples) for (agent, hour), samples in counts.items()]
        for frame, numbers in zip(frames, uploads, strict=True):
            data, rows = frame.dump(), np.asarray(numbers, np.int64)
            row = self._db.execute(
                "INSERT INTO frames (class, at_ms, frame, uploads, counts) VALUES (?, ?, ?, ?, ?)",
                (frame.device_class, now_ms, data, rows.tobytes(), msgspec.msgpack.encode(told)),
            ).lastrowid
            self._at_hand.append(Waiting(row or 0, now_ms, frame, rows, counts))
            counts, told = {}, []  # they are the batch's: once
            self._bytes += len(data)
            self._since[frame.device_class] = self._since.get(frame.device_class, 0) + len(data)

    def waiting(self, most_bytes: int, upto: int | None = None) -> list[Waiting]:
        """Return the oldest frames that the store has not, at least one if there are any; or all ``upto`` an id."""
        if upto is None and self._at_hand and self._at_hand[0].id == self._stored + 1:
            return list(_first(self._at_hand, most_bytes))
        found: list[Waiting] = []
        size = 0
        with mapped("ledger"):
            for row, at_ms, frame, uploads, counts in self._db.execute(
                "SELECT id, at_ms, frame, uploads, counts FROM frames WHERE id > ? AND id <= ? ORDER BY id",
                (self._stored, 2**62 if upto is None else upto),
            ):
                size += len(frame)
                if upto is None and found and size > most_bytes:
                    break
                numbers = np.frombuffer(uploads, np.int64)
                found.append(Waiting(row, at_ms, Frame.load(frame), numbers, counts_of(counts)))
        return found

    def stored(self, upto: int) -> None:
        """Note that the store has all frames up to an id."""
        (size,) = self._db.execute(
            "SELECT coalesce(sum(length(frame)), 0) FROM frames WHERE id > ? AND id <= ?",
            (self._stored, upto),
        ).fetchone()
        self._bytes -= size
        self._stored = upto
        while self._at_hand and self._at_hand[0].id <= upto:
            self._at_hand.popleft()
        self._db.execute("UPDATE stored SET upto = ?", (upto,))

    # -- the rules' side -------------------------------------------------------------------------------

    def state(self, engine: Guarded) -> State:
        """Return the rule state as of the last commit.

        What changes on the way was told when it was judged first, and is not told again.
        """
        self.judged_by(engine)
        state = State.load(self._snapshots())
        for at_ms, frame in self._db.execute(
            "SELECT at_ms, frame FROM frames LEFT JOIN rule_state USING (class)"
            " WHERE id > coalesce(upto, 0) ORDER BY id"
        ):
            state = engine.replayed(state, Frame.load(frame), at_ms)
        return state

    def judged_by(self, engine: Guarded) -> None:
        """Learn which classes' states belong together."""
        self._together = engine.together

    def _snapshots(self) -> dict[str, bytes]:
        """Return the snapshots that can be read; one of another version is put aside, and its class begins anew."""
        found = dict(self._db.execute("SELECT class, data FROM rule_state").fetchall())
        for name, data in list(found.items()):
            try:
                State.load({name: data})
            except Malformed as error:
                log.error(
                    "rule_state_unreadable", device_class=name, problem=str(error),
                    way_out="its rules begin anew; alarms that stand on the desk are to be closed there by hand",
                )  # fmt: skip
                self._db.execute("INSERT OR REPLACE INTO rule_state_aside VALUES (?, ?)", (name, data))
                del found[name]
        return found

    def judged(self, state: State, classes: Iterable[str]) -> None:
        """Take a snapshot of those ``classes`` that have had many frames since their last."""
        self.keep(
            state,
            [
                name
                for name in classes
                if name in state.classes
                and self._since.get(name, 0) > max(_LEAST_BYTES, 2 * self._size.get(name, 0))
            ],
        )

    def keep(self, state: State, classes: Iterable[str]) -> None:
        """Take a snapshot of ``classes`` as they are after the last frame, and drop what nobody needs any more."""
        (last,) = self._db.execute(
            "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'frames'"
        ).fetchone()
        for name in state.classes.keys() & set(
            self._together(classes)
        ):  # what asks each other, of one moment
            data = state.dump(name)
            self._db.execute("INSERT OR REPLACE INTO rule_state VALUES (?, ?, ?)", (name, last, data))
            self._db.execute(
                "DELETE FROM frames WHERE class = ? AND id <= ?", (name, min(last, self._stored))
            )
            self._kept[name], self._size[name], self._since[name] = last, len(data), 0

    def remember(self) -> Callable[[], None]:
        """Return what takes the figures back to what they are now: for a transaction that comes to nothing."""
        figures = self._stored, self._bytes, dict(self._kept), dict(self._size), dict(self._since)
        at_hand = self._at_hand.copy()

        def undo() -> None:
            self._stored, self._bytes, self._kept, self._size, self._since = figures
            self._at_hand = at_hand

        return undo

    def settle(self) -> None:
        """Keep no more in memory than is bearable: what the store does not fetch soon is read from disk later."""
        if sum(item.frame.nbytes + _FRAME_BYTES for item in self._at_hand) > _AT_HAND_BYTES:
            self._at_hand.clear()

    def _learn(self) -> None:
        (self._stored,) = self._db.execute("SELECT upto FROM stored").fetchone()
        self._kept, self._size, self._since = {}, {}, {}
        for name, upto, size in self._db.execute("SELECT class, upto, length(data) FROM rule_state"):
            self._kept[name], self._size[name] = upto, size
        self._bytes = 0
        for row, name, size in self._db.execute("SELECT id, class, length(frame) FROM frames"):
            self._bytes += size if row > self._stored else 0
            self._since[name] = self._since.get(name, 0) + (size if row > self._kept.get(name, 0) else 0)


@contextmanager
def mapped(what: str) -> Iterator[None]:
    """Tell a disk that is full or a file that somebody locks as :class:`Unavailable`."""
    try:
        yield
    except sqlite3.OperationalError as error:
        raise Unavailable(f"{what}: {error}") from error


def _first(items: Iterable[Waiting], most_bytes: int) -> Iterator[Waiting]:
    """Return the first items, at least one, up to a size."""
    size = 0
    for item in items:
        if size and size + item.frame.nbytes > most_bytes:
            return
        size += item.frame.nbytes
        yield item


def counts_of(data: bytes) -> Counts:
    """Return the counts that a row of ``frames`` holds."""
    told = msgspec.msgpack.decode(data, type=list[tuple[str, int, int]])
    return {(agent, hour): samples for agent, hour, samples in told}
