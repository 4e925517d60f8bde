"""Reader: what a rule makes of the rows of a frame, before any severity: a number, and truths."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from rules.conditions import Seen
from rules.language.terms import UNKNOWN, OwnMetric
from rules.state import NEVER, TIME, VALUE, Column

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from rules.batch import Batch
    from rules.compiled import Compiled
    from rules.language.binding import Bound
    from rules.language.terms import Count, Elsewhere, Numbers, Predicate, Term, Truth
    from rules.state import RuleState
    from rules.world import World


class Read(NamedTuple):
    """What was read of n rows."""

    values: Numbers  # (n,), NaN for unknown
    facts: Truth | None  # (n, facts)
    known: NDArray[np.bool_]  # (n,): there is something to judge

    def at(self, rows: NDArray[Any]) -> Read:
        """Return some of the rows."""
        return Read(self.values[rows], None if self.facts is None else self.facts[rows], self.known[rows])


@dataclass(frozen=True)
class Reader:
    """The number a rule judges or tells, and the predicates it judges.

    A rule of several metrics keeps the newest sample of each, for devices that tell of them at different times:
    a row that does not speak of a metric takes that one for ``fresh_ms``.
    """

    value: Term
    facts: tuple[Predicate, ...]
    bound: Bound
    places: Mapping[str, int]  # metric → column of the class
    fresh_ms: int

    @property
    def columns(self) -> Mapping[str, Column]:
        """What it remembers for each device: for one, up to when it has read."""
        kept = {name: c for m in self._kept for name, c in ((f"{m}.v", VALUE), (f"{m}.t", TIME))}
        return {**self.bound.columns, **kept, **({"read": TIME} if self.bound.columns or kept else {})}

    @property
    def _kept(self) -> tuple[str, ...]:
        return tuple(self.bound.metrics) if len(self.bound.metrics) > 1 else ()

    def is_plain(self, batch: Batch) -> bool:
        """Return whether the rows can be read all at once, none hanging on one before it."""
        if self.bound.columns:
            return False
        return batch.is_single or all(batch.column(self.places[m]).is_spoken for m in self._kept)

    def speaks(self, batch: Batch) -> NDArray[np.bool_]:
        """Return the rows that speak of any metric of the rule."""
        columns = [batch.column(self.places[m]).spoken for m in self.bound.metrics]
        found: NDArray[np.bool_] = np.logical_or.reduce(columns)
        return found

    def read(
        self, batch: Batch, rows: NDArray[np.intp] | slice, memory: RuleState, world: World | None
    ) -> Read:
        """Read rows, no device twice unless :meth:`is_plain`."""
        if not self.facts and not self._kept and not self.bound.columns and isinstance(self.value, OwnMetric):
            column = batch.column(self.places[self.value.metric.name])
            return Read(column.values[rows], None, column.known[rows])
        look = _Rows(self, batch, rows, memory, world)
        values = self.value.of(look)
        if not self.facts:
            return Read(values, None, ~np.isnan(values))
        facts = np.stack([fact.truth(look) for fact in self.facts], axis=1)
        return Read(values, facts, (facts != UNKNOWN).any(axis=1))

    def keep(self, batch: Batch, rows: NDArray[np.intp], memory: RuleState) -> None:
        """Remember the newest samples of ``rows``, which are sorted by device and time."""
        for name in self._kept:
            column = batch.column(self.places[name])
            mine = rows[column.spoken[rows]]
            last = mine[np.append(np.diff(batch.places[mine]) != 0, True)] if len(mine) else mine
            memory.put(f"{name}.v", batch.places[last], column.values[last])
            memory.put(f"{name}.t", batch.places[last], batch.times[last])


def see(compiled: Compiled, memory: RuleState, batch: Batch, rows: NDArray[np.intp], read: Read) -> Seen:
    """Return the samples in ``rows``, no device twice, as a condition sees them; ``read`` is of these rows."""
    places, times = batch.places[rows], batch.times[rows]
    in_force = None if compiled.schedule is None else compiled.schedule.in_force(times)
    return Seen(
        places,
        read.values,
        times,
        memory.take("judged", places),
        memory.take("level", places),
        read.facts,
        in_force,
    )


class _Rows:
    """Rows of a batch, as terms look at them."""

    def __init__(
        self,
        reader: Reader,
        batch: Batch,
        rows: NDArray[np.intp] | slice,
        memory: RuleState,
        world: World | None,
    ) -> None:
        self._reader, self._batch, self._rows, self._memory, self._world = reader, batch, rows, memory, world
        self._places = batch.places[rows]
        self.times = batch.times[rows]

    def metric(self, name: str) -> tuple[Numbers, NDArray[np.bool_]]:
        column = self._batch.column(self._reader.places[name])
        values = column.values[self._rows]
        if name not in self._reader._kept or column.is_spoken:  # noqa: SLF001 - its own half
            return values, np.zeros(len(values), bool)
        spoken = column.spoken[self._rows]
        since = self._memory.take(f"{name}.t", self._places)
        fresh = (since != NEVER) & (self.times - since <= self._reader.fresh_ms)
        kept = np.where(fresh, self._memory.take(f"{name}.v", self._places), np.nan)
        return np.where(spoken, values, kept), ~spoken & (since == NEVER)

    def take(self, name: str) -> NDArray[Any]:
        return self._memory.take(name, self._places)

    def put(self, name: str, values: NDArray[Any]) -> None:
        self._memory.put(name, self._places, values)

    def elsewhere(self, term: Elsewhere) -> Numbers:
        if self._world is None:
            return np.full(len(self.times), np.nan)
        return self._world.elsewhere(term, self._batch, self._rows)

    def count(self, term: Count) -> Numbers:
        if self._world is None:
            return np.full(len(self.times), np.nan)
        return self._world.count(term, self._batch, self._rows)
