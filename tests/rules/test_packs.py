"""Packs prove themselves, and a mistake in one has a message."""

from pathlib import Path

import pytest

from device_profiles.vocabulary import load_classes
from rules.pack import load_pack, load_packs
from rules.proof import prove
from telemetry.errors import ConfigError

BAD = Path(__file__).parent / "bad"
PACKS = load_packs()


@pytest.mark.parametrize("pack", PACKS, ids=lambda pack: pack.device_class)
def test_a_pack_does_what_its_own_tests_say(pack):
    assert prove(pack, load_classes()) == []


def test_every_rule_is_tested_and_cites_its_source():
    tested = {test.rule for pack in PACKS for test in pack.tests}
    rules = {rule.id for pack in PACKS for rule in pack.rules}
    twins = {f"electrical_fire_monitor.cable_temperature_{n}" for n in (2, 3, 4)}  # of number 1
    assert rules - tested - twins == {"water_quality.ph_low"}  # the mirror of ph_high
    assert all(rule.source for pack in PACKS for rule in pack.rules)


def test_a_wrong_test_is_found_out(tmp_path):
    text = (
        (Path("rules/packs/smoke_detector.yaml"))
        .read_text()
        .replace("[1, began, red]", "[1, began, blue]", 1)
    )
    (tmp_path / "smoke_detector.yaml").write_text(text)
    (failure,) = prove(load_pack(tmp_path / "smoke_detector.yaml"), load_classes())
    assert failure.found != failure.expected


@pytest.mark.parametrize("path", sorted(BAD.glob("*/*.yaml")), ids=lambda path: path.parent.name)
def test_a_mistake_is_told_as_expected(path):
    with pytest.raises(ConfigError) as caught:
        load_pack(path)
    assert str(caught.value).replace(f"{path.parent}/", "") == (path.parent / "expected").read_text().strip()
