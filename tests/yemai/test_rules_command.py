"""``yemai rules`` as an operator uses it: write a rule, break it, prove it, and see what it would have said."""

from __future__ import annotations

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from cloud_ingest.config import load_config
from device_profiles.vocabulary import load_classes
from rules.frame import Frame
from telemetry.errors import ConfigError, Refused, YemaiError
from tests.cloud_ingest.world import write_config
from yemai.cli import app

PACK = """
rules:
  - id: noise_monitor.rude
    title: {zh: 扰民, en: Rude}
    category: warning
    metric: sound_level
    above: {blue: 60, yellow: 80}
    source: of the district
tests:
  - name: it rises and falls
    rule: noise_monitor.rude
    series: [[0, 50], [1, 61], [2, null], [3, 50]]
    expect: [[1, began, blue], [3, ended, blue]]
"""
T0 = 1_764_000_000_000  # 2025-11-25 00:00 Beijing


@pytest.fixture(autouse=True)
def _english(monkeypatch):
    monkeypatch.setenv("YEMAI_LANG", "en")
    monkeypatch.setenv("COLUMNS", "200")


def yemai(*words):
    return CliRunner().invoke(app, ["rules", *map(str, words)])


@pytest.fixture
def pack(tmp_path):
    path = tmp_path / "noise_monitor.yaml"
    path.write_text(PACK, encoding="utf-8")
    return path


def test_the_shipped_packs_are_clean_and_pass():
    told = yemai("check")
    assert told.exit_code == 0, told.output
    assert "0 to mend" in told.output
    told = yemai("test", "smoke_detector")
    assert told.exit_code == 0
    assert "0 failed" in told.output


def test_a_pack_that_fails_its_own_test_is_told_with_both_sides(pack):
    assert yemai("test", pack).exit_code == 0
    pack.write_text(PACK.replace("[3, ended, blue]", "[2, ended, blue]"), encoding="utf-8")
    told = yemai("test", pack)
    assert told.exit_code == 1
    assert "noise_monitor: it rises and falls" in told.output
    assert "expected [(1.0, 'began', 'blue'), (2.0, 'ended', 'blue')]" in told.output


def test_what_is_allowed_and_yet_not_meant_is_found(pack):
    again = (
        PACK.split("tests:", maxsplit=1)[0]
        .replace("rules:", "")
        .replace(".rude", ".ruder")
        .replace("60", "62")
    )
    pack.write_text(PACK.replace("tests:", again.lstrip("\n") + "tests:"), encoding="utf-8")
    told = yemai("check", pack)
    assert told.exit_code == 1
    for line in (
        "noise_monitor: nobody notices silence: no 'no_data'",
        "noise_monitor.ruder: has no test",
        "noise_monitor.rude: and noise_monitor.ruder alarm in the same direction with the same severity",
        "3 to mend",
    ):
        assert line in told.output


def test_a_mistake_is_named_and_the_rest_is_checked(pack):
    pack.write_text(PACK.replace("sound_level", "sound_levle"), encoding="utf-8")
    told = yemai("check", pack)
    assert told.exit_code == 1
    assert "did you mean 'sound_level'?" in told.output


@pytest.fixture
def config(tmp_path):
    """An ingest whose store has two days of a loud hour."""
    path = write_config(tmp_path, 1883, 8600)
    store = load_config(path).store
    opened = store.module.Store(store.config, load_classes(), lambda _: {})
    minutes = np.arange(2 * 1440)
    sound = np.where(minutes % 1440 // 60 == 9, 70.0, 50.0)[:, None]
    frame = Frame(
        "noise_monitor", ("noise-01",), np.zeros(len(minutes), np.int32), T0 + 60_000 * minutes, sound,
        np.zeros(sound.shape, np.uint8), np.zeros(len(minutes), np.int64),
    )  # fmt: skip
    opened.write([frame], [[1] * len(minutes)], T0)
    opened.close()
    return path


def test_a_backtest_tells_episodes_other_limits_and_draws_them(pack, config, tmp_path):
    span = ["--from", "2025-11-25", "--to", "2025-11-27", "--config", config]
    told = yemai("backtest", pack, *span, "--limit", 65, "--limit", 75, "--json")
    assert told.exit_code == 0, told.output
    report = json.loads(told.stdout)
    assert [(e["began"] - T0, e["ended"] - e["began"]) for e in report["episodes"]] == [
        (9 * 3_600_000, 3_600_000), (33 * 3_600_000, 3_600_000),
    ]  # fmt: skip
    assert [(w["limit"], w["episodes"]) for w in report["what_if"]] == [(60, 2), (65, 2), (75, 0), (80, 0)]
    told = yemai("backtest", pack, *span, "--plot", tmp_path / "plot.svg")
    assert told.exit_code == 0, told.output
    assert "noise_monitor.rude" in told.output
    drawn = (tmp_path / "plot.svg").read_text(encoding="utf-8")
    assert drawn.startswith("<svg")
    assert "noise_monitor.rude" in drawn
    shipped = yemai("backtest", "noise_monitor", *span)
    assert "noise_monitor.night_peak" in shipped.output, "names are whole, however narrow the terminal"


@pytest.mark.parametrize(
    ("words", "error", "says"),
    [
        (["--from", "2025-11-25", "--to", "2025-11-24"], Refused, "is not before"),
        (["--from", "yesterday", "--to", "2025-11-24"], ConfigError, "write it like 2026-11-01"),
        (
            ["--from", "2025-11-25", "--to", "2025-11-26", "--device", "noise-99"],
            Refused,
            "no device 'noise-99'",
        ),
    ],
)
def test_a_backtest_that_cannot_be_meant_says_why(pack, config, words, error, says):
    told = yemai("backtest", pack, *words, "--config", config)
    assert isinstance(told.exception, YemaiError)
    assert type(told.exception) is error
    assert says in str(told.exception)
