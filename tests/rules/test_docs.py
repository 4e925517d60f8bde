"""docs/rules.md: it names every key, and its example is a pack that proves itself."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from device_profiles.vocabulary import load_classes
from rules.pack import Anomaly, NoData, PackTest, Rule, Stuck, load_pack
from rules.proof import prove

PAGE = (Path(__file__).parents[2] / "docs" / "rules.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("kind", [Rule, Stuck, NoData, Anomaly, PackTest])
def test_every_key_is_explained(kind):
    prose = re.sub(r"```.*?```", "", PAGE, flags=re.DOTALL)
    explained = set(re.findall(r"\w+", " ".join(re.findall(r"`([^`\n]+)`", prose))))
    assert set(kind.__struct_encode_fields__) <= explained


def test_the_example_is_a_pack_that_passes_its_tests(tmp_path):
    (example,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    path = tmp_path / "ev_charger.yaml"
    path.write_text(example, encoding="utf-8")
    assert prove(load_pack(path), load_classes()) == []
