"""One measured figure."""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable


class Figure(msgspec.Struct, omit_defaults=True):
    """``spread`` is (largest − smallest) / median over the runs; ``peer`` was measured in the same run."""

    name: str
    value: float
    unit: str
    runs: int
    spread: float
    limit: float | None = None
    peer: float | None = None
    size: str = ""
    """How much was measured, where that can be set."""


def measure(name: str, unit: str, work: Callable[[], float], *, runs: int = 5, **beside: Any) -> Figure:
    """Run ``work`` (which returns how much it did) and return how much a second, the median of ``runs``."""
    rates = []
    for _ in range(runs):
        began = time.perf_counter()
        done = work()
        rates.append(done / (time.perf_counter() - began))
    middle = statistics.median(rates)
    return Figure(name, round(middle, 1), unit, runs, round((max(rates) - min(rates)) / middle, 3), **beside)
