"""Real sensors in rivers with technicians' labels: the Logan River Observatory's, from a folder that RIVER_DATA names.

The files were split before anything was tuned: detectors were developed on the first two alone.
"""

from __future__ import annotations

import csv
import datetime as dt
import gzip
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

DEVELOP = ("BlackSmithFork2015", "TonyGrove2014")
HELD_OUT = ("FranklinBasin2014", "MainStreet2020", "Mendon2020")
METRICS = ("temp", "cond", "ph", "do", "turb", "stage")
_NONE = {"", "NULL", "-9999"}


class Sensors(NamedTuple):
    """n samples of k sensors, shorter series filled with NaN."""

    times: np.ndarray  # (n, k) UTC ms
    values: np.ndarray  # (n, k)
    labels: np.ndarray  # (n, k)
    lengths: list[int]


def load(folder: Path, names: tuple[str, ...]) -> Sensors:
    """Read some of the files; a sensor that was hardly ever there is left out."""
    columns = []
    for name in names:
        with gzip.open(folder / f"{name}.csv.gz", "rt", encoding="utf-8") as file:
            table = list(csv.DictReader(file))
        times = np.array([_ms(row["datetime"]) for row in table], np.int64)
        for metric in METRICS:
            values = np.array([_number(row[metric]) for row in table])
            labels = np.array([row[f"{metric}_qual"] not in ("", "NULL") for row in table])
            if np.isfinite(values).mean() > 0.1:
                columns.append((times, values, labels & np.isfinite(values)))
    longest = max(len(times) for times, _, _ in columns)
    shape = (longest, len(columns))
    found = Sensors(np.zeros(shape, np.int64), np.full(shape, np.nan), np.zeros(shape, bool), [])
    for k, (times, values, labels) in enumerate(columns):
        size = len(times)
        found.times[:size, k], found.values[:size, k], found.labels[:size, k] = times, values, labels
        found.lengths.append(size)
    return found


def _ms(text: str) -> int:
    return round(dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC).timestamp() * 1000)


def _number(text: str) -> float:
    return np.nan if text in _NONE or float(text) == -9999 else float(text)
