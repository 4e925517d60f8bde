"""Judge: one rule with a condition, over the rows of a frame."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from rules.alarms import Teller
from rules.batch import in_rounds
from rules.compiled import compile_rule
from rules.conditions import Seen
from rules.language.terms import Count, Elsewhere
from rules.reader import see
from rules.retrospect import retrospect
from rules.whens import resting, stirring

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from device_profiles.vocabulary import DeviceClass
    from rules.batch import Batch
    from rules.pack import Rule
    from rules.reader import Read
    from rules.state import ClassState, RuleState
    from rules.world import World
    from telemetry.transitions import Transition


class Judge:
    """One rule with a condition."""

    def __init__(
        self,
        rule: Rule,
        device_class: DeviceClass,
        classes: Mapping[str, DeviceClass],
        *,
        shadow: bool = False,
    ) -> None:
        compiled = compile_rule(rule, device_class, classes)
        if compiled is None:
            raise ValueError(rule.id)
        self._compiled, self._reader, self._condition = compiled, compiled.reader, compiled.condition
        self._teller = Teller(
            rule, device_class.name, compiled.metric, compiled.unit, compiled.condition, shadow
        )
        self._columns, self._basis = compiled.columns, compiled.basis
        self._remembers = "read" in self._columns
        """Whether it reads more than it judges: then a row is late against the newest it has read."""
        self.key = self._teller.key

    @property
    def metrics_asked(self) -> Iterator[tuple[str, str]]:
        """Class and metric of what it asks of other devices."""
        for term in self._reader.bound.elsewhere:
            if isinstance(term, Elsewhere):
                yield term.device_class, term.metric.name
            elif isinstance(term, Count):
                yield from ((term.device_class, metric) for metric in term.metrics)

    def evaluate(self, part: ClassState, batch: Batch, world: World, now_ms: int) -> list[Transition]:
        """Judge all rows of a frame."""
        memory = part.rule(self.key, self._basis, self._columns)
        if "variant" in self._columns:
            self._note_variants(memory, batch, world)
        plain = self._reader.is_plain(batch)
        read = self._reader.read(batch, slice(None), memory, world) if plain else None
        relevant = self._reader.speaks(batch) if read is None or self._remembers else read.known
        if not relevant.any():
            return []
        newest = memory.take("read" if self._remembers else "judged", batch.places)
        late = relevant & (batch.times < newest)
        rows = np.flatnonzero(relevant) if batch.is_single else batch.order[relevant[batch.order]]
        rows = rows[batch.times[rows] > newest[rows]]  # the rest is late, or there already
        if read is None:
            found = self._in_rounds(memory, batch, rows, world, now_ms)
        else:
            found = self._at_once(memory, batch, _without_doubles(batch, rows), read, now_ms)
        if late.any():
            found += retrospect(self._teller, self._compiled, memory, batch, late, now_ms)
        return found

    def _at_once(
        self, memory: RuleState, batch: Batch, rows: NDArray[np.intp], read: Read, now_ms: int
    ) -> list[Transition]:
        """Judge ``rows``, sorted by device and time, that are read already: only those that change anything."""
        if self._remembers:
            self._reader.keep(batch, rows, memory)
            memory.put("read", batch.places[rows], batch.times[rows])
            rows = rows[read.known[rows]]
        if not len(rows):
            return []
        places = batch.places[rows]
        seen = see(self._compiled, memory, batch, rows, read.at(rows))
        first = np.ones(len(rows), bool) if batch.is_single else np.diff(places, prepend=-1) != 0
        if not batch.is_single:
            seen = seen._replace(before=np.where(first, seen.before, np.roll(seen.times, 1)))
        memory.put("judged", places, seen.times)  # sorted, so that the newest is written last
        stirs = stirring(self._condition, seen)
        if stirs is not None:
            after = np.roll(stirs, 1)
            after[first] = ~resting(self._condition, memory, places[first])
            some = np.flatnonzero(stirs | after)
            rows, seen = rows[some], _only(seen, some)
        found: list[Transition] = []
        for number, part in enumerate(in_rounds(np.arange(len(rows)), seen.places)):
            mine = _only(seen, part)
            if number:
                mine = mine._replace(standing=memory.take("level", mine.places))
            found += self._teller.sweep(memory, mine, batch.namer(rows[part]), now_ms)
        return found

    def _in_rounds(
        self, memory: RuleState, batch: Batch, rows: NDArray[np.intp], world: World, now_ms: int
    ) -> list[Transition]:
        """Read and judge row after row of each device: each is read by what is remembered of those before."""
        found: list[Transition] = []
        for part in in_rounds(rows, batch.frame.index[rows]):
            fresh = part[batch.times[part] > memory.take("read", batch.places[part])]
            memory.put("read", batch.places[fresh], batch.times[fresh])
            read = self._reader.read(batch, fresh, memory, world)
            self._reader.keep(batch, fresh, memory)
            known = fresh[read.known]
            seen = see(self._compiled, memory, batch, known, read.at(read.known))
            memory.put("judged", seen.places, seen.times)
            found += self._teller.sweep(memory, seen, batch.namer(known), now_ms)
        return found

    def _note_variants(self, memory: RuleState, batch: Batch, world: World) -> None:
        """Remember which override holds for each device: its own before that of its site."""
        devices, sites = self._compiled.devices, self._compiled.sites
        which = np.fromiter(
            (
                devices.get(name) or sites.get(world.topology.spot(name).site, 0)
                for name in batch.frame.devices
            ),
            np.int32,
            len(batch.frame.devices),
        )
        if (memory.take("variant", batch.device_places) != which).any():
            memory.put("variant", batch.device_places, which)


def _without_doubles(batch: Batch, rows: NDArray[np.intp]) -> NDArray[np.intp]:
    if batch.is_single or not len(rows):
        return rows
    places, times = batch.places[rows], batch.times[rows]
    again = (places[1:] == places[:-1]) & (times[1:] == times[:-1])
    return rows[np.concatenate(([True], ~again))]


def _only(seen: Seen, some: NDArray[np.intp]) -> Seen:
    return Seen(*(None if part is None else part[some] for part in seen))  # type: ignore[arg-type]
