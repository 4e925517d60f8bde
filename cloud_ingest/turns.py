"""Turns: whose uploads are committed next when not everything can be at once.

::

    arrived ──▶ live, within its agent's share ─────────────────▶ this turn
            ├─▶ live, beyond the share ──▶ excess, by agent ──┐   round after round of the agents,
            └─▶ older than a minute ─────▶ history, by agent ─┴─▶ while the next live uploads gather

An agent's share of a turn is measured by the others: four times what the middle one of them has in it.  Of each of
its lanes an agent's uploads come in their order, which is what rules judge by.  What an agent did and judged itself
does not wait behind its own excess.  What waits is bounded in bytes; see :mod:`cloud_ingest.held` for how it outlives the process.

Pure: :meth:`Turns.plan` and :meth:`Turns.next` decide, and only :meth:`Turns.settle` changes anything, once it is committed.
"""

from __future__ import annotations

import statistics
from collections import Counter, deque
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from cloud_ingest.source import MOST
from telemetry import codecs
from telemetry.errors import Malformed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from cloud_ingest.source import Delivery

LIVE_MS = 60_000
"""What is older is history: agents send it after what happens now, and it pages nobody."""
FEW = 64
"""So many uploads at once are no burden, whoever sent them."""
LEAST_SHARE = 4
_SHARE = 4
MOST_BYTES = 64 << 20
MOST_OF_AGENT = MOST_BYTES // 4
"""More than any window lets an agent have on its way."""
_BESIDE = 300  # bytes of a delivery beside its payload
_MOST_SERVED = 250  # of what waits, in a turn of live uploads


class Lane(StrEnum):
    """For what an upload waits."""

    EXCESS = "excess"  # for the other agents' live uploads
    HISTORY = "history"  # for everybody's


class Held(NamedTuple):
    """An upload that waits; ``row`` is where it is written down."""

    delivery: Delivery
    lane: Lane
    boot: str  # "" with seq 0 when nobody can tell
    seq: int
    row: int = 0

    @property
    def nbytes(self) -> int:
        """What it costs to keep it."""
        return len(self.delivery.payload) + _BESIDE


@dataclass
class Plan:
    """One turn."""

    now: list[Delivery] = field(default_factory=list)  # to commit, in this order
    hold: list[Held] = field(default_factory=list)
    served: list[Held] = field(default_factory=list)  # of ``now``, what has waited
    emptied: list[int] = field(default_factory=list)  # rows of which nothing waits after that
    copies: list[Delivery] = field(default_factory=list)  # of what waits already
    turned_away: list[Delivery] = field(default_factory=list)  # their agents keep them, and send them again


class _Peek(msgspec.Struct):
    """As much of an upload as it takes to sort it."""

    agent: str
    boot: str
    seq: int
    sent: int = 0
    results: msgspec.Raw = msgspec.Raw()
    transitions: msgspec.Raw = msgspec.Raw()

    @property
    def tells_of_deeds(self) -> bool:
        return len(bytes(self.results)) > 2 or len(bytes(self.transitions)) > 2


