"""What hangs on what: a device on its agent, on its feeder, at its site, in its area."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray


class Spot(NamedTuple):
    """Where a device hangs; an empty name is not known.

    ``period_s`` is how often it reports, 0 for unknown; ``bus`` is the agent's own name for it.
    """

    agent: str = ""
    feeder: str = ""
    site: str = ""
    area: str = ""
    period_s: float = 0.0
    bus: str = ""

    def name(self, level: str) -> str:
        """Return what it hangs on; where its bus is not known, its agent's all are one."""
        if level == "bus":
            return f"{self.agent}/{self.bus}" if self.bus else self.agent
        return str(getattr(self, level))


_NOWHERE = Spot()
_LEVELS = ("bus", "agent", "feeder", "site", "area")


class Topology:
    """The spots of all registered devices; never changed, a new one takes its place."""

    def __init__(self, spots: Mapping[str, Spot] | None = None) -> None:
        self._spots = spots or {}

    def __len__(self) -> int:
        return len(self._spots)

    def spot(self, device: str) -> Spot:
        """Return where a device hangs."""
        return self._spots.get(device, _NOWHERE)

    @cached_property
    def _numbers(self) -> dict[str, dict[str, int]]:
        numbers: dict[str, dict[str, int]] = {}
        for level in _LEVELS:
            names = dict.fromkeys(spot.name(level) for spot in self._spots.values())
            numbers[level] = {name: n for n, name in enumerate(name for name in names if name)}
        return numbers

    def names(self, level: str) -> list[str]:
        """Return the names of a level (``bus``, ``agent``, ``feeder``, ``site``, ``area``), each at its number's place."""
        return list(self._numbers[level])

    def numbers(self, level: str, devices: Iterable[str]) -> NDArray[np.intp]:
        """Return the number of what each device hangs on at a level; -1 where it is not known."""
        known = self._numbers[level]
        return np.fromiter((known.get(self.spot(d).name(level), -1) for d in devices), np.intp)

    def periods_ms(self, devices: Iterable[str]) -> NDArray[np.int64]:
        """Return how often each device reports, 0 where it is not known."""
        return np.fromiter((round(1000 * self.spot(d).period_s) for d in devices), np.int64)
