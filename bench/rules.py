"""Default packs: a sweep over all series of a district with one new sample each, and a backtest.

A sweep is one frame a class, every device once, values far from every limit as nearly all are.  Beside it in the same
run: the rules with limits, which are most, as a plain Python loop over objects has them.
"""

from __future__ import annotations

import dataclasses
import math
import os
import statistics
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np

from bench._sweep import detector_figures
from bench.figure import Figure
from device_profiles.vocabulary import load_classes
from rules.backtest import backtest
from rules.engine import Engine
from rules.frame import Frame
from rules.pack import load_packs
from rules.state import State

if TYPE_CHECKING:
    from collections.abc import Iterator

    from device_profiles.vocabulary import DeviceClass, Metric
    from rules.pack import Rule, RulePack

_START_MS = 1_764_000_000_000
_LIMIT_MS = 50.0
_DAYS = int(os.environ.get("YEMAI_BENCH_DAYS", "30"))
"""Of one-minute data in the backtest; 365 is the year."""
_DEVICES, _MINUTES = 100, 1440


def run() -> Iterator[Figure]:
    """Measure sweeps of 10,000, 200,000 and 1,000,000 series, one of all detectors, and a backtest."""
    packs = _thresholds()
    spent: dict[int, list[float]] = {}
    for series in (10_000, 200_000, 1_000_000):
        sweep = _Sweep(packs, series)
        spent[series] = [sweep.once() for _ in range(9)][2:]
        if series == 200_000:
            yield _ms("threshold_sweep_ms_200k", spent[series], limit=_LIMIT_MS, peer=sweep.scalar_ms())
            yield Figure("state_bytes_per_series", round(sweep.state_bytes() / series, 1), "bytes", 1, 0.0)
        else:
            yield _ms(f"threshold_sweep_ms_{series // 1000}k", spent[series])
    each = {series: statistics.median(took) / series for series, took in spent.items()}
    yield Figure("threshold_slope_10k_to_1m", round(each[1_000_000] / each[10_000], 2), "per series", 7, 0.0)
    yield from detector_figures()
    yield _backtest(packs)


def _thresholds() -> list[RulePack]:
    return [
        msgspec.structs.replace(pack, rules=tuple(rule for rule in pack.rules if rule.anomaly is None))
        for pack in load_packs()
    ]


