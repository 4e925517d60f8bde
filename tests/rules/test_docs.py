"""docs/rules.md: it names every key, and its example is a pack that proves itself."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from device_profiles.vocabulary import load_classes
from rules.calendar import Schedule
from rules.language.binding import FUNCTIONS
from rules.pack import Anomaly, NoData, Override, PackTest, Rule, Stuck, load_pack
from rules.proof import prove

PAGE = (Path(__file__).parents[2] / "docs" / "rules.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("kind", [Rule, Stuck, NoData, Anomaly, Override, Schedule, PackTest])
def test_every_key_is_explained(kind):
    prose = re.sub(r"```.*?```", "", PAGE, flags=re.DOTALL)
    explained = set(re.findall(r"\w+", " ".join(re.findall(r"`([^`\n]+)`", prose))))
    assert set(kind.__struct_encode_fields__) <= explained


def test_the_example_is_a_pack_that_passes_its_tests(tmp_path):
    example = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)[0]
    path = tmp_path / "ev_charger.yaml"
    path.write_text(example, encoding="utf-8")
    assert prove(load_pack(path), load_classes()) == []


def test_every_function_of_the_language_is_explained():
    assert [name for name in FUNCTIONS if f"`{name}(" not in PAGE] == []


def test_the_examples_of_the_language_can_be_meant(tmp_path):
    rule, _, _ = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)[0].partition("tests:")
    when, overrides = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)[1:3]
    path = tmp_path / "ev_charger.yaml"
    more = "\n".join("    " + line for line in overrides.splitlines())
    path.write_text(
        f"{rule}{more}\n"
        "  - id: ev_charger.second\n    title: {zh: 二, en: two}\n    category: warning\n    source: docs\n"
        f"    severity: red\n    {when}",
        encoding="utf-8",
    )
    assert [len(r.overrides) for r in load_pack(path).rules] == [2, 0]


def test_the_example_of_a_count_can_be_meant(tmp_path):
    example = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)[3]
    path = tmp_path / "smoke_detector.yaml"
    path.write_text(f"rules:\n{example}", encoding="utf-8")
    assert [rule.id for rule in load_pack(path).rules] == ["smoke_detector.confirmed"]
