"""The simulated city: the same for the same seed, calm outside scenarios, and true to its own telling."""

from pathlib import Path

import msgspec
import pytest

from device_profiles.registers import text_of
from device_profiles.vocabulary import load_classes
from simulators.city import City, Thing
from simulators.district import load_district
from simulators.scenarios import Stage, load_scenario, load_scenarios
from simulators.world import value
from telemetry.errors import ConfigError, Refused

NOON, DAY = 1_764_043_200_000, 86_400_000
DISTRICT = load_district()
SCENARIOS = load_scenarios(DISTRICT)
# Limits that default rules are likely to have, kept here as data: (class, metric) → (low, high).
CALM = {
    ("ev_charger", "temperature"): (-30, 75), ("ev_charger", "voltage_l1"): (190, 250),
    ("electrical_fire_monitor", "residual_current"): (0, 200), ("electrical_fire_monitor", "cable_temperature_1"): (-30, 60),
    ("water_pressure", "pressure"): (0.2, 1.0), ("water_level", "level"): (2.4, 3.6), ("gas_detector", "combustible"): (0, 10),
    ("smoke_detector", "smoke_alarm"): (0, 0), ("manhole_cover", "cover_state"): (0, 0),
    ("manhole_cover", "water_distance"): (1000, 5000), ("lamp_pole_controller", "supply_voltage"): (200, 250),
    ("lamp_pole_controller", "leakage_current"): (0, 10), ("noise_monitor", "sound_level"): (30, 70),
    ("air_monitor", "pm2_5"): (0, 100), ("water_quality", "dissolved_oxygen"): (5, 12), ("water_quality", "ph"): (6.5, 8.5),
    ("weather_station", "wind_speed"): (0, 12), ("pipe_flow", "flow_rate"): (0, 200), ("soil_monitor", "soil_moisture"): (20, 80),
}  # fmt: skip


def city(seed=7):
    return City(DISTRICT, seed, Stage(dict(SCENARIOS)))


def told(device_city, now):
    device_city.refresh(now)
    return {name: thing.history[-1].values for name, thing in device_city.things.items()}


def test_the_same_seed_gives_the_same_city_and_another_another():
    assert told(city(3), NOON) == told(city(3), NOON)
    assert told(city(3), NOON) != told(city(4), NOON)


def test_every_class_of_a_device_in_the_district_feels_something():
    for thing in city().things.values():
        for metric in thing.profile.metrics:
            assert value(7, thing.id, thing.profile.device_class, metric, NOON) is not None, (
                thing.id,
                metric,
            )


@pytest.mark.parametrize(("name", "metric"), CALM)
def test_outside_scenarios_nothing_comes_near_a_limit(name, metric):
    low, high = CALM[name, metric]
    seen = [
        value(seed, f"d{seed}", name, metric, NOON + hours * 3_600_000 + seed * DAY * 30)
        for seed in range(12)
        for hours in range(24)
    ]
    assert low <= min(seen)
    assert max(seen) <= high
    plausible = load_classes()[name].metrics[metric]
    assert plausible.low <= min(seen) <= max(seen) <= plausible.high


def test_street_noise_never_rests_for_a_minute():
    for second in range(0, 3600, 60):
        minute = [
            value(7, "noise-01", "noise_monitor", "sound_level", NOON + (second + s) * 1000)
            for s in range(60)
        ]
        assert max(minute) - min(minute) > 0.5


def test_the_district_is_wide_enough():
    profiles = {device.profile for device in DISTRICT.devices}
    assert len(list(DISTRICT.devices)) >= 60
    assert len(DISTRICT.sites) == 12
    assert len(DISTRICT.agents) == 6
    assert {bus.kind for bus in DISTRICT.buses} == {"modbus_tcp", "modbus_rtu", "serial_frame", "nbiot_udp"}
    assert len(profiles) >= 14


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_scenario_does_what_it_announces_and_then_all_is_calm_again(name):
    here, run, now = city(), None, NOON
    here.refresh(now)
    run = here.stage.start(name, now)
    with pytest.raises(Refused, match="playing already"):
        here.stage.start(name, now)
    while run.plays(now):
        now += 500
        here.refresh(now)
        for thing in here.things.values():
            if thing.profile.frame is not None:
                thing.sent(now)
    assert all(changed is not None for changed in run.changed_ms), run.changed_ms
    announced = {(e.device, e.metric) for e in run.scenario.expect} | {
        (s.device, s.metric) for s in run.scenario.steps
    }
    for thing in here.things.values():
        for served in thing.history:
            for metric, number in served.values.items():
                low, high = CALM.get((thing.profile.device_class, metric), (-1e18, 1e18))
                if (thing.id, metric) not in announced and number is not None:
                    assert low <= number <= high, (thing.id, metric, number)
    for step in run.scenario.steps:
        low, high = CALM.get((here.things[step.device].profile.device_class, step.metric), (-1e18, 1e18))
        assert low <= told(here, now + 1000)[step.device][step.metric] <= high


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "steps: [{device: chg-99, metric: temperature, to: 1}]",
            r"steps\[0\]\.device: no device 'chg-99'; did you mean 'chg-0\d'\?",
        ),
        (
            "steps: [{device: chg-05, metric: temprature, to: 1}]",
            r"'chg-05' has no 'temprature'; did you mean 'temperature'\?",
        ),
        (
            "steps: [{device: chg-05, metric: temperature, to: 1, at_s: 9, until_s: 3}]",
            "3 s is before it has begun",
        ),
        ("steps: [{device: chg-05, metric: temperature}]", "needs 'metric' and one of 'to' and 'do'"),
        ("steps: [{device: chg-05, metric: temperature, too: 1}]", "unknown key; did you mean 'to'"),
    ],
)
def test_a_mistake_in_a_scenario_is_told(tmp_path: Path, text, message):
    path = tmp_path / "s.yaml"
    path.write_text(f"title: {{zh: 甲, en: A}}\nexpect: []\n{text}\n")
    with pytest.raises(ConfigError, match=message):
        load_scenario(path, DISTRICT)


def test_an_unknown_scenario_is_told_with_the_nearest_name():
    with pytest.raises(Refused, match="did you mean 'smoke_then_fire'"):
        city().stage.start("smoke_than_fire", NOON)


def test_a_screen_of_the_city_shows_what_it_is_told_and_the_truth_tells_of_it():
    place = msgspec.structs.replace(
        next(iter(load_district().devices)),
        id="led-01",
        profile="text_block_gbk",
        identity="",
        unit=1,
        parameters={},
    )
    screen = Thing(place, 1, Stage({}))
    screen.refresh(1_764_000_000_000)
    assert screen.history[-1].texts == {"text": ""}
    order = text_of(screen.profile, "text", "前方积水 请绕行")
    assert screen.write(order.space, order.address, list(order.words), 1_764_000_001_000)
    assert screen.history[-1].texts == {"text": "前方积水 请绕行"}
    assert screen.history[-1].values["screen_on"] == 1.0
