"""Detectors beside the truth: a simulated city of 60 sensors for 30 days, and real rivers where RIVER_DATA names their folder.

The city: five classes, twelve sensors each, a sample every ten minutes, every second sensor with one scripted fault. One
configuration for all, in time order, one alarm in a hundred days as the budget of a sensor.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bench import _city, _river
from bench._trial import Tally, make_bank, play
from bench.figure import Figure
from simulators.faults import KINDS

if TYPE_CHECKING:
    from collections.abc import Iterator

BUDGET = 0.01
_REPAIR_MS = 24 * 3_600_000
"""What a repair makes jump for a day is no false alarm of a simulated sensor."""
_RIVER_MS = 3_600_000


def run() -> Iterator[Figure]:
    """Measure each detector alone, and all together."""
    yield from _simulated()
    folder = os.environ.get("RIVER_DATA", "")
    if not folder:
        print("detectors: no real sensors, RIVER_DATA names no folder of them", file=sys.stderr)
        return
    names: list[tuple[str, tuple[str, ...]]] = [("develop", _river.DEVELOP)]
    if os.environ.get("RIVER_HELD_OUT"):
        names.append(("held_out", _river.HELD_OUT))
    for name, files in names:
        yield from _rivers(name, _river.load(Path(folder), files))


def _simulated() -> Iterator[Figure]:
    city, everything = _city.build(), make_bank()
    for names in (*((name,) for name in everything.names), ()):
        flags = play(make_bank(names), city.times, city.values, BUDGET, city.groups)
        yield from _tell(f"sim_{names[0] if names else 'all'}", city, flags, with_kinds=not names)
    wide = np.flatnonzero(np.isfinite(city.rows).any(axis=(0, 2)))
    flags = np.zeros(city.values.shape, bool)
    flags[:, wide] = play(
        make_bank(("hotelling",)), city.times[:, wide], city.values[:, wide], BUDGET, rows=city.rows[:, wide]
    )
    yield from _tell("sim_hotelling", city, flags, only=wide.tolist())


def _tell(
    name: str, city: _city.City, flags: np.ndarray, *, only: list[int] | None = None, with_kinds: bool = False
) -> Iterator[Figure]:
    total, kinds = Tally(), {kind: Tally() for kind in KINDS}
    for k in only if only is not None else range(flags.shape[1]):
        known = np.isfinite(city.values[:, k])
        series = city.times[known, k], flags[known, k], city.labels[known, k], _REPAIR_MS
        total.add(*series)
        fault = city.faults[k]
        if fault is not None:
            kinds[fault.kind].add(*series)
    for key, value, unit in total.figures():
        yield Figure(
            f"{name}_{key}",
            round(value, 3),
            unit,
            1,
            0.0,
            limit=0.9 if with_kinds and key == "recall" else None,
        )
    if with_kinds:
        hundred = 100 * total.false / (total.months * 30.4)
        yield Figure(f"{name}_false_per_100_devices_day", round(hundred, 3), "1/day", 1, 0.0, limit=1.0)
    for kind, tally in kinds.items():
        yield Figure(f"{name}_{kind}_recall", round(tally.recall, 3), "share", 1, 0.0)
        if with_kinds and tally.delays_h:
            delay = float(np.median(tally.delays_h))
            yield Figure(f"{name}_{kind}_delay_h", round(delay, 2), "h", 1, 0.0)


def _rivers(name: str, sensors: _river.Sensors) -> Iterator[Figure]:
    flags, tally = play(make_bank(), sensors.times, sensors.values, BUDGET), Tally()
    for k, size in enumerate(sensors.lengths):
        known = np.isfinite(sensors.values[:size, k])
        tally.add(
            sensors.times[:size, k][known], flags[:size, k][known], sensors.labels[:size, k][known], _RIVER_MS
        )
    yield Figure(f"river_{name}_sensors", len(sensors.lengths), "count", 1, 0.0)
    for key, value, unit in tally.figures():
        yield Figure(f"river_{name}_{key}", round(value, 3), unit, 1, 0.0)
