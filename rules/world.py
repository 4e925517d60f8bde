"""World: what the devices of other classes, and the neighbours of the same, said last.

Kept in the state of their own class, under :data:`NEWEST`, only for metrics that a rule asks for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from rules.language.terms import TRUE
from rules.state import NEVER, TIME, VALUE, Column

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from rules.batch import Batch
    from rules.language.terms import Count, Elsewhere, Numbers
    from rules.state import ClassState, RuleState, State
    from rules.topology import Topology

NEWEST = "·newest"
"""Under this name a class's state keeps the newest samples that others ask for; no rule can have it."""


def newest_columns(metrics: Sequence[str]) -> Mapping[str, Column]:
    """Return what is kept for ``metrics``."""
    return {name: c for m in metrics for name, c in ((f"{m}.v", VALUE), (f"{m}.t", TIME))}


def note_newest(part: ClassState, batch: Batch, columns: Mapping[str, int]) -> None:
    """Keep the newest known sample of each device for the metrics in ``columns``."""
    memory = part.rule(NEWEST, "newest", newest_columns(list(columns)))
    for name, column in columns.items():
        rows = batch.order[batch.column(column).known[batch.order]]
        if not len(rows):
            continue
        last = rows[np.append(np.diff(batch.places[rows]) != 0, [True])]
        last = last[batch.times[last] > memory.take(f"{name}.t", batch.places[last])]
        memory.put(f"{name}.v", batch.places[last], batch.column(column).values[last])
        memory.put(f"{name}.t", batch.places[last], batch.times[last])


class World:
    """The newest samples as of one frame."""

    def __init__(self, state: State, topology: Topology) -> None:
        self._state, self.topology = state, topology

    def elsewhere(self, term: Elsewhere, batch: Batch, rows: NDArray[np.intp] | slice) -> Numbers:
        """Return, for each row, the newest value among the devices there, if it is fresh."""
        times, mine = batch.times[rows], self._groups(term.scope, batch, rows)
        found = np.full(len(times), np.nan)
        memory, part = self._newest(term.device_class)
        if memory is None or part is None:
            return found
        theirs = self.topology.numbers(term.scope, part.devices)[: len(memory.columns["level"])]
        since, values = memory.columns[f"{term.metric.name}.t"], memory.columns[f"{term.metric.name}.v"]
        told = np.flatnonzero((theirs >= 0) & (since != NEVER))
        told = told[np.argsort(since[told], kind="stable")]  # the newest is written last
        size = 1 + max(theirs.max(initial=-1), mine.max(initial=-1))
        value, at = np.full(size, np.nan), np.full(size, NEVER, np.int64)
        value[theirs[told]], at[theirs[told]] = values[told], since[told]
        there = mine >= 0
        fresh = np.abs(times[there] - at[mine[there]]) <= term.fresh_ms
        found[there] = np.where(fresh, value[mine[there]], np.nan)
        return found

    def count(self, term: Count, batch: Batch, rows: NDArray[np.intp] | slice) -> Numbers:
        """Return, for each row, how many devices there are known to fulfil the predicate now."""
        mine = self._groups(term.scope, batch, rows)
        memory, part = self._newest(term.device_class)
        if memory is None or part is None:
            return np.where(mine >= 0, 0.0, np.nan)
        theirs = self.topology.numbers(term.scope, part.devices)[: len(memory.columns["level"])]
        now = int(batch.times.max())
        fulfil = (term.predicate.truth(_Newest(memory, now, term.fresh_ms)) == TRUE) & (theirs >= 0)
        size = 1 + max(theirs.max(initial=-1), mine.max(initial=-1))
        counts = np.bincount(theirs[fulfil], minlength=size + 1).astype(np.float64)
        return np.where(mine >= 0, counts[mine], np.nan)

    def _groups(self, scope: str, batch: Batch, rows: NDArray[np.intp] | slice) -> NDArray[np.intp]:
        return self.topology.numbers(scope, batch.frame.devices)[batch.frame.index[rows]]

    def _newest(self, device_class: str) -> tuple[RuleState | None, ClassState | None]:
        part = self._state.classes.get(device_class)
        return (None, None) if part is None else (part.rules.get(NEWEST), part)


class _Newest:
    """All devices of a class, as a counted predicate looks at them."""

    def __init__(self, memory: RuleState, now_ms: int, fresh_ms: int) -> None:
        self._memory, self._fresh_ms = memory, fresh_ms
        self.times = np.full(len(memory.columns["level"]), now_ms)

    def metric(self, name: str) -> tuple[Numbers, NDArray[np.bool_]]:
        since = self._memory.columns[f"{name}.t"]
        fresh = (since != NEVER) & (self.times - since <= self._fresh_ms)
        return np.where(fresh, self._memory.columns[f"{name}.v"], np.nan), since == NEVER

    def take(self, name: str) -> NDArray[Any]:
        raise NotImplementedError(name)  # refused when the rule is loaded

    def put(self, name: str, values: NDArray[Any]) -> None:
        raise NotImplementedError(name)

    def elsewhere(self, term: Elsewhere) -> Numbers:
        raise NotImplementedError(term.metric.name)

    def count(self, term: Count) -> Numbers:
        raise NotImplementedError(term.device_class)
