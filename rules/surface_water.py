"""The class of surface water by GB 3838-2002, from ``tables/gb3838.yaml``: the worst single figure decides."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from telemetry.config import load_yaml

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    Numbers = NDArray[np.float64]

_FILE = Path(__file__).parent / "tables" / "gb3838.yaml"
WORSE_THAN_V = 6
UNITS: Mapping[str, str] = MappingProxyType(
    {"ph": "pH", "dissolved_oxygen": "mg/L", "ammonia_nitrogen": "mg/L", "cod": "mg/L"}
)
"""What the class is made of, by canonical metric, with its unit."""


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    source: str
    at_most: dict[str, tuple[float, ...]]
    at_least: dict[str, tuple[float, ...]]
    within: dict[str, tuple[float, float]]


@cache
def _file() -> _File:
    return load_yaml(_FILE, _File)


def water_class(metrics: Mapping[str, Numbers], times: NDArray[np.int64]) -> Numbers:
    """Return 1 to 5 for the classes I to V and 6 for worse, of the figures given; NaN where none is known.

    >>> water_class({"cod": np.array([12.0, 35.0, 60.0])}, np.zeros(3, np.int64))
    array([1., 5., 6.])
    """
    found = np.full(len(times), -np.inf)
    for name, values in metrics.items():
        found = np.fmax(found, _class_of(name, values))
    found[~np.isfinite(found)] = np.nan
    return found


def _class_of(name: str, values: Numbers) -> Numbers:
    file = _file()
    if name in file.within:
        low, high = file.within[name]
        place = np.where((values >= low) & (values <= high), 0, WORSE_THAN_V - 1)
    elif name in file.at_most:
        place = np.searchsorted(np.array(file.at_most[name]), values, side="left")
    else:
        place = np.searchsorted(-np.array(file.at_least[name]), -values, side="left")
    found: Numbers = (place + 1).astype(np.float64)
    found[np.isnan(values)] = np.nan
    return found
