"""What an outbox holds, and how it counts."""

from __future__ import annotations

from enum import IntEnum

import msgspec


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
