"""Silence with a common cause: one page for many, none withheld that is not silence, and none forgotten."""

from __future__ import annotations

import pytest

from device_profiles.vocabulary import load_classes
from rules.engine import Engine
from rules.frame import Frame
from rules.pack import load_packs
from rules.state import State
from rules.topology import Spot, Topology
from telemetry.quality import Quality
from telemetry.readings import Reading

CLASSES, PACKS = load_classes(), load_packs()
T0 = 1_764_000_000_000
SPEAK = {"lamp_pole_controller": ("supply_voltage", 229.0), "smoke_detector": ("smoke_alarm", 0.0)}


class District:
    """Devices that speak every ten seconds unless their site, agent or bus is down; ticks every five."""

    def __init__(self, sites=1, agents=4, of_agent=10):
        self.spots = {
            f"s{s}-a{a}-d{d}": Spot(f"s{s}-a{a}", f"f{s // 2}", f"s{s}", "town", 10)
            for s in range(sites)
            for a in range(agents)
            for d in range(of_agent)
        }
        self.classes = {
            d: ("smoke_detector" if d.endswith("d9") else "lamp_pole_controller") for d in self.spots
        }
        self.engine = Engine(PACKS, CLASSES, Topology(self.spots))
        self.now, self.state = 0, self.engine.expect(State.empty(), self.classes, T0)
        self.dark: set[str] = set()  # beginnings of names
        self.unlinked: set[str] = set()
        self.told = []

    def go(self, seconds, *, restarting=False):
        until = self.now + seconds
        while self.now < until:
            self.now += 5
            if restarting and self.now % 40 == 0:
                self.state = State.load({name: self.state.dump(name) for name in self.state.classes})
                self.engine = Engine(PACKS, CLASSES, Topology(self.spots))
            self.state, found = self.engine.tick(self.state, T0 + self.now * 1000)
            self.told += found
            if self.now % 10 == 0:
                for name in ("lamp_pole_controller", "smoke_detector"):
                    self.say(name, {d: SPEAK[name] for d, c in self.classes.items() if c == name})
        return self

    def say(self, device_class, what):
        readings = []
        for device, (metric, value) in what.items():
            if any(device.startswith(name) for name in self.dark):
                continue
            bad = any(device.startswith(name) for name in self.unlinked)
            quality = {metric: Quality.LINK_DOWN} if bad else {}
            time = T0 + self.now * 1000
            readings.append(Reading(device, time, {metric: None if bad else value}, quality))
        if readings:
            frame = Frame.of(readings, CLASSES[device_class])
            self.state, found = self.engine.evaluate(self.state, frame, T0 + self.now * 1000)
            self.told += found

    def pages(self):
        """What would wake somebody."""
        told, self.told = self.told, []
        return [(t.change.value, t.rule, t.device) for t in told if not t.suppressed_by]

    def silences(self):
        return [t for t in self.engine.active(self.state) if t.rule.endswith(".no_data")]


def test_a_power_cut_of_a_site_of_forty_devices_is_one_page():
    district = District(sites=3).go(60)
    district.dark = {"s1"}
    district.go(600)
    assert district.pages() == [("began", "outage.site", "site:s1")]
    assert len(district.silences()) == 40
    (outage,) = [t for t in district.engine.active(district.state) if t.rule == "outage.site"]
    assert {t.suppressed_by for t in district.silences()} == {outage.alarm}
    assert {t.origin for t in district.silences()} == {"site"}
    assert outage.value == 40
    assert outage.title.en == "Site s1 is silent: 40 devices"
    assert outage.time == T0 + 60_000


def test_a_fire_in_the_dark_site_is_paged():
    district = District(sites=3).go(60)
    district.dark = {"s1"}
    district.go(120)
    district.dark = {f"s1-a{a}" for a in (0, 1, 2)} | {f"s1-a3-d{d}" for d in range(9)}
    district.say("smoke_detector", {"s1-a3-d9": ("smoke_alarm", 1.0)})  # on its battery
    assert district.pages() == [("began", "smoke_detector.fire", "s1-a3-d9")]
    district.dark = {"s1"}
    district.go(600)
    assert district.pages() == [("began", "outage.site", "site:s1")]
    district.dark = {f"s1-a{a}" for a in (0, 1, 2)} | {f"s1-a3-d{d}" for d in range(9)}
    district.say("smoke_detector", {"s1-a3-d9": ("smoke_alarm", 0.0)})
    assert district.pages() == [("ended", "smoke_detector.fire", "s1-a3-d9")]


def test_a_power_cut_of_the_district_is_one_page_and_its_end_one():
    district = District(sites=5).go(60)
    district.dark = {"s"}
    district.go(900)
    assert district.pages() == [("began", "outage.area", "area:town")]
    assert len(district.silences()) == 200
    district.dark = set()
    district.go(300)
    assert district.pages() == [("ended", "outage.area", "area:town")]
    assert district.silences() == []


