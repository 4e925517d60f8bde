"""``yemai center coverage``: which class and colour has which plan, in both languages, and an exit code for red ones."""

import json

import pytest
from typer.testing import CliRunner

from device_profiles.vocabulary import load_classes
from telemetry.errors import ConfigError
from yemai.commands.center import app

CENTER = 'area = "test"\nbroker = { host = "127.0.0.1" }\ndata = { url = "http://127.0.0.1:1" }\n'
PLANS = """
plans:
  - {id: hot, title: {zh: 高温, en: Hot}, response: I, match: {class: [ev_charger], severity: [red]}}
  - {id: night, title: {zh: 夜间, en: Night}, response: I, match: {class: [ev_charger]}, hours: {begin: "22:00", end: "06:00"}}
"""
EVERYTHING = "  - {id: any, title: {zh: 通用, en: General}, response: II, match: {severity: [red]}}\n"


@pytest.fixture
def coverage(tmp_path, monkeypatch):
    def run(plans, language, *words):
        monkeypatch.setenv("YEMAI_LANG", language)
        (tmp_path / "plans.yaml").write_text(plans, "utf-8")
        (tmp_path / "center.toml").write_text(CENTER + 'linkage = { file = "plans.yaml" }\n', "utf-8")
        return CliRunner().invoke(app, ["coverage", "--config", str(tmp_path / "center.toml"), *words])

    return run


def test_a_class_whose_red_alarms_have_no_plan_is_named_and_the_exit_code_is_one(coverage):
    for language, words, label in (
        ("zh", "红色告警无预案：air_monitor、", "✕ 无预案"),
        ("en", "red alarms without a plan: air_monitor, ", "✕ no plan"),
    ):
        said = coverage(PLANS, language)
        assert said.exit_code == 1
        assert words in said.stderr
        assert "ev_charger" not in said.stderr
        [charger] = [line for line in said.stdout.splitlines() if "(ev_charger)" in line]
        assert "hot, (night)" in charger, "what holds at night only is in brackets"
        assert label not in charger
        assert label in said.stdout


def test_with_a_plan_for_everything_red_all_is_well_and_the_rest_is_still_counted(coverage):
    said = coverage(PLANS + EVERYTHING, "en", "--json")
    assert (said.exit_code, said.stderr) == (0, "")
    told = json.loads(said.stdout)
    assert len(told["rows"]) == 4 * len(load_classes())
    assert {row["severity"] for row in told["without"]} == {"orange", "yellow", "blue"}
    assert len(told["without"]) == 3 * (len(load_classes()) - 1)


def test_a_centre_without_plans_is_told_which_key_is_missing(tmp_path):
    (tmp_path / "center.toml").write_text(CENTER, "utf-8")
    said = CliRunner().invoke(app, ["coverage", "--config", str(tmp_path / "center.toml")])
    assert isinstance(said.exception, ConfigError)
    assert "$.linkage.file" in str(said.exception)