class _Sweep:
    """A district of about ``series`` series and what its rules remember."""

    def __init__(self, packs: list[RulePack], series: int) -> None:
        self._classes, self._packs = load_classes(), packs
        self._engine, self._state, self._now = Engine(packs, self._classes), State.empty(), _START_MS
        width = sum(len(c.metrics) for c in self._classes.values())
        self._count = -(-series // width)
        self._values = {
            name: np.tile([_calm(m, name) for m in c.metrics.values()], (self._count, 1))
            for name, c in self._classes.items()
        }

    def once(self) -> float:
        """Judge one new sample of each series; return ms.  Making the frames is not counted."""
        self._now += 60_000
        self._values["noise_monitor"] += 1 if self._now // 60_000 % 2 else -1  # a street is never quite still
        frames = [
            _frame(name, self._count, np.full(self._count, self._now), values)
            for name, values in self._values.items()
        ]
        began, found = time.perf_counter(), 0
        for frame in frames:
            self._state, transitions = self._engine.evaluate(self._state, frame, self._now)
            found += len(transitions)
        took = 1000 * (time.perf_counter() - began)
        if found:
            raise RuntimeError(f"{found} alarms where nothing is wrong")
        return took

    def state_bytes(self) -> int:
        """Return what the rules remember."""
        return sum(
            column.nbytes
            for part in self._state.classes.values()
            for memory in part.rules.values()
            for column in memory.columns.values()
        )

    def scalar_ms(self) -> float:
        """Judge the same sample by the same rules with limits, one device at a time; return ms.

        What the engine does for them too: known or not, late or not, the band to leave a limit, durations, signs of life.
        """
        work = []
        for pack in self._packs:
            names = list(self._classes[pack.device_class].metrics)
            rules = [rule for rule in pack.rules if rule.metric and rule.limits]
            rows = self._values[pack.device_class].tolist()
            work.append((rows, [[_Track(rule, names.index(rule.metric)) for rule in rules] for _ in rows]))
        now = self._now + 60_000
        began = time.perf_counter()
        for rows, devices in work:
            for row, tracks in zip(rows, devices, strict=True):
                for track in tracks:
                    track.sample(row, 0, now)
        return round(1000 * (time.perf_counter() - began), 1)


class _Track:
    """One rule on one device, as a plain program would keep it."""

    def __init__(self, rule: Rule, place: int) -> None:
        self._place, self._way, self._for_ms = place, rule.way, 1000 * rule.for_s
        margin = 0.0 if rule.clear is None else rule.clear - next(iter(rule.limits.values()))
        self._steps = [(int(severity), limit, limit + margin) for severity, limit in rule.limits.items()]
        self._since: dict[int, tuple[int, int]] = {}
        self._judged = self._heard = self._level = 0

    def sample(self, row: list[float], quality: int, now: int) -> None:
        value = row[self._place]
        self._heard = now
        if quality >= 64 or math.isnan(value) or now <= self._judged:
            return
        level = 0
        for severity, limit, clear in self._steps:
            stands = self._level >= severity
            if self._way in ("above", "at_least"):
                beyond = value > limit or (stands and value > clear)
            elif self._way == "equals":
                beyond = value == limit
            else:
                beyond = value < limit or (stands and value < clear)
            if not beyond:
                self._since.pop(severity, None)
                continue
            since, held = self._since.get(severity, (now, 0))
            held += now - self._judged
            self._since[severity] = since, held
            if stands or held >= self._for_ms:
                level = severity
        self._judged, self._level = now, level


class _Span(NamedTuple):
    days: int
    values: int


def _backtest(packs: list[RulePack]) -> Figure:
    (pack,) = (pack for pack in packs if pack.device_class == "air_monitor")
    device_class, span = load_classes()["air_monitor"], _Span(_DAYS, _DAYS * _MINUTES * _DEVICES * 10)
    frames = [_day(device_class, day) for day in range(min(span.days, 4))]  # made beforehand, used in turn

    def history() -> Iterator[Frame]:
        for day in range(span.days):
            frame = frames[day % len(frames)]
            yield dataclasses.replace(frame, time=frame.time + (day - day % len(frames)) * 86_400_000)

    began = time.perf_counter()
    report = backtest(pack, load_classes(), history, what_if=False)
    rate = span.values / (time.perf_counter() - began)
    if not report.episodes:
        raise RuntimeError("a backtest without an episode judges nothing")
    return Figure("backtest_values_per_s", round(rate), "values/s", 1, 0.0, size=f"{span.values} values")


def _day(device_class: DeviceClass, day: int) -> Frame:
    """Return a day of a hundred devices, a value a minute of ten metrics, with a bad hour for one of them."""
    dice = np.random.default_rng(day)
    rows = _MINUTES * _DEVICES
    calm = np.array([_calm(m, device_class.name) for m in device_class.metrics.values()])
    values = calm * dice.normal(1, 0.02, (rows, len(calm)))
    index = np.tile(np.arange(_DEVICES, dtype=np.int32), _MINUTES)
    minute = np.repeat(np.arange(_MINUTES, dtype=np.int64), _DEVICES)
    values[(index == day) & (minute // 60 == 9), list(device_class.metrics).index("pm2_5")] = 180.0
    times = _START_MS + 86_400_000 * day + 60_000 * minute
    return _frame(device_class.name, _DEVICES, times, values, index)


def _frame(name: str, devices: int, times: Any, values: Any, index: Any = None) -> Frame:
    named = tuple(f"{name}-{n}" for n in range(devices))
    index = np.arange(devices, dtype=np.int32) if index is None else index
    return Frame(
        name, named, index, times, values, np.zeros(values.shape, np.uint8), np.zeros(len(times), np.int64)
    )


def _calm(metric: Metric, device_class: str) -> float:
    return _CALM.get((device_class, metric.name), _CALM.get(metric.name, 0.5 * (metric.low + metric.high)))


def _ms(name: str, took: list[float], **beside: Any) -> Figure:
    middle = statistics.median(took)
    return Figure(
        name, round(middle, 2), "ms", len(took), round((max(took) - min(took)) / middle, 3), **beside
    )


_CALM: dict[Any, float] = {
    **{f"voltage_l{n}": 229.0 for n in (1, 2, 3)}, **{f"current_l{n}": 6.0 for n in (1, 2, 3)},
    **{f"cable_temperature_{n}": 30.0 for n in (1, 2, 3, 4)},
    "pm2_5": 30.0, "pm10": 50.0, "no2": 40.0, "so2": 20.0, "o3": 90.0, "co": 1.0, "residual_current": 60.0, "tripped": 0.0,
    "frequency": 50.0, "temperature": 30.0, "vehicle_state": 1.0, "charging_enabled": 1.0, "current_limit": 16.0,
    "leakage_current": 3.0, "gun_temperature": 30.0, "outlet_temperature": 30.0, "combustible": 1.0, "toxic": 0.0,
    "oxygen": 20.9, "fault": 0.0, "supply_voltage": 229.0, "lamp_on": 0.0, "tilt": 1.0, "cover_state": 0.0,
    "water_distance": 1900.0, "hydrogen_sulfide": 0.0, "methane": 1.0, "battery": 80.0, "signal_quality": 20.0,
    "sound_level": 45.0, "flow_rate": 46.0, "smoke_alarm": 0.0, "air_temperature": 22.0, "soil_moisture": 30.0,
    "level": 3.0, "battery_voltage": 3.6, "pressure": 0.3, "ph": 7.2, "dissolved_oxygen": 8.0, "ammonia_nitrogen": 0.2,
    "cod": 10.0, "wind_speed": 3.0, "rain_rate": 0.0, "rain_total": 10.0, "insulation_resistance": 5000.0,
    ("weather_station", "pressure"): 1013.0,
}  # fmt: skip
"""What each metric is on a good day."""
