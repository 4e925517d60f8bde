"""All detectors over 200,000 series, one new sample each, through the engine; beside `river`, a detector object for each series."""

from __future__ import annotations

import importlib
import statistics
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.figure import Figure
from device_profiles.vocabulary import DeviceClass, Kind, Metric
from rules.bank import Bank
from rules.engine import Engine
from rules.frame import Frame
from rules.pack import Anomaly, Rule, RulePack
from rules.state import State
from telemetry.text import Text
from telemetry.transitions import Category

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DEVICES, METRICS, WARM, RUNS, BESIDE = 20_000, 10, 40, 9, 4_000
_T0 = 1_764_000_000_000


def detector_figures() -> Iterator[Figure]:
    """Measure with values as usual: 20,000 devices of ten metrics, a minute apart, after 40 samples.

    Time is that of one core, whatever else the machine does.
    """
    sweep, count = _sweeper(), DEVICES * METRICS
    for n in range(WARM):
        sweep(n)
    took = [sweep(WARM + n) for n in range(RUNS)]
    peer = _river() * count
    middle = statistics.median(took)
    spread = round((max(took) - min(took)) / middle, 3)
    yield Figure(
        "detector_sweep_ms_200k", round(middle, 1), "ms", RUNS, spread, limit=150.0, peer=round(peer, 1)
    )
    yield Figure("detector_state_bytes_per_series", Bank().bytes_per_series + 9, "B", 1, 0.0)


def _sweeper() -> Callable[[int], float]:
    label, names = Text("量", "metric"), [f"m{n}" for n in range(METRICS)]
    tank = DeviceClass("tank", label, {m: Metric(m, "", Kind.GAUGE, -1e9, 1e9, label) for m in names})
    rules = tuple(
        Rule(
            id=f"tank.{m}",
            title=label,
            metric=m,
            category=Category.MAINTENANCE,
            source="bench",
            anomaly=Anomaly(),
        )
        for m in names
    )
    engine, dice = Engine([RulePack("tank", rules, ())], {"tank": tank}), np.random.default_rng(1)
    devices, index = tuple(f"d{n}" for n in range(DEVICES)), np.arange(DEVICES, dtype=np.int32)
    quality, shift = np.zeros((DEVICES, METRICS), np.uint8), np.zeros(DEVICES, np.int64)
    jitter = dice.integers(0, 60_000, DEVICES)
    states = [State.empty()]

    def sweep(n: int) -> float:
        times = _T0 + 60_000 * n + jitter
        frame = Frame("tank", devices, index, times, dice.normal(20, 1, (DEVICES, METRICS)), quality, shift)
        began = time.process_time()
        states[0], _ = engine.evaluate(states[0], frame, int(times.max()))
        return 1000 * (time.process_time() - began)

    return sweep


def _river() -> float:
    """Return the ms that one sample of one series takes: a Gaussian scorer each, scored and taught."""
    anomaly: Any = importlib.import_module("river.anomaly")
    series, dice = [anomaly.GaussianScorer() for _ in range(BESIDE)], np.random.default_rng(1)
    for _ in range(WARM + 80):  # it says nothing before it has seen a hundred
        values = dice.normal(20, 1, BESIDE).tolist()
        began = time.process_time()
        for scorer, value in zip(series, values, strict=True):
            scorer.score_one(None, value)
            scorer.learn_one(None, value)
        took = time.process_time() - began
    return 1000 * took / BESIDE
