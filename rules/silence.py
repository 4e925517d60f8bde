"""``no_data``: a device, or one metric of it, that has not said one value for too long.

Waiting is measured on the receiver's clock, since a silent device has none.  A sample counts as life when it
has a value, believed or not, and is newer than the newest before it: a backlog that ends with what was known
already is no sign of life.  A metric is missed only where it was ever heard, and while its device says other things.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from rules.alarms import Moment, Teller, end
from rules.state import LEVEL, NEVER, SPAN, TIME
from telemetry.quality import ABSENT, BAD_FROM, Quality
from telemetry.severity import Severity

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from device_profiles.vocabulary import DeviceClass
    from rules.batch import Batch
    from rules.pack import Rule
    from rules.state import ClassState, RuleState
    from rules.topology import Topology
    from telemetry.transitions import Transition

COLUMNS = {
    "heard": TIME,  # when a value came last (UTC ms, the receiver's clock), NEVER for one that is not waited for
    "told": TIME,  # when anything came about it, an answer without a value too
    "alive": TIME,  # when any value of the device came
    "link": LEVEL,  # 1 where the last that came was that its bus could not be opened
    "after": SPAN,  # ms that it may be silent
}


class Silence:
    """One ``no_data`` rule."""

    def __init__(self, rule: Rule, device_class: DeviceClass, *, shadow: bool = False) -> None:
        if rule.no_data is None:
            raise ValueError(rule.id)
        self.teller = Teller(rule, device_class.name, rule.metric, "", None, shadow)
        self.key = self.teller.key
        self.severity = Severity.parse(rule.no_data.severity)
        self._column = list(device_class.metrics).index(rule.metric) if rule.metric else None
        self._least_ms = round(rule.no_data.after_s * 1000)
        self._periods = rule.no_data.periods

    @property
    def is_of_device(self) -> bool:
        """Whether it waits for the whole device."""
        return self._column is None

    @property
    def is_grouped(self) -> bool:
        """Whether :mod:`rules.outage` tells of it."""
        return self.is_of_device and not self.teller.shadow

    def evaluate(self, part: ClassState, batch: Batch, now_ms: int) -> list[Transition]:
        """Take note of who spoke; a silence ends with the first new value."""
        memory, frame, places = self.memory(part), batch.frame, batch.places
        of_any = ((frame.quality < BAD_FROM) & np.isfinite(frame.values)).any(axis=1)
        if self._column is None:
            spoken, alive = np.ones(len(frame), bool), of_any
            link = (frame.quality == Quality.LINK_DOWN).any(axis=1) & ~of_any
        else:
            quality, values = frame.quality[:, self._column], frame.values[:, self._column]
            spoken, link = quality != ABSENT, quality == Quality.LINK_DOWN
            alive = (quality < BAD_FROM) & np.isfinite(values)
        memory.put("alive", places[of_any], now_ms)
        memory.put("told", places[spoken], now_ms)
        rows = batch.order[spoken[batch.order]]
        memory.put("link", places[rows], link[rows])  # by device and time, so that the newest is written last
        alive &= frame.time > memory.take("judged", places)
        rows = np.flatnonzero(alive)
        if not len(rows):
            return []
        rows = rows[np.argsort(frame.time[rows], kind="stable")]
        spoke = places[rows]
        found = []
        for row in rows[memory.take("level", spoke) > 0]:
            place, device = int(places[row]), frame.devices[frame.index[row]]
            alarm = memory.standing.get(place)
            if alarm is not None:
                found.append(end(memory, Moment(place, device, int(frame.time[row]), None, now_ms), alarm))
        memory.put("judged", spoke, frame.time[rows])  # sorted, so that the newest is written last
        memory.put("heard", spoke, now_ms)
        return found

    def is_due(self, part: ClassState, now_ms: int) -> bool:
        """Return whether a device has been silent for too long."""
        return self.key in part.rules and bool(self.overdue(part.rules[self.key], now_ms).any())

    def expect(self, part: ClassState, places: NDArray[np.intp], topology: Topology, now_ms: int) -> None:
        """Wait from now on for the devices at ``places``, and for no other."""
        memory = self.memory(part)
        before = memory.columns["heard"]
        heard = np.full(len(part.devices), NEVER, np.int64)
        heard[places] = now_ms if self.is_of_device else np.where(before[places] == NEVER, NEVER, now_ms)
        missed = memory.columns["level"] > 0
        memory.put("heard", slice(None), np.where(missed, before, heard))
        own = (topology.periods_ms(part.devices) * self._periods).astype(np.int64)
        memory.put("after", slice(None), np.maximum(own, self._least_ms))

    def memory(self, part: ClassState) -> RuleState:
        """Return what is remembered of the class's devices."""
        return part.rule(self.key, "no_data", COLUMNS)

    def overdue(self, memory: RuleState, now_ms: int) -> NDArray[np.bool_]:
        """Return the devices that are silent for too long and not missed yet."""
        heard, after = memory.columns["heard"], np.maximum(memory.columns["after"], self._least_ms)
        overdue: NDArray[np.bool_] = (
            (heard != NEVER) & (memory.columns["level"] == 0) & (now_ms - heard > after)
        )
        if not self.is_of_device:
            overdue &= now_ms - memory.columns["alive"] <= after
        return overdue

    def tick(self, part: ClassState, now_ms: int) -> list[Transition]:
        """Tell of every device that has been silent for too long, once."""
        memory, names = self.memory(part), list(part.devices)
        heard = memory.columns["heard"]
        return [
            self.teller.begin(memory, Moment(i, names[i], now_ms, None, now_ms), self.severity, int(heard[i]))
            for i in np.flatnonzero(self.overdue(memory, now_ms)).tolist()
        ]