def test_a_feeder_of_two_sites_is_told_from_its_sites():
    district = District(sites=6).go(60)
    district.dark = {"s2", "s3"}
    district.go(600)
    assert district.pages() == [("began", "outage.feeder", "feeder:f1")]


def test_an_agent_that_falls_silent_is_one_page():
    district = District(sites=2).go(60)
    district.dark = {"s1-a2"}
    district.go(600)
    assert district.pages() == [("began", "outage.agent", "agent:s1-a2")]
    assert {t.origin for t in district.silences()} == {"agent"}


def test_a_bus_that_cannot_be_opened_is_told_from_its_agent():
    district = District(sites=2).go(60)
    district.unlinked = {f"s1-a2-d{d}" for d in range(5)}
    district.go(600)
    assert district.pages() == [("began", "outage.bus", "bus:s1-a2")]
    assert {(t.origin, t.device) for t in district.silences()} == {("bus", f"s1-a2-d{d}") for d in range(5)}
    district.unlinked = set()
    district.go(60)
    assert district.pages() == [("ended", "outage.bus", "bus:s1-a2")]


def test_one_silent_device_is_its_own_page():
    district = District(sites=2).go(60)
    district.dark = {"s1-a2-d3"}
    district.go(600)
    assert district.pages() == [("began", "lamp_pole_controller.no_data", "s1-a2-d3")]
    assert [t.origin for t in district.silences()] == ["device"]


def test_what_was_missed_before_the_outage_stays_a_page_of_its_own_and_ends():
    district = District(sites=2).go(60)
    district.dark = {"s1-a2-d3"}
    district.go(600).pages()
    district.dark = {"s1"}
    district.go(600)
    assert district.pages() == [("began", "outage.site", "site:s1")]
    district.dark = set()
    district.go(300)
    assert sorted(district.pages()) == [
        ("ended", "lamp_pole_controller.no_data", "s1-a2-d3"), ("ended", "outage.site", "site:s1"),
    ]  # fmt: skip


def test_what_is_still_silent_when_the_outage_is_over_is_released_and_pages_once():
    district = District(sites=2).go(60)
    district.dark = {"s1"}
    district.go(600).pages()
    district.dark = {"s1-a0-d1"}
    district.go(60)
    assert district.pages() == [("ended", "outage.site", "site:s1")]
    district.go(300)
    assert district.pages() == [("released", "lamp_pole_controller.no_data", "s1-a0-d1")]
    district.dark = set()
    district.go(60)
    assert district.pages() == [("ended", "lamp_pole_controller.no_data", "s1-a0-d1")]


def test_a_second_cut_is_a_second_outage():
    district = District(sites=2).go(60)
    for _ in range(2):
        district.dark = {"s1"}
        district.go(600)
        district.dark = set()
        district.go(300)
    assert [change for change, *_ in district.pages()] == ["began", "ended"] * 2


def test_half_a_site_that_is_silent_is_that_many_agents():
    district = District(sites=2).go(60)
    district.dark = {"s1-a0", "s1-a1"}
    district.go(600)
    assert sorted(district.pages()) == [
        ("began", "outage.agent", "agent:s1-a0"), ("began", "outage.agent", "agent:s1-a1"),
    ]  # fmt: skip


@pytest.mark.parametrize("cut", [{"s1"}, {"s1-a2"}, {"s"}])
def test_a_restart_at_any_moment_of_an_outage_is_not_noticed(cut):
    told = []
    for restarting in (False, True):
        district = District(sites=2, agents=3, of_agent=3).go(60)
        district.dark = cut
        district.go(500, restarting=restarting)
        district.dark = {"s1-a0-d1"}
        district.go(400, restarting=restarting)
        told.append([t.id for t in district.told])
    assert told[0] == told[1]


def test_without_a_topology_every_device_is_its_own_page():
    district = District()
    district.engine.topology = Topology()
    district.go(60)
    district.dark = {"s0-a1"}
    district.go(600)
    assert len(district.pages()) == 10


def test_a_bus_is_told_by_its_name_where_the_registry_knows_it():
    district = District(sites=2)
    spots = {
        d: s._replace(bus="rs485-1" if d[-1] in "01234" else "rs485-2") for d, s in district.spots.items()
    }
    district.engine.topology = Topology(spots)
    district.go(60)
    district.unlinked = {f"s1-a2-d{d}" for d in range(5)}
    district.go(600)
    assert district.pages() == [("began", "outage.bus", "bus:s1-a2/rs485-1")]


def test_a_platform_that_starts_in_an_outage_does_not_think_it_over():
    district = District(sites=3).go(60)
    district.dark = {"s1-a0"}
    district.go(10)
    district.dark = {"s1"}
    district.go(300)  # the first agent's devices are missed, the others' not yet
    (began,) = district.pages()
    district.state = district.engine.expect(district.state, district.classes, T0 + district.now * 1000)
    district.go(600)
    assert district.pages() == []
    assert len(district.silences()) == 40
    district.dark = set()
    district.go(300)
    assert district.pages() == [("ended", began[1], began[2])]
