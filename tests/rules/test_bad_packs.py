"""Every mistake in a pack gets its own message: the first line of ``bad/<mistake>/<class>.yaml`` says which."""

from __future__ import annotations

from pathlib import Path

import pytest

from rules.pack import FOLDER, load_pack, load_packs
from telemetry.errors import ConfigError

BAD = sorted(Path(__file__).parent.glob("bad/*/*.yaml"))


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.parent.name)
def test_a_mistake_is_named_with_its_place_and_the_way_out(path):
    says = path.read_text(encoding="utf-8").splitlines()[0].removeprefix("# says: ")
    with pytest.raises(ConfigError) as caught:
        load_pack(path)
    assert str(caught.value).removeprefix(f"{path}: ").splitlines()[0] == says


def test_a_fault_in_a_condition_is_underlined():
    with pytest.raises(ConfigError) as caught:
        load_pack(Path(__file__).parent / "bad/when_scope/ev_charger.yaml")
    assert str(caught.value).splitlines()[1:] == [
        "    temperature > 5 and sight.weather_station.rain_rate > 2",
        "                        ^^^^^",
    ]


def test_no_two_mistakes_share_a_message():
    says = [path.read_text(encoding="utf-8").splitlines()[0] for path in BAD]
    assert len(set(says)) == len(says) > 30


def test_a_class_has_one_pack(tmp_path):
    again = tmp_path / "noise_monitor.yaml"
    again.write_bytes((FOLDER / "noise_monitor.yaml").read_bytes())
    with pytest.raises(ConfigError, match="class 'noise_monitor' has a pack already"):
        load_packs([FOLDER / "noise_monitor.yaml", again])
