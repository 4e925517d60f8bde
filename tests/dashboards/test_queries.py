"""Every query of every board is asked of a real database that the real store has filled."""

import re
from types import SimpleNamespace

import district
import grafana
import pytest
from conftest_names import UIDS

from dashboards.limits import steps
from dashboards.queries import PLACE_TAGS, tag_values
from dashboards.units import grafana_unit
from device_profiles.vocabulary import Kind, load_classes
from rules.pack import load_packs
from telemetry.quality import Quality
from telemetry.severity import Severity

DATABASE = "yemai"
ALL_OF_THEM = len(district.STREETS) * len(district.DEVICES)
CLASSES = load_classes()
_USED = re.compile(r"\b([a-z_]+)\(")
EVERYWHERE = {"max", "mean", "min", "last", "count", "sum", "non_negative_difference", "time", "fill"}
"""InfluxQL that 1.x, 2.x and 3.x answer alike (InfluxData, "InfluxQL feature support", InfluxDB 3 Core)."""


def ask(influx, asked, chosen=None, interval_s=grafana.INTERVAL_S):
    query = grafana.influxql(asked.target["query"], district.SPAN, chosen or {}, interval_s)
    return grafana.ask_influx(influx, DATABASE, query)


@pytest.mark.parametrize("uid", UIDS)
def test_every_query_of_the_board_returns_data(influx, boards, uid):
    language = uid.split("-")[1]
    found = grafana.targets(boards[language][uid], "influxdb")
    for asked in found:
        answer = ask(influx, asked)
        assert answer.values(), f"no data: {asked}"
        if asked.target["resultFormat"] == "time_series" and "GROUP BY time" in asked.target["query"]:
            assert answer.longest() <= grafana.intervals(district.SPAN), asked
    assert found or grafana.targets(boards[language][uid], "prometheus")


@pytest.mark.parametrize(
    "uid", [uid for uid in UIDS if "-platform" in uid or "-fleet" in uid or "-alarms" in uid]
)
def test_every_figure_of_ingest_on_the_board_is_one_that_ingest_tells(prometheus, boards, uid):
    found = grafana.targets(boards[uid.split("-")[1]][uid], "prometheus")
    assert found
    for asked in found:
        series = grafana.ask_prometheus(prometheus, asked.target["expr"], district.SPAN)
        assert series, f"no data: {asked}"
        for label in re.findall(r"\{\{(\w+)\}\}", asked.target["legendFormat"]):
            assert all(label in one["metric"] for one in series), (asked, series[0]["metric"])


@pytest.mark.parametrize("name", CLASSES)
def test_a_class_board_shows_what_the_district_measured(influx, boards, name):
    board = boards["en"][f"yemai-en-class-{name}"]
    by_title = {asked.panel["title"]: asked for asked in grafana.targets(board, "influxdb")}
    for metric in CLASSES[name].metrics.values():
        if metric.kind is not Kind.GAUGE:
            continue
        asked = by_title[metric.label.en]
        assert asked.panel["fieldConfig"]["defaults"]["unit"] == grafana_unit(metric.unit)
        calm = [district.device(name, "s01", "calm")]
        answer = ask(influx, asked, {"device": calm}, 3600)
        told = dict(zip(answer.series[0]["columns"], answer.series[0]["values"][0], strict=True))
        at = range(*district.SPAN, district.STEP_MS)  # a whole hour, from a full one on
        truth = [district.truth(CLASSES[name], "s01", metric, ms) for ms in at]
        assert told["max"] == pytest.approx(max(truth))
        assert told["min"] == pytest.approx(min(truth))
        assert told["mean"] == pytest.approx(sum(truth) / len(truth))
        assert metric.low <= told["min"] <= told["max"] <= metric.high


@pytest.mark.parametrize("name", CLASSES)
def test_doubtful_values_are_beside_good_ones_and_never_among_them(influx, boards, name):
    board = boards["en"][f"yemai-en-device-{name}"]
    odd = {"device": [district.device(name, "s01", "odd")]}
    gauges = [m for m in CLASSES[name].metrics.values() if m.kind is Kind.GAUGE]
    by_title = {asked.panel["title"]: asked for asked in grafana.targets(board, "influxdb")}
    for metric in gauges:
        answer = ask(influx, by_title[metric.label.en], odd)
        assert max(answer.values(1)) <= metric.high
        assert set(answer.values(2)) == {metric.high + 1}
    why = ask(influx, by_title["Why samples are not good"], odd)
    assert set(why.values()) == {Quality.NO_ANSWER, Quality.IMPLAUSIBLE}


