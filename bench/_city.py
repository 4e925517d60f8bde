"""Thirty seeded days of the simulated city, with scripted faults of its sensors."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from rules.neighbours import Groups
from simulators.faults import KINDS, Fault, lay_over, script
from simulators.world import value

DAYS, STEP_S, EACH, SEED = 30, 600, 12, 20
START_S = 1_764_000_000
METRICS = (
    ("air_monitor", "pm2_5"),
    ("noise_monitor", "sound_level"),
    ("weather_station", "air_temperature"),
    ("electrical_fire_monitor", "residual_current"),
    ("water_quality", "conductivity"),
)
TOGETHER = ("conductivity", "dissolved_oxygen", "water_temperature", "ph", "turbidity")
_QUIET_DAYS = 9
"""Nothing breaks while detectors learn the week."""


class City(NamedTuple):
    """n samples of k series; ``faults`` has one for each series, or None."""

    times: np.ndarray  # (n, k) UTC ms
    values: np.ndarray  # (n, k)
    labels: np.ndarray  # (n, k)
    faults: list[Fault | None]
    groups: Groups
    rows: np.ndarray  # (n, k, d): all metrics, of the last class alone; NaN elsewhere


def build(days: int = DAYS) -> City:
    """Return the city: half of all sensors have one fault, of each kind as many."""
    dice = np.random.default_rng(SEED)
    steps = np.arange(days * 86_400 // STEP_S) * STEP_S
    keys = [(name, metric, n) for name, metric in METRICS for n in range(EACH)]
    times, values = np.empty((len(steps), len(keys)), np.int64), np.empty((len(steps), len(keys)))
    rows = np.full((len(steps), len(keys), len(TOGETHER)), np.nan)
    labels, faults = np.zeros(values.shape, bool), list[Fault | None]()
    for k, (name, metric, n) in enumerate(keys):
        at = START_S + steps + dice.integers(0, 20, len(steps))  # a poll is never quite punctual
        series = _series(name, f"{name}-{n}", metric, at)
        fault = None
        if n % 2:
            start = START_S + 86_400 * float(dice.uniform(_QUIET_DAYS, days - 7))
            fault = script(KINDS[(k // 2) % len(KINDS)], start, up=bool(dice.integers(2)))
            series = lay_over(series, at.astype(float), fault, dice)
            labels[:, k] = (at >= fault.start_s) & (at < fault.end_s)
        lost = dice.random(len(steps)) < 0.01  # polls without an answer
        times[:, k], values[:, k] = at * 1000, np.where(lost, np.nan, series)
        if name == "water_quality":
            for m, other in enumerate(TOGETHER):
                rows[:, k, m] = values[:, k] if other == metric else _series(name, f"{name}-{n}", other, at)
        faults.append(fault)
    place = np.array([list(dict.fromkeys(name for name, _, _ in keys)).index(name) for name, _, _ in keys])
    return City(times, values, labels, faults, Groups(place), rows)


def _series(name: str, device: str, metric: str, at: np.ndarray) -> np.ndarray:
    told = (value(SEED, device, name, metric, int(t) * 1000) for t in at)
    return np.array([np.nan if v is None else v for v in told])
