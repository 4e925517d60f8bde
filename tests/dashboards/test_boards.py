"""Boards are valid, stable, and lead to each other."""

import re

import grafana
import pytest
from grafana_foundation_sdk.models.dashboard import Dashboard

from dashboards import __main__ as command
from dashboards import generate as generating
from dashboards.look import Look
from dashboards.units import grafana_unit
from device_profiles.units import UNITS
from device_profiles.vocabulary import load_classes
from telemetry.errors import Refused

CLASSES = load_classes()


def both(boards):
    return [board for language in boards.values() for board in language.values()]


def test_what_is_committed_is_what_classes_and_rules_make():
    assert generating.drift() == []


def test_drift_is_named_and_fails_the_check(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(generating, "GENERATED", tmp_path)
    generating.write()
    monkeypatch.setattr("sys.argv", ["dashboards", "--check"])
    assert command.main() == 0
    (tmp_path / "zh" / "yemai-zh-overview.json").write_text("{}")
    (tmp_path / "en" / "yemai-en-class-abolished.json").write_text("{}")
    assert command.main() == 1
    told = capsys.readouterr().err
    assert "zh/yemai-zh-overview.json is not current" in told
    assert "en/yemai-en-class-abolished.json" in told
    generating.write()
    assert command.main() == 0


def test_every_board_is_read_back_by_grafanas_own_types(boards):
    for board in both(boards):
        again = Dashboard.from_json(board)
        assert again.uid == board["uid"]
        assert len(again.panels) == len(board["panels"])


def test_there_is_a_board_for_every_class_and_one_for_its_devices(boards):
    for language, made in boards.items():
        wanted = {f"yemai-{language}-{kind}-{name}" for kind in ("class", "device") for name in CLASSES}
        others = {f"yemai-{language}-{name}" for name in ("overview", "site", "alarms", "fleet", "platform")}
        assert set(made) == wanted | others


def test_uids_fit_grafana_and_belong_to_one_board_each(boards):
    uids = [board["uid"] for board in both(boards)]
    assert len(uids) == len(set(uids))
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{1,40}", uid) for uid in uids)
    with pytest.raises(Refused, match="shorten the class's name"):
        Look().uid("device", "x" * 40)


def test_panels_have_ids_of_their_own_and_do_not_lie_over_each_other(boards):
    for board in both(boards):
        shown = list(grafana.panels(board))
        assert len({panel["id"] for panel in shown}) == len(shown)
        for group in (
            [p for p in board["panels"] if p["type"] != "row"],
            *(list(row["panels"]) for row in board["panels"] if row.get("panels")),
        ):
            taken = set()
            for panel in group:
                at = panel["gridPos"]
                cells = {
                    (x, y)
                    for x in range(at["x"], at["x"] + at["w"])
                    for y in range(at["y"], at["y"] + at["h"])
                }
                assert not taken & cells, (board["uid"], panel["title"])
                assert at["x"] + at["w"] <= 24
                taken |= cells


def test_the_two_languages_are_the_same_boards_in_other_words(boards):
    for uid, board in boards["zh"].items():
        twin = boards["en"][uid.replace("yemai-zh", "yemai-en")]
        assert [p["type"] for p in grafana.panels(board)] == [p["type"] for p in grafana.panels(twin)]
        assert re.search(r"[一-鿿]", board["title"])
        assert not re.search(r"[一-鿿]", generating.text(twin)), uid


def test_every_link_to_a_board_leads_to_one(boards):
    known = {board["uid"] for board in both(boards)}
    followed = {
        uid for board in both(boards) for uid in re.findall(r"/d/([A-Za-z0-9_-]+)", generating.text(board))
    }
    assert followed <= known
    assert {"yemai-zh-device-ev_charger", "yemai-en-site", "yemai-en-class-air_monitor"} <= followed


def test_every_board_leads_to_the_command_centre():
    for board in generating.generate(Look("en", center="https://centre.example")).values():
        assert any(link.get("url") == "${center}/" for link in board["links"])
        (variable,) = (v for v in board["templating"]["list"] if v["name"] == "center")
        assert variable["query"] == "https://centre.example"


def test_every_unit_of_ours_has_a_name_in_grafana():
    assert all(grafana_unit(unit) for unit in UNITS)
    assert len({grafana_unit(unit) for unit in UNITS}) == len(UNITS)


def test_labels_of_a_class_are_distinct_for_they_name_columns():
    for device_class in CLASSES.values():
        for language in ("zh", "en"):
            labels = [getattr(metric.label, language) for metric in device_class.metrics.values()]
            assert len(labels) == len(set(labels)), (device_class.name, language)
