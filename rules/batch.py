"""Batch: a frame as the rules of its class go through it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from rules.conditions import Seen
from telemetry.quality import UNCERTAIN_FROM

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from rules.frame import Frame
    from rules.state import RuleState


@dataclass(frozen=True)
class Batch:
    """The n rows of a frame, with the place of each row's device in the state, for one metric at a time."""

    frame: Frame
    places: NDArray[np.intp]  # (n,)
    rounds: Sequence[NDArray[np.intp]]  # rows, no device twice in one round, each device's in time order
    values: NDArray[np.float64]  # (n,), of the metric
    known: NDArray[np.bool_]  # (n,), good and with a value

    @classmethod
    def of(cls, frame: Frame, places: NDArray[np.intp]) -> Batch:
        """Prepare a frame; ``places`` (devices,) tells where each of its devices is in the state."""
        nothing = np.zeros(0)
        return cls(frame, places[frame.index], frame.rounds(), nothing, nothing.astype(bool))

    @property
    def time(self) -> NDArray[np.int64]:
        """UTC ms of each row."""
        return self.frame.time

    def of_metric(self, column: int) -> Batch:
        """Turn to the metric of a column."""
        values = np.ascontiguousarray(self.frame.values[:, column])
        known = (self.frame.quality[:, column] < UNCERTAIN_FROM) & np.isfinite(values)
        return dataclasses.replace(self, values=values, known=known)

    def only(self, rows: NDArray[np.bool_]) -> Batch:
        """Leave out of the rounds what is not in ``rows``."""
        rounds = [kept for part in self.rounds if len(kept := part[rows[part]])]
        return dataclasses.replace(self, rounds=rounds)

    def at(self, places: NDArray[np.intp]) -> Batch:
        """Find the devices at other places."""
        return dataclasses.replace(self, places=places)

    def seen(self, memory: RuleState, rows: NDArray[np.intp]) -> tuple[Seen, Callable[[int], str]]:
        """Return the samples in ``rows``, no device twice, and how to name the nth one's device."""
        places = self.places[rows]
        before, standing = memory.take("judged", places), memory.take("level", places)
        seen = Seen(places, self.values[rows], self.time[rows], before, standing)
        return seen, lambda n: self.frame.devices[self.frame.index[rows[n]]]
