"""The shipped packs: each proves itself, and together they keep the promises made to operators."""

from __future__ import annotations

import pytest

from device_profiles.vocabulary import load_classes
from rules.pack import RulePack, load_packs
from rules.proof import prove
from telemetry.severity import Severity

PACKS = load_packs()
RULES = [(pack, rule) for pack in PACKS for rule in pack.rules]
PINNED = {
    "ev_charger.overheat",
    "electrical_fire_monitor.residual_current",
    *(f"electrical_fire_monitor.cable_temperature_{n}" for n in (1, 2, 3, 4)),
    "smoke_detector.fire",
    "gas_detector.combustible",
    "water_pressure.low",
    "manhole_cover.moved",
    "manhole_cover.water_high",
    "water_level.high",
    "lamp_pole_controller.supply_lost",
    "lamp_pole_controller.leakage",
    "noise_monitor.stuck",
}


def by_name(pack: RulePack) -> str:
    return pack.device_class


@pytest.mark.parametrize("pack", PACKS, ids=by_name)
def test_a_pack_passes_its_own_tests(pack):
    failures = prove(pack, load_classes())
    assert not failures, "\n".join(map(str, failures))


@pytest.mark.parametrize("pack", PACKS, ids=by_name)
def test_every_rule_of_a_pack_is_tested(pack):
    assert {test.rule for test in pack.tests} == {rule.id for rule in pack.rules}


@pytest.mark.parametrize("pack", PACKS, ids=by_name)
def test_a_pack_tests_what_missing_data_does_to_a_rule_with_a_condition(pack):
    silences = {rule.id for rule in pack.rules if rule.no_data}
    assert any(value is None for test in pack.tests if test.rule not in silences for _, value in test.series)


@pytest.mark.parametrize(
    ("pack", "rule"), [pytest.param(p, r, id=r.id) for p, r in RULES if r.clear is not None]
)
def test_a_rule_with_hysteresis_is_tested_inside_its_band(pack, rule):
    low, high = sorted((rule.clear, next(iter(rule.limits.values()))))
    tests = [test for test in pack.tests if test.rule == rule.id]
    if rule.metric:
        told = [v for test in tests for _, v in test.series]
        values = [v.get(rule.metric) if isinstance(v, dict) else v for v in told]
        assert any(v is not None and low < v < high for v in values), rule.id
    assert any(change == "ended" for test in tests for _, change, _ in test.expect), rule.id


def test_the_rules_that_scenarios_lean_on_are_there():
    assert {rule.id for _, rule in RULES} >= PINNED


def test_every_class_has_a_pack_that_notices_silence_but_not_a_two_minute_outage():
    silences = {pack.device_class: [r.no_data for r in pack.rules if r.no_data] for pack in PACKS}
    assert set(silences) == set(load_classes())
    for name, found in silences.items():
        (no_data,) = found
        assert no_data.after_s >= 180, name


def test_a_fire_is_never_mild_and_never_waits():
    fires = [
        rule for _, rule in RULES if rule.category == "fire" and rule.id != "lamp_pole_controller.leakage"
    ]
    assert fires
    for rule in fires:
        assert rule.for_s == 0, rule.id
        assert max(rule.limits or rule.claims) >= Severity.ORANGE, rule.id


def test_a_failed_test_says_what_was_expected_and_what_came():
    pack = next(pack for pack in PACKS if pack.device_class == "smoke_detector")
    wrong = type(pack.tests[0])("never red", "smoke_detector.fire", ((0.0, 0.0), (1.0, 1.0)), ())
    (failure,) = prove(RulePack(pack.device_class, pack.rules, (wrong,)), load_classes())
    assert failure.test == "smoke_detector: never red"
    assert (failure.expected, failure.found) == ([], [(1.0, "began", "red")])
