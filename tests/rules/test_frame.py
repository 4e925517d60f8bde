from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from device_profiles.vocabulary import load_classes
from rules.frame import Frame
from telemetry.quality import ABSENT, Quality
from telemetry.readings import Reading
from tests.rules.scenes import BOILER, T0, frame, reading


def test_readings_become_rows_in_the_order_they_came():
    made = frame((0, 20.0, "b1"), (1, None, "b2"), (2, 30.0, "b1", Quality.IMPLAUSIBLE))
    assert made.devices == ("b1", "b2")
    assert made.index.tolist() == [0, 1, 0]
    assert made.time.tolist() == [T0, T0 + 1000, T0 + 2000]
    np.testing.assert_array_equal(made.values[:, 0], [20.0, np.nan, 30.0])
    assert made.quality.tolist() == [[0, ABSENT], [Quality.NO_ANSWER, ABSENT], [Quality.IMPLAUSIBLE, ABSENT]]
    assert made.sample_count == 3
    assert (made.index.dtype, made.time.dtype, made.quality.dtype) == (np.int32, np.int64, np.uint8)


def test_readings_of_different_profiles_fill_the_columns_they_have():
    made = Frame.of(
        [
            Reading("a", T0, {"door": 1.0, "heat": 20.0}),
            Reading("b", T0, {"heat": 21.0}),
            Reading("c", T0, {}),
            Reading("d", T0, {"door": None}, {"door": Quality.REFUSED, "ghost": Quality.REFUSED}),
        ],
        BOILER,
    )
    np.testing.assert_array_equal(
        made.values, [[20.0, 1.0], [21.0, np.nan], [np.nan, np.nan], [np.nan, np.nan]]
    )
    assert made.quality.tolist() == [[0, 0], [0, ABSENT], [ABSENT, ABSENT], [ABSENT, Quality.REFUSED]]


def test_a_metric_that_the_class_has_not_is_a_bug_of_the_caller():
    with pytest.raises(KeyError, match="cold"):
        Frame.of([Reading("a", T0, {"cold": 1.0})], BOILER)


def test_no_readings_make_an_empty_frame():
    made = Frame.of([], BOILER)
    assert (len(made), made.values.shape, made.rounds()[0].tolist()) == (0, (0, 2), [])


def test_rounds_hold_each_device_once_and_in_time_order():
    made = frame((5, 1.0, "a"), (3, 2.0, "b"), (1, 3.0, "a"), (4, 4.0, "a"), (4, 5.0, "a"))
    rounds = [part.tolist() for part in made.rounds()]
    assert [sorted(part) for part in rounds] == [[1, 2], [3], [4], [0]]


def test_attributes_are_no_samples():
    assert reading(0, 1.0).sample_count == frame((0, 1.0)).sample_count == 1


def test_a_frame_of_before_its_class_gained_a_metric_is_as_wide_as_the_class_now():
    classes = load_classes()
    width = len(classes["ev_charger"].metrics)
    old = Frame.of([Reading("c1", T0, {"temperature": 20.0})], classes["ev_charger"])
    narrow = dataclasses.replace(old, values=old.values[:, :-2], quality=old.quality[:, :-2])
    again = Frame.load(narrow.dump())
    assert again.values.shape == again.quality.shape == (1, width)
    assert (again.quality[:, -2:] == ABSENT).all()
    assert Frame.joined([again, old]).values.shape == (2, width)