class Turns:
    """What waits, and who is next."""

    def __init__(self) -> None:
        self._lanes: dict[Lane, dict[str, deque[Held]]] = {lane: {} for lane in Lane}
        self._keys: dict[tuple[str, str], set[int]] = {}  # agent and boot → seqs
        self._left: Counter[int] = Counter()  # by row
        self._bytes: Counter[str] = Counter()  # by agent

    @property
    def waiting(self) -> bool:
        """Whether anything waits."""
        return any(self._lanes.values())

    def count(self, lane: Lane) -> int:
        """Return how many uploads wait in a lane."""
        return sum(map(len, self._lanes[lane].values()))

    @property
    def nbytes(self) -> int:
        """What all that waits costs."""
        return self._bytes.total()

    def bytes_of(self, agent: str) -> int:
        """What an agent's uploads cost that wait."""
        return self._bytes[agent]

    def holds(self, agent: str, boot: str, seq: int) -> bool:
        """Return whether this upload waits."""
        return seq in self._keys.get((agent, boot), ())

    def emptied_by(self, served: Iterable[Held]) -> list[int]:
        """Return the rows of which nothing waits any more when these are committed."""
        gone = Counter(held.row for held in served)
        return [row for row, count in gone.items() if self._left[row] == count]

    def plan(
        self, arrived: Sequence[Delivery], now_ms: int, shifts: Mapping[str, int], *, serving: bool = True
    ) -> Plan:
        """Sort what has arrived; ``shifts`` correct the clocks of agents (ms).  Without ``serving`` what waits goes on waiting."""
        peeks = [_peek(delivery) for delivery in arrived]
        is_old = [
            peek is not None and now_ms - peek.sent - shifts.get(delivery.agent, 0) > LIVE_MS
            for delivery, peek in zip(arrived, peeks, strict=True)
        ]
        live = Counter(delivery.agent for delivery, old in zip(arrived, is_old, strict=True) if not old)
        is_crowd = len(arrived) > FEW
        share = _share(live) if is_crowd else FEW
        plan = _Making(self)
        for queue in self._lanes[Lane.EXCESS].values():
            if serving and len(plan.served) < _MOST_SERVED:
                plan.serve([queue[n] for n in range(min(share, len(queue)))])
        taken: Counter[str] = Counter()
        for delivery, peek, old in zip(arrived, peeks, is_old, strict=True):
            agent, lane = delivery.agent, Lane.HISTORY if old else Lane.EXCESS
            if plan.is_copy(delivery, peek):
                plan.copies.append(delivery)
            elif peek is not None and peek.tells_of_deeds and taken[agent] < share:
                taken[agent] += 1
                plan.now.append(delivery)
            elif agent in self._lanes[lane] or (old and is_crowd and live) or taken[agent] >= share:
                plan.keep(delivery, lane, peek)
            else:
                taken[agent] += not old
                plan.now.append(delivery)
        return plan.done()

    def next(self, most: int) -> Plan:
        """Return at most ``most`` of what waits: half of them excess, half history, as far as there is both."""
        excess, history = (self._round(lane, most) for lane in (Lane.EXCESS, Lane.HISTORY))
        half = most // 2
        some = excess[: max(half, most - len(history))]
        plan = _Making(self)
        plan.serve(some + history[: most - len(some)])
        return plan.done()

    def settle(self, plan: Plan, row: int) -> None:
        """Take over what is committed; what is new to wait is written down as ``row``."""
        for held in plan.served:
            agent, queues = held.delivery.agent, self._lanes[held.lane]
            queue = queues.pop(agent)
            queue.popleft()
            if queue:
                queues[agent] = queue  # at the end: it was served last
            self._bytes[agent] -= held.nbytes
            self._left[held.row] -= 1
            seqs = self._keys.get((agent, held.boot), set())
            seqs.discard(held.seq)
            if not seqs:
                self._keys.pop((agent, held.boot), None)
        for row_done in plan.emptied:
            del self._left[row_done]
        self._bytes += Counter()  # forgets whom nothing is kept of
        for held in plan.hold:
            self._add(held._replace(row=row))

    def recall(self, held: Iterable[Held], knows: Callable[[str, str, int], bool]) -> list[int]:
        """Take up what waited when the process ended; return the rows of which all has been committed since."""
        rows = set()
        for item in held:
            rows.add(item.row)
            if not item.seq or not knows(item.delivery.agent, item.boot, item.seq):
                self._add(item)
        return sorted(rows - self._left.keys())

    def _add(self, held: Held) -> None:
        agent = held.delivery.agent
        self._lanes[held.lane].setdefault(agent, deque()).append(held)
        self._bytes[agent] += held.nbytes
        self._left[held.row] += 1
        if held.seq:
            self._keys.setdefault((agent, held.boot), set()).add(held.seq)

    def _round(self, lane: Lane, most: int) -> list[Held]:
        """Return the first of each agent, then the second of each, and so on; who was served last comes last."""
        found: list[Held] = []
        queues, depth = list(self._lanes[lane].values()), 0
        while queues and len(found) < most:
            found += [queue[depth] for queue in queues[: most - len(found)]]
            depth += 1
            queues = [queue for queue in queues if len(queue) > depth]
        return found


class _Making(Plan):
    """A plan that is being made."""

    def __init__(self, turns: Turns) -> None:
        super().__init__()
        self._turns = turns
        self._new: set[tuple[str, str, int]] = set()
        self._bytes: Counter[str] = Counter()
        self._all = turns.nbytes

    def is_copy(self, delivery: Delivery, peek: _Peek | None) -> bool:
        """Return whether the upload waits already."""
        if peek is None:
            return False
        key = delivery.agent, peek.boot, peek.seq
        return self._turns.holds(*key) or key in self._new

    def serve(self, held: Sequence[Held]) -> None:
        """Commit what has waited."""
        self.served += held
        self.now += [item.delivery for item in held]

    def keep(self, delivery: Delivery, lane: Lane, peek: _Peek | None) -> None:
        """Let it wait; where there is no room, an agent that has most of it keeps its own, and others go on as they came."""
        agent, (boot, seq) = delivery.agent, ("", 0) if peek is None else (peek.boot, peek.seq)
        held = Held(delivery, lane, boot, seq)
        if self._turns.bytes_of(agent) + self._bytes[agent] + held.nbytes > MOST_OF_AGENT:
            self.turned_away.append(delivery)
        elif self._all + held.nbytes > MOST_BYTES:
            self.now.append(delivery)
        else:
            self._bytes[agent] += held.nbytes
            self._all += held.nbytes
            self._new.add((agent, boot, seq))
            self.hold.append(held)

    def done(self) -> Plan:
        """Return the plan."""
        self.emptied = self._turns.emptied_by(self.served)
        return self


def _share(live: Counter[str]) -> int:
    """Return how many live uploads an agent may have in a turn before the others."""
    return max(LEAST_SHARE, _SHARE * statistics.median_low(live.values())) if live else LEAST_SHARE


def _peek(delivery: Delivery) -> _Peek | None:
    """Return how an upload is to be sorted; None for one that admission will refuse."""
    try:
        found = codecs.decode(delivery.payload, _Peek, max_bytes=len(delivery.payload))
    except Malformed:
        return None
    return found if found.agent == delivery.agent and 0 < found.seq < MOST else None


class Pace:
    """How many uploads can be committed in a given time, by what the latest took."""

    _WEIGHT = 0.3

    def __init__(self, least: int, most: int) -> None:
        self._least, self._most = least, most
        self._each_s = 0.0002

    def within(self, seconds: float) -> int:
        """Return how many uploads to commit together so that it takes about ``seconds``."""
        return max(self._least, min(self._most, int(seconds / self._each_s)))

    def took(self, uploads: int, seconds: float) -> None:
        """Learn from a turn."""
        if uploads:
            self._each_s += self._WEIGHT * (seconds / uploads - self._each_s)
