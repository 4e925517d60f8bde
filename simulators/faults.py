"""Faults of sensors, laid over a series of the world with their ground truth: what a technician would have written down.

Sizes are multiples of the series' own spread on an ordinary day, so that one script fits every metric.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

Kind = Literal["stuck", "drift", "step", "noise", "spike", "offset"]
KINDS: tuple[Kind, ...] = ("stuck", "drift", "step", "noise", "spike", "offset")
LASTS_H: dict[Kind, float] = {"stuck": 36, "drift": 144, "step": 48, "noise": 24, "spike": 0.34, "offset": 72}
"""Hours that a fault of each kind is there before somebody has mended it."""
SIZE: dict[Kind, float] = {"stuck": 0, "drift": 5, "step": 4, "noise": 2, "spike": 6, "offset": 4}
"""How far it reaches, in spreads: drift at its end, noise as its standard deviation, offset after an hour of calibration gone wrong."""


@dataclass(frozen=True)
class Fault:
    """One fault of one series: from ``start_s`` (since the epoch) for ``lasts_s`` seconds, ``size`` spreads large."""

    kind: Kind
    start_s: float
    lasts_s: float
    size: float

    @property
    def end_s(self) -> float:
        """When it is mended."""
        return self.start_s + self.lasts_s


def script(kind: Kind, start_s: float, *, up: bool = True) -> Fault:
    """Return a fault of its kind's usual length and size."""
    return Fault(kind, start_s, 3600 * LASTS_H[kind], SIZE[kind] if up else -SIZE[kind])


def lay_over(
    values: NDArray[np.float64], times_s: NDArray[np.float64], fault: Fault, dice: np.random.Generator
) -> NDArray[np.float64]:
    """Return ``values`` (n,) at ``times_s`` (n,) as the faulty sensor would have given them."""
    during = (times_s >= fault.start_s) & (times_s < fault.end_s)
    if not during.any():
        return values
    ordinary = values[times_s < times_s[0] + 86_400]
    reach = fault.size * float(np.std(ordinary))
    since = (times_s[during] - fault.start_s) / fault.lasts_s
    faulty = values.copy()
    if fault.kind == "stuck":
        faulty[during] = values[np.argmax(during)]
    elif fault.kind == "drift":
        faulty[during] += reach * since
    elif fault.kind == "noise":
        faulty[during] += dice.normal(0, abs(reach), int(during.sum()))
    elif fault.kind == "offset":
        faulty[during] += reach * np.minimum(1, since * fault.lasts_s / 3600)
    else:  # step, spike
        faulty[during] += reach
    return faulty
