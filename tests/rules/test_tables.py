"""Figures that standards make: break points by date, classes of water, and the days that are free."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pytest

from rules.air_quality import hourly_aqi, iaqi
from rules.calendar import Schedule, is_holiday, known_years
from rules.surface_water import water_class

BEIJING = dt.timezone(dt.timedelta(hours=8))


def ms(text: str) -> int:
    return round(dt.datetime.fromisoformat(text).replace(tzinfo=BEIJING).timestamp() * 1000)


@pytest.mark.parametrize(
    ("pollutant", "averaging", "day", "value", "index"),
    [  # HJ 633-2012 and HJ 633-2026, table 1; the two of 90 µg/m³ are worked out in docs/rules.md
        ("pm2_5", "hourly", "2026-03-01", 90, 128),
        ("pm2_5", "hourly", "2026-02-28", 90, 119),
        ("pm2_5", "hourly", "2026-06-01", 60, 100),
        ("pm2_5", "hourly", "2026-06-01", 60.5, 101),
        ("pm2_5", "hourly", "2026-06-01", 115, 150),
        ("pm2_5", "hourly", "2026-06-01", 500, 500),
        ("pm2_5", "hourly", "2026-06-01", 900, 500),
        ("pm10", "daily", "2026-06-01", 120, 100),
        ("pm10", "daily", "2025-06-01", 150, 100),
        ("so2", "daily", "2026-06-01", 1600, 300),
        ("so2", "hourly", "2026-06-01", 900, 200),
        ("o3", "daily", "2026-06-01", 900, 300),
        ("o3", "hourly", "2026-06-01", 160, 50),
        ("no2", "hourly", "2026-06-01", 1200, 200),
        ("co", "hourly", "2026-06-01", 7.5, 75),
    ],
)
def test_an_index_is_that_of_the_table_in_force(pollutant, averaging, day, value, index):
    assert iaqi(pollutant, np.array([float(value)]), np.array([ms(day)]), averaging) == [index]


def test_beyond_the_table_of_2012_there_is_no_index_of_sulphur_dioxide():
    assert np.isnan(iaqi("so2", np.array([900.0]), np.array([ms("2025-06-01")])))
    assert np.isnan(iaqi("so2", np.array([-1.0, np.nan]), np.array([ms("2026-06-01")] * 2))).all()


def test_the_worst_pollutant_is_the_index():
    when = np.array([ms("2026-06-01")] * 3)
    found = hourly_aqi({"pm2_5": np.array([10, 90, np.nan]), "o3": np.array([300.0, 20.0, np.nan])}, when)
    assert found[:2].tolist() == [150, 128]
    assert np.isnan(found[2])


def test_the_worst_figure_is_the_class_of_water():
    figures = {
        "ph": [7, 7, 5, 7, np.nan], "dissolved_oxygen": [8, 6, 8, 4.9, np.nan],
        "ammonia_nitrogen": [0.1, 0.5, 0.1, 0.1, np.nan], "cod": [15, 15, 15, 15, np.nan],
    }  # fmt: skip
    found = water_class({k: np.array(v, float) for k, v in figures.items()}, np.zeros(5, np.int64))
    assert found[:4].tolist() == [1, 2, 6, 4]
    assert np.isnan(found[4])


def test_free_days_are_those_of_the_announcement():
    days = ["2026-02-17", "2026-02-14", "2026-02-28", "2026-10-10", "2026-10-11", "2026-11-24", "2025-01-26"]
    numbers = np.array([(dt.date.fromisoformat(day) - dt.date(1970, 1, 1)).days for day in days])
    assert is_holiday(numbers).tolist() == [True, False, False, False, True, False, False]
    assert known_years() >= {2025, 2026}


@pytest.mark.parametrize(
    ("schedule", "inside", "outside"),
    [
        ({"hours": "22:00-06:00"}, ["2026-11-24T22:00", "2026-11-24T05:59"], ["2026-11-24T06:00", "2026-11-24T21:59"]),
        ({"hours": "08:00-24:00"}, ["2026-11-24T23:59"], ["2026-11-24T00:00"]),
        ({"weekdays": ("tue",)}, ["2026-11-24T12:00"], ["2026-11-25T00:00"]),
        # the night of a Tuesday reaches into Wednesday
        ({"hours": "22:00-06:00", "weekdays": ("tue",)}, ["2026-11-25T05:00"], ["2026-11-24T05:00"]),
        ({"days": "holidays"}, ["2026-10-01T12:00", "2026-11-22T12:00"], ["2026-10-10T12:00"]),
        ({"days": "workdays"}, ["2026-10-10T12:00"], ["2026-10-01T12:00"]),
    ],
)  # fmt: skip
def test_a_schedule_is_in_beijing_time(schedule, inside, outside):
    times = np.array([ms(text) for text in (*inside, *outside)])
    assert Schedule(**schedule).in_force(times).tolist() == [True] * len(inside) + [False] * len(outside)
