"""The packs of the platform's own programs prove themselves as those of devices do."""

import pytest

from device_profiles.vocabulary import load_classes, load_platform
from rules.pack import PLATFORM, load_pack
from rules.proof import prove

FILES = sorted(PLATFORM.glob("*.yaml"))


def test_every_program_that_is_measured_has_a_pack_and_none_has_the_name_of_a_device_class():
    assert {path.stem for path in FILES} == set(load_platform())
    assert not set(load_platform()) & set(load_classes())


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_pack_passes_its_tests_has_one_for_each_rule_and_says_what_to_do(path):
    pack = load_pack(path)
    failures = prove(pack, load_platform())
    assert not failures, "\n".join(map(str, failures))
    assert {test.rule for test in pack.tests} == {rule.id for rule in pack.rules}
    assert [rule.id for rule in pack.rules if not (rule.advice and rule.consequence)] == []
