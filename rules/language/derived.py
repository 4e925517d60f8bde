"""Figures that a standard makes of several metrics, by the name under which ``when`` and ``value`` call them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rules import air_quality, surface_water

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Figure:
    """``work`` takes metrics (n,) by name, in the units given, and UTC ms (n,), and returns (n,)."""

    metrics: Mapping[str, str]
    work: Callable[[Mapping[str, NDArray[np.float64]], NDArray[np.int64]], NDArray[np.float64]]


DERIVED: Mapping[str, Figure] = {
    "aqi": Figure(air_quality.HOURLY_UNITS, air_quality.hourly_aqi),
    "water_class": Figure(surface_water.UNITS, surface_water.water_class),
}
