"""The air quality index of HJ 633: break points by date, from ``tables/hj633.yaml``.

IAQI = (IAQI_hi - IAQI_lo) / (BP_hi - BP_lo) * (C - BP_lo) + IAQI_lo, rounded up; the AQI is the greatest IAQI.
"""

from __future__ import annotations

import datetime as dt
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

import msgspec
import numpy as np

from telemetry.config import load_yaml

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    Numbers = NDArray[np.float64]

Averaging = Literal["hourly", "daily"]
_FILE = Path(__file__).parent / "tables" / "hj633.yaml"
_BEIJING = dt.timezone(dt.timedelta(hours=8))
HOURLY_UNITS: Mapping[str, str] = MappingProxyType(
    {"pm2_5": "ug/m3", "pm10": "ug/m3", "so2": "ug/m3", "no2": "ug/m3", "o3": "ug/m3", "co": "mg/m3"}
)
"""What the hourly index is made of, by canonical metric, with its unit."""


class _Points(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    at: tuple[float, ...]
    beyond: float | None = None


class _Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    since: dt.date = msgspec.field(name="from")
    source: str
    hourly: dict[str, _Points]
    daily: dict[str, _Points]

    @property
    def since_ms(self) -> int:
        """When it comes into force, UTC ms."""
        return round(dt.datetime.combine(self.since, dt.time(), _BEIJING).timestamp() * 1000)


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    index: tuple[float, ...]
    tables: tuple[_Table, ...]


@cache
def _file() -> _File:
    return load_yaml(_FILE, _File)


def iaqi(
    pollutant: str, values: Numbers, times: NDArray[np.int64], averaging: Averaging = "hourly"
) -> Numbers:
    """Return the individual index of concentrations, by the table in force at each time; all of shape (n,).

    NaN for an unknown or negative concentration, and beyond a table that ends without saying what comes after it.
    A time before the first table is judged by the first.

    >>> iaqi("pm2_5", np.array([90.0, 90.0]), np.array([1_750_000_000_000, 1_780_000_000_000]))
    array([119., 128.])
    """
    file = _file()
    found = np.full(len(values), np.nan)
    ends = [*(table.since_ms for table in file.tables[1:]), np.iinfo(np.int64).max]
    first, last = (int(times.min()), int(times.max())) if len(times) else (0, 0)
    begins = np.iinfo(np.int64).min
    for table, end in zip(file.tables, ends, strict=True):
        points = getattr(table, averaging)[pollutant]
        if begins <= first and last < end:  # all of them by one table, as nearly always
            return _index(points, file.index, values)
        mine = (times >= begins) & (times < end)
        found[mine] = _index(points, file.index, values[mine])
        begins = end
    return found


def hourly_aqi(metrics: Mapping[str, Numbers], times: NDArray[np.int64]) -> Numbers:
    """Return the real-time index of the pollutants given, each (n,) by its canonical name; NaN where none is known."""
    found = np.full(len(times), -np.inf)
    for name, values in metrics.items():
        found = np.fmax(found, iaqi(name, values, times))
    found[~np.isfinite(found)] = np.nan
    return found


def _index(points: _Points, index: tuple[float, ...], values: Numbers) -> Numbers:
    at, of = np.array(points.at), np.array(index[: len(points.at)])
    # To 1e-9 first: 115 µg/m³ is 150 and not 151 because of how a float is kept.
    found: Numbers = np.ceil(np.round(np.interp(values, at, of, left=np.nan), 9))
    over = values > at[-1]
    complete = len(points.at) == len(index)
    found[over] = index[-1] if complete else np.nan if points.beyond is None else points.beyond
    found[np.isnan(values)] = np.nan
    return found
