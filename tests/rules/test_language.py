"""The language of ``when`` and ``value``: what it means, in three values, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_profiles.vocabulary import DeviceClass, Kind, Metric
from rules.engine import Engine
from rules.frame import Frame
from rules.language.terms import FALSE, TRUE, UNKNOWN, Joined, Negated
from rules.language.tokens import LanguageError
from rules.language.tree import parse
from rules.pack import RulePack
from rules.state import State
from rules.topology import Spot, Topology
from telemetry.quality import Quality
from telemetry.readings import Reading
from tests.rules.scenes import LABEL, T0, rule

PUMP = DeviceClass(
    "pump",
    LABEL,
    {
        "flow": Metric("flow", "m3/h", Kind.GAUGE, -100, 100, LABEL),
        "pressure": Metric("pressure", "MPa", Kind.GAUGE, 0, 10, LABEL),
        "backup_pressure": Metric("backup_pressure", "MPa", Kind.GAUGE, 0, 10, LABEL),
        "volume": Metric("volume", "m3", Kind.COUNTER, 0, 1e9, LABEL),
        "valve": Metric("valve", "", Kind.STATE, 0, 1, LABEL, {0: LABEL, 1: LABEL}),
        "flags": Metric("flags", "", Kind.BITS, 0, 7, LABEL, {}, {0: LABEL, 2: LABEL}),
    },
)
TANK = DeviceClass("tank", LABEL, {"level": Metric("level", "m", Kind.GAUGE, 0, 10, LABEL)})
CLASSES = {"pump": PUMP, "tank": TANK}
WHERE = Topology(
    {
        **{name: Spot("a1", "", "north", "town") for name in ("p1", "p2", "t1", "t2")},
        **{name: Spot("a2", "", "south", "town") for name in ("p3", "t3")},
    }
)


class Play:
    """An engine with one rule of pumps, fed reading by reading."""

    def __init__(self, **keys):
        keys = {"id": "pump.rule", "severity": "red", **keys}
        if "when" not in keys:
            del keys["severity"]
        self.engine = Engine([RulePack("pump", (rule(**keys),), ())], CLASSES, WHERE)
        self.state = State.empty()

    def say(self, seconds, device="p1", **values):
        of = TANK if device.startswith("t") else PUMP
        quality = {name: Quality.NO_ANSWER for name, value in values.items() if value is None}
        frame = Frame.of([Reading(device, T0 + seconds * 1000, values, quality)], of)
        self.state, found = self.engine.evaluate(self.state, frame, T0 + seconds * 1000)
        return [t.change.value for t in found]


def test_several_metrics_of_a_reading_are_judged_together():
    play = Play(when="valve == 0 and flow > 1 m3/h")
    assert play.say(0, valve=1, flow=5.0) == []
    assert play.say(1, valve=0, flow=5.0) == ["began"]
    assert play.say(2, valve=0, flow=None) == []
    assert play.say(3, valve=1, flow=None) == ["ended"]  # false, whatever the flow is


def test_metrics_that_come_in_readings_of_their_own_are_put_together_while_they_are_fresh():
    play = Play(when="valve == 0 and flow > 1", fresh_s=60)
    assert play.say(0, valve=0) == []
    assert play.say(30, flow=5.0) == ["began"]
    play = Play(when="valve == 0 and flow > 1", fresh_s=60)
    play.say(0, valve=0)
    assert play.say(90, flow=5.0) == []


def test_arithmetic_range_and_bits():
    play = Play(value="flow * 2 - flow / 4", above={"yellow": 17.4, "red": 30})
    assert play.say(0, flow=10.0) == ["began"]
    assert play.say(1, flow=20.0) == ["worsened"]
    play = Play(when="not pressure in [0.1 MPa, 0.4 MPa]")
    assert play.say(0, pressure=0.1) == []
    assert play.say(1, pressure=0.05) == ["began"]
    play = Play(when="bit(flags, 2)")
    assert play.say(0, flags=3) == []
    assert play.say(1, flags=4) == ["began"]
    assert play.say(2, flags=None) == []
    assert play.say(3, flags=1) == ["ended"]


def test_dividing_by_zero_is_unknown():
    play = Play(when="flow / pressure > 1")
    assert play.say(0, flow=5.0, pressure=1.0) == ["began"]
    assert play.say(1, flow=5.0, pressure=0.0) == []
    assert play.say(2, flow=0.0, pressure=1.0) == ["ended"]


def test_a_rate_needs_half_of_its_stretch_and_is_told_a_minute():
    play = Play(when="rate(pressure, 10min) < -0.05")
    assert play.say(0, pressure=1.0) == []
    assert play.say(60, pressure=0.5) == []  # one minute of ten: unknown
    assert play.say(299, pressure=0.5) == []
    assert play.say(300, pressure=0.5) == ["began"]  # 0.1 a minute over five
    assert play.say(1500, pressure=0.5) == []  # nothing in the last ten minutes: unknown
    assert play.say(1801, pressure=0.5) == ["ended"]


def test_a_rate_is_that_of_a_line_whatever_the_period():
    for period in (7, 60, 130):
        play = Play(when="rate(pressure, 10min) in [0.0119, 0.0121]")
        found = [play.say(n * period, pressure=0.0002 * n * period) for n in range(100)]
        assert [said for said in found if said] == [["began"]]


def test_an_increase_goes_on_over_the_reset_of_a_counter():
    play = Play(when="increase(volume, 1h) >= 20 m3")
    assert play.say(0, volume=90.0) == []
    assert play.say(600, volume=100.0) == []
    assert play.say(1200, volume=6.0) == []  # began anew at 0
    assert play.say(1800, volume=10.0) == ["began"]
    assert play.say(4700, volume=10.0) == ["ended"]


def test_the_greatest_of_several_leaves_out_what_the_device_never_had():
    play = Play(when="max(pressure, backup_pressure) > 1")
    assert play.say(0, pressure=0.5) == []
    assert play.say(1, pressure=2.0) == ["began"]  # it has no second gauge
    assert play.say(2, pressure=0.5) == ["ended"]
    assert play.say(3, backup_pressure=2.0) == ["began"]
    assert play.say(4, pressure=0.5, backup_pressure=None) == []  # it has one, and that is unknown
    assert play.say(5, pressure=0.5, backup_pressure=0.5) == ["ended"]


def test_another_devices_metric_at_the_same_site():
    play = Play(when="flow > 1 and site.tank.level > 5", fresh_s=100)
    assert play.say(0, flow=5.0) == []
    play.say(1, "t3", level=9.0)  # of the other site
    assert play.say(2, flow=5.0) == []
    play.say(3, "t1", level=9.0)
    assert play.say(4, flow=5.0) == ["began"]
    assert play.say(5, "p3", flow=5.0) == ["began"]
    assert play.say(200, flow=5.0) == []  # the tank's level is too old: unknown
    play.say(201, "t2", level=2.0)
    assert play.say(202, flow=5.0) == ["ended"]


def test_counting_devices_of_a_site_and_of_an_area():
    play = Play(when="flow < 0 and count(site.pump, flow < 0) >= 2")
    assert play.say(0, flow=-1.0) == []
    assert play.say(1, "p3", flow=-1.0) == []
    assert play.say(2, "p2", flow=-1.0) == ["began"]
    assert play.say(3, flow=-1.0) == ["began"]
    play = Play(when="flow < 0 and count(area.tank, level > 5) >= 2")
    play.say(0, "t1", level=9.0)
    play.say(0, "t3", level=9.0)
    assert play.say(1, flow=-1.0) == ["began"]


def test_late_data_asks_nothing_of_others_and_so_tells_nothing_of_them():
    play = Play(when="flow > 1 and site.tank.level > 5")
    play.say(0, "t1", level=9.0)
    assert play.say(100, flow=0.0) == []
    assert play.say(50, flow=5.0) == []


def test_classes_that_ask_each_other_are_kept_together():
    play = Play(when="flow > 1 and site.tank.level > 5")
    assert play.engine.together(["tank"]) == play.engine.together(["pump"]) == {"tank", "pump"}
    assert Play(when="flow > 1").engine.together(["tank"]) == {"tank"}


def test_a_ladder_and_a_clear_condition_of_its_own():
    play = Play(
        when={"yellow": "pressure > 1", "red": "pressure > 2 and flow > 5"},
        clear_when="pressure < 0.5",
        severity=None,
    )
    assert play.say(0, pressure=1.5, flow=0.0) == ["began"]
    assert play.say(1, pressure=2.5, flow=6.0) == ["worsened"]
    assert play.say(2, pressure=0.7, flow=6.0) == []
    assert play.say(3, pressure=None, flow=6.0) == []
    assert play.say(4, pressure=0.4, flow=6.0) == ["ended"]


def test_n_of_the_last_m_samples():
    for keys in ({"when": "pressure > 1"}, {"metric": "pressure", "above": {"red": 1}}):
        play = Play(n_of_m=[3, 5], **keys)
        said = [play.say(n, pressure=value) for n, value in enumerate([2, 0, 2, 2, 0, 2, 0, 0, 0])]
        assert said == [[], [], [], ["began"], [], [], [], ["ended"], []]


def test_kleene_tables():
    class Fixed:
        def __init__(self, value):
            self.value = value

        def truth(self, _):
            return np.array([self.value], np.int8)

    for a in (FALSE, UNKNOWN, TRUE):
        assert Negated(Fixed(a)).truth(None) == [2 - a]
        for b in (FALSE, UNKNOWN, TRUE):
            both = Joined("and", (Fixed(a), Fixed(b))).truth(None)[0]
            either = Joined("or", (Fixed(a), Fixed(b))).truth(None)[0]
            assert both == (FALSE if FALSE in (a, b) else UNKNOWN if UNKNOWN in (a, b) else TRUE)
            assert either == (TRUE if TRUE in (a, b) else UNKNOWN if UNKNOWN in (a, b) else FALSE)


@given(st.text(alphabet=" ()<>=!+-*/,[].\"'&abcandornotin0123456789·泵", max_size=40))
def test_no_text_breaks_the_parser(text):
    try:
        parse(text)
    except LanguageError as error:
        assert 0 <= error.at <= len(text)
        assert error.end > error.at


@pytest.mark.parametrize("text", ["(" * 100 + "1", "not " * 100 + "a > 1", "-" * 100 + "1 > 0"])
def test_a_text_nested_without_end_is_refused(text):
    with pytest.raises(LanguageError, match="nested deeper"):
        parse(text)
