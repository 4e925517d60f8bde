"""The rules that ask detectors: one metric of a class, judged by what it has taught.

A sample that comes late is kept by others and not scored here: newer ones have taught already what is usual.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from rules.alarms import Moment, Teller
from rules.bank import Bank, Sample, level_of
from rules.batch import in_rounds
from rules.evidence import Words
from rules.neighbours import Groups
from telemetry.severity import Severity

if TYPE_CHECKING:
    from collections.abc import Callable

    from device_profiles.vocabulary import DeviceClass
    from rules.bank import Calendar, Verdict
    from rules.batch import Batch
    from rules.pack import Rule
    from rules.state import ClassState, RuleState
    from rules.topology import Topology
    from rules.world import World
    from telemetry.transitions import Transition


class Oddity:
    """One ``anomaly`` rule."""

    def __init__(
        self, rule: Rule, device_class: DeviceClass, calendar: Calendar | None = None, *, shadow: bool = False
    ) -> None:
        if rule.anomaly is None:
            raise ValueError(rule.id)
        metric = device_class.metrics[rule.metric]
        self._column = list(device_class.metrics).index(rule.metric)
        self._severity, self._budget = Severity.parse(rule.anomaly.severity), rule.anomaly.budget_per_day
        together = rule.anomaly.metrics
        self._row = [list(device_class.metrics).index(name) for name in together]
        self._bank = Bank(rule.anomaly.detectors or (("hotelling",) if together else ()), calendar)
        self._basis = " ".join((rule.metric, *together, self._bank.basis))
        others = tuple(Words(device_class.metrics[m].label, device_class.metrics[m].unit) for m in together)
        self._words = Words(metric.label, metric.unit, others)
        self._groups: tuple[Topology, dict[str, int], Groups] | None = None
        self._teller = Teller(rule, device_class.name, rule.metric, metric.unit, None, shadow)
        self.key = self._teller.key

    @property
    def metrics_asked(self) -> tuple[tuple[str, str], ...]:
        """Class and metric of what it asks of other devices: nothing."""
        return ()

    def evaluate(self, part: ClassState, batch: Batch, world: World, now_ms: int) -> list[Transition]:
        """Judge all rows of a frame, round by round."""
        memory = part.rule(self.key, self._basis, self._bank.columns)
        column = batch.column(self._column)
        budget = level_of(self._budget, len(part.devices), len(self._bank.names))
        groups = self._neighbours(part, world)
        found: list[Transition] = []
        rows = batch.order[column.known[batch.order]]
        for part_rows in in_rounds(rows, batch.frame.index[rows]):
            fresh = part_rows[batch.times[part_rows] > memory.take("judged", batch.places[part_rows])]
            if not len(fresh):
                continue
            fresh = fresh[np.argsort(batch.places[fresh], kind="stable")]
            places, times = batch.places[fresh], batch.times[fresh]
            before, standing = memory.take("judged", places), memory.take("level", places)
            row = [batch.column(place).values[fresh] for place in self._row]
            seen = Sample(
                places, column.values[fresh], times, before, standing, np.column_stack(row) if row else None
            )
            memory.put("judged", places, times)
            verdict = self._bank.sweep(memory, seen, budget, groups)
            found += self._tell(memory, seen, batch.namer(fresh), verdict, now_ms)
        return found

    def _neighbours(self, part: ClassState, world: World) -> Groups | None:
        """Return who is whose neighbour: the devices of an area."""
        if "peers" not in self._bank.names:
            return None
        kept = self._groups
        if kept is None or kept[0] is not world.topology or kept[1] is not part.devices:
            groups = Groups(world.topology.numbers("area", part.devices))
            kept = self._groups = (world.topology, part.devices, groups)
        return kept[2]

    def _tell(
        self, memory: RuleState, seen: Sample, names: Callable[[int], str], verdict: Verdict, now_ms: int
    ) -> list[Transition]:
        found = []
        for n in np.flatnonzero(verdict.alarm != (seen.standing > 0)).tolist():
            at = Moment(int(seen.places[n]), names(n), int(seen.times[n]), float(seen.values[n]), now_ms)
            told = self._teller.change(memory, at, self._severity if verdict.alarm[n] else 0)
            if verdict.alarm[n]:
                _, because = verdict.why(n, self._bank.detectors, self._words)
                told = msgspec.structs.replace(told, because=because)
                memory.stand(at.place, msgspec.structs.replace(memory.standing[at.place], latest=told))
            found.append(told)
        return found