def test_a_gap_is_a_dip_among_the_devices_heard_and_a_break_in_the_line(influx, boards):
    device_board = boards["en"]["yemai-en-device-ev_charger"]
    temperature = next(
        a for a in grafana.targets(device_board, "influxdb") if a.panel["title"] == "Inner temperature"
    )
    answer = ask(influx, temperature, {"device": [district.device("ev_charger", "s01", "odd")]})
    good = [row[1] for row in answer.series[0]["values"]]
    assert None in good[5:30]
    assert temperature.panel["fieldConfig"]["defaults"]["custom"]["spanNulls"] == 3000  # three periods of 1 s
    class_board = boards["en"]["yemai-en-class-ev_charger"]
    heard = next(a for a in grafana.targets(class_board, "influxdb") if a.panel["title"] == "Devices heard")
    assert max(ask(influx, heard).values()) == ALL_OF_THEM


def test_the_newest_values_are_a_row_for_each_device_with_a_column_for_each_metric(influx, boards):
    board = boards["zh"]["yemai-zh-class-ev_charger"]
    asked = next(a for a in grafana.targets(board, "influxdb") if a.target["resultFormat"] == "table")
    answer = ask(influx, asked)
    assert {series["tags"]["device"] for series in answer.series} == {
        district.device("ev_charger", site, kind) for site in district.STREETS for kind in district.DEVICES
    }
    labels = {metric.label.zh for metric in CLASSES["ev_charger"].metrics.values()}
    assert labels | {"time", "最近收到"} == answer.columns()


def test_devices_past_a_limit_are_counted_by_the_rules_own_limit(influx, boards):
    board = boards["en"]["yemai-en-class-ev_charger"]
    by_alias = {asked.target.get("alias"): asked for asked in grafana.targets(board, "influxdb")}
    overheats = by_alias["EV charger overheats"]
    assert (
        max(ask(influx, overheats, {"device": [district.device("ev_charger", "s01", "roaming")]}).values())
        == 1
    )
    assert not ask(influx, overheats, {"device": [district.device("ev_charger", "s01", "calm")]}).values()


@pytest.mark.parametrize(
    ("chosen", "devices"),
    [({}, 6), ({"street": ["沿河路"]}, 3), ({"site": ["s01", "s02"]}, 6), ({"area": ["elsewhere"]}, 0)],
)
def test_the_variables_narrow_every_query(influx, boards, chosen, devices):
    board = boards["en"]["yemai-en-class-noise_monitor"]
    heard = next(a for a in grafana.targets(board, "influxdb") if a.panel["title"] == "Devices heard")
    assert max(ask(influx, heard, chosen).values(), default=0) == devices


def test_the_variables_offer_what_is_within_the_ones_before(influx):
    offered = {}
    for place, tag in enumerate(PLACE_TAGS):
        query = tag_values(tag, measurement="ev_charger", within=PLACE_TAGS[:place])
        answer = grafana.ask_influx(
            influx, DATABASE, grafana.influxql(query, district.SPAN, {"street": ["沿河路"]})
        )
        offered[tag] = set(answer.values())
    assert offered["area"] == {"yeji"}
    assert offered["site"] == {"s02"}
    assert offered["device"] == {district.device("ev_charger", "s02", kind) for kind in district.DEVICES}


def test_no_query_uses_what_some_version_of_influxdb_does_not_know(boards):
    for board in (board for language in boards.values() for board in language.values()):
        for asked in grafana.targets(board, "influxdb"):
            bare = re.sub(r'"[^"]*"|/[^/]*/', "", asked.target["query"])
            assert set(_USED.findall(bare)) <= EVERYWHERE, asked
            assert not re.search(r"\b(SLIMIT|SOFFSET|INTO|tz)\b", bare), asked
            assert "$timeFilter" in bare, asked


def test_limits_of_all_rules_together_colour_a_value_by_the_worst_that_holds():
    def rule(way, **limits):
        found = {Severity.parse(colour): limit for colour, limit in limits.items()}
        return SimpleNamespace(metric="x", way=way, limits=found)

    def told(*rules):
        return [(step.start, step.severity and step.severity.label.en) for step in steps(rules, "x")]

    assert told() == [(None, None)]
    assert told(rule("above", orange=85, red=95)) == [(None, None), (85, "orange"), (95, "red")]
    assert told(rule("below", yellow=176), rule("above", yellow=264)) == [
        (None, "yellow"),
        (176, None),
        (264, "yellow"),
    ]
    assert told(rule("at_most", red=0, yellow=5), rule("below", blue=9)) == [
        (None, "red"), (0, "yellow"), (5, "blue"), (9, None),
    ]  # fmt: skip
    assert told(rule("equals", red=4), rule("", red=1)) == [(None, None)]


def test_the_charts_limits_are_those_that_the_pack_loads(boards):
    board = boards["en"]["yemai-en-class-ev_charger"]
    (panel,) = [panel for panel in grafana.panels(board) if panel["title"] == "Inner temperature"]
    rules = next(pack.rules for pack in load_packs() if pack.device_class == "ev_charger")
    drawn = [step["value"] for step in panel["fieldConfig"]["defaults"]["thresholds"]["steps"]]
    assert drawn == [step.start for step in steps(rules, "temperature")]
    assert len(drawn) > 1
