"""``no_data``: a device that has not said one value for too long.

Waiting is measured on the receiver's clock, since a silent device has none.  A sample counts as life when it
has a value, believed or not, and is newer than the newest before it: a backlog that ends with what was known
already is no sign of life.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from rules.alarms import Moment, Teller, end
from rules.state import NEVER, TIME
from telemetry.quality import BAD_FROM
from telemetry.severity import Severity

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rules.frame import Frame
    from rules.pack import Rule
    from rules.state import ClassState, RuleState
    from telemetry.transitions import Transition

_COLUMNS = {"heard": TIME}
"""When the device was last heard (UTC ms, the receiver's clock), NEVER for one that is not waited for."""


class Silence:
    """One ``no_data`` rule."""

    def __init__(self, rule: Rule, device_class: str) -> None:
        if rule.no_data is None:
            raise ValueError(rule.id)
        self._id, self._teller = rule.id, Teller(rule, device_class, "", None)
        self._after_ms, self._severity = (
            round(rule.no_data.after_s * 1000),
            Severity.parse(rule.no_data.severity),
        )

    def evaluate(
        self, part: ClassState, frame: Frame, places: NDArray[np.intp], now_ms: int
    ) -> list[Transition]:
        """Take note of who spoke; a silence ends with the first new value."""
        memory = self._memory(part)
        alive = ((frame.quality < BAD_FROM) & np.isfinite(frame.values)).any(axis=1)
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
        return self._id in part.rules and bool(self._overdue(part.rules[self._id], now_ms).any())

    def tick(self, part: ClassState, now_ms: int) -> list[Transition]:
        """Tell of every device that has been silent for too long, once."""
        memory, names = self._memory(part), list(part.devices)
        heard = memory.columns["heard"]
        return [
            self._teller.begin(
                memory, Moment(i, names[i], now_ms, None, now_ms), self._severity, int(heard[i])
            )
            for i in np.flatnonzero(self._overdue(memory, now_ms)).tolist()
        ]

    def expect(self, part: ClassState, places: NDArray[np.intp], now_ms: int) -> None:
        """Wait from now on for the devices at ``places``, and for no other."""
        memory = self._memory(part)
        heard = np.full(len(part.devices), NEVER, np.int64)
        heard[places] = now_ms
        missed = memory.columns["level"] > 0
        memory.put("heard", slice(None), np.where(missed, memory.columns["heard"], heard))

    def _memory(self, part: ClassState) -> RuleState:
        return part.rule(self._id, "no_data", _COLUMNS)

    def _overdue(self, memory: RuleState, now_ms: int) -> NDArray[np.bool_]:
        heard = memory.columns["heard"]
        overdue: NDArray[np.bool_] = (
            (heard != NEVER) & (memory.columns["level"] == 0) & (now_ms - heard > self._after_ms)
        )
        return overdue
