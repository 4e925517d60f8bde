"""A pack over the past: the same episodes as live, and what other limits would have given."""

from __future__ import annotations

import numpy as np
import pytest

from rules.backtest import backtest
from rules.frame import Frame
from rules.pack import RulePack
from rules.state import State
from tests.rules.scenes import CLASSES, HOT, SILENT, SLOW, STUCK, T0, engine, rule

HOUR = 60


def history(days=2, devices=3, seed=1):
    """A value a minute; device 0 has a hot hour each day, device 1 a hotter one on the first."""
    dice = np.random.default_rng(seed)
    for day in range(days):
        rows = 1440 * devices
        index = np.repeat(np.arange(devices, dtype=np.int32), 1440)
        minute = np.tile(np.arange(1440, dtype=np.int64), devices)
        heat = dice.normal(40, 2, rows)
        heat[(index == 0) & (minute // HOUR == 9)] = 75
        if day == 0:
            heat[(index == 1) & (minute // HOUR == 10)] = 95
        values = np.stack([heat, np.zeros(rows)], axis=1)
        quality = np.zeros((rows, 2), np.uint8)
        times = T0 + 60_000 * (1440 * day + minute)
        yield Frame("boiler", ("b0", "b1", "b2"), index, times, values, quality, np.zeros(rows, np.int64))


def pack(*rules):
    return RulePack("boiler", tuple(rule(**keys) for keys in rules), ())


def test_episodes_how_often_and_how_long():
    report = backtest(pack(HOT, SILENT), CLASSES, history)
    assert [(e.device, e.worst.name, (e.began - T0) // 60_000, (e.ended - T0) // 60_000) for e in report.episodes] == [
        ("b0", "YELLOW", 540, 600), ("b1", "RED", 600, 660), ("b0", "YELLOW", 1980, 2040),
    ]  # fmt: skip
    (summary,) = report.summaries
    assert (summary.episodes, summary.devices, summary.median_s, summary.longest_s) == (3, 2, 3600, 3600)
    assert summary.share == pytest.approx(3 / (48 * 3), rel=0.001)
    assert summary.per_device_month == pytest.approx(15, rel=0.001)
    assert report.left_out == ("boiler.no_data",)
    assert (report.devices, report.samples) == (3, 2 * 3 * 1440 * 2)


def test_what_other_limits_would_have_given():
    report = backtest(pack({**HOT, "clear": 69}), CLASSES, history, limits=[60, 80])
    table = {w.limit: (w.colour, w.episodes, w.hours) for w in report.what_if}
    assert table == {60: ("", 3, 3.0), 70: ("yellow", 3, 3.0), 80: ("", 1, 1.0), 90: ("red", 1, 1.0)}
    chosen = backtest(pack(HOT), CLASSES, history).what_if
    assert {70.0, 90.0} < {w.limit for w in chosen}
    counts = [w.episodes for w in chosen if w.limit >= 60]
    assert counts == sorted(counts, reverse=True)


def test_a_day_at_once_is_judged_as_minute_by_minute():
    """What lets a backtest skip samples that change nothing must not be noticed."""
    rules = (HOT, SLOW, STUCK, {**SLOW, "id": "boiler.long", "for_s": 300, "gap_s": 60},
             {"id": "boiler.when", "when": "heat > 70 and door == 0", "severity": "red", "clear_when": "heat < 41"})  # fmt: skip
    report = backtest(pack(*rules), CLASSES, lambda: history(days=1), what_if=False)
    judge, state, told = engine(*rules), State.empty(), {}
    (day,) = history(days=1)
    for minute in range(1440):
        rows = np.flatnonzero(day.time == T0 + 60_000 * minute)
        parts = (getattr(day, name)[rows] for name in ("index", "time", "values", "quality", "shift"))
        state, found = judge.evaluate(state, Frame("boiler", day.devices, *parts), int(day.time[rows[0]]))
        for t in found:
            began, _ = told.get(t.alarm, (t.time, None))
            told[t.alarm] = began, t.time if t.change == "ended" else None
    assert sorted((e.began, e.ended or 0) for e in report.episodes) == sorted(
        (b, e or 0) for b, e in told.values()
    )
    assert len(told) >= 5


def test_an_empty_history_tells_nothing():
    report = backtest(pack(HOT), CLASSES, list)
    assert (report.episodes, report.devices, report.summaries[0].episodes) == ((), 0, 0)
