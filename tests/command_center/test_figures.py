"""The figures beside the plainest way to compute each, over random lives of alarms; and as JSON, CSV and on the command line."""

import csv
import io
import math

import hypothesis.strategies as st
import msgspec
import pytest
from desks import T0, WANG, deed, take
from hypothesis import given, settings
from tellers import telling
from test_lifecycle import transition

from command_center import figures, reports
from command_center.figures import DAY_MS, HOUR_MS, TEN_MIN_MS, Activation
from telemetry.severity import Severity
from telemetry.text import Text
from telemetry.transitions import Change

SINCE = 1_764_000_000_000
SPAN = 3 * DAY_MS + 7 * 60_000  # the last ten minutes are only seven


@st.composite
def activations(draw):
    found = []
    for n in range(draw(st.integers(0, 60))):
        at = SINCE + draw(st.integers(-2 * DAY_MS, SPAN + HOUR_MS))
        at = at if draw(st.booleans()) else SINCE + HOUR_MS + draw(st.integers(0, 400_000))  # many at once
        ended = draw(st.none() | st.integers(1, 2 * DAY_MS))
        answered = draw(st.none() | st.integers(0, HOUR_MS))
        found.append(
            Activation(
                str(n), draw(st.sampled_from("abc")), draw(st.sampled_from("xy")), Text("甲", "A"),
                draw(st.sampled_from(list(Severity))), ended is None, at - 500, at,
                None if ended is None else at + ended, None if answered is None else at + answered,
                retrospective=draw(st.integers(0, 9)) == 0,
            )
        )  # fmt: skip
    return found


def brute(seen, since, until):
    """Each figure by its definition, second thoughts not spared."""
    paging = [a for a in seen if not a.retrospective]
    came = [a for a in paging if since <= a.received_ms < until]
    spans, at = [], since
    while at < until:
        spans.append((at, len([a for a in came if at <= a.received_ms < at + TEN_MIN_MS])))
        at += TEN_MIN_MS
    in_flood, flooding = 0, False
    for at, count in spans:
        flooding = count > 10 or (flooding and count >= 5)
        in_flood += (min(at + TEN_MIN_MS, until) - at) * flooding
    days = [since + DAY_MS * n for n in range(1, 99) if since + DAY_MS * n < until] + [until]
    stale = [
        len([a for a in paging if at - a.received_ms > DAY_MS and (a.ended_ms is None or a.ended_ms > at)])
        for at in days
    ]
    sources = {(a.device, a.rule) for a in came}
    chatters = 0
    for source in sources:
        times = [a.received_ms for a in came if (a.device, a.rule) == source]
        chatters += any(len([t for t in times if first <= t <= first + 60_000]) >= 3 for first in times)
    counts = sorted(
        (len([a for a in came if (a.device, a.rule) == source]) for source in sources), reverse=True
    )
    hours = (until - since) / HOUR_MS
    percent = lambda part, of: round(100 * part / of, 2) if of else None  # noqa: E731
    return {
        "per_hour": round(len(came) / hours, 3),
        "most_in_ten_minutes": max(count for _, count in spans),
        "windows_over_ten": percent(len([1 for _, count in spans if count > 10]), len(spans)),
        "time_in_flood": percent(in_flood, until - since),
        "standing_most": max(stale),
        "chattering": chatters,
        "top_ten_share": percent(sum(counts[:10]), len(came)),
        "red_share": percent(len([a for a in came if a.worst is Severity.RED]), len(came)),
    }  # fmt: skip


@given(activations())
@settings(max_examples=150, deadline=None)
def test_every_figure_is_what_its_definition_says(seen):
    report = figures.report(seen, SINCE, SINCE + SPAN)
    found = {one.name: one.value for one in report.measures}
    for name, value in brute(seen, SINCE, SINCE + SPAN).items():
        assert found[name] == pytest.approx(value), name
    came = [a for a in seen if not a.retrospective and SINCE <= a.received_ms < SINCE + SPAN]
    assert report.alarms == len(came) == sum(report.by_colour.values())
    took = sorted(a.acknowledged_ms - a.received_ms for a in came if a.acknowledged_ms is not None)
    answer = report.answers["all"]
    assert (answer.alarms, answer.waiting) == (len(came), len(came) - len(took))
    if took:
        assert answer.p95_s * 1000 == pytest.approx(took[math.ceil(0.95 * len(took)) - 1])
        middle = (took[(len(took) - 1) // 2] + took[len(took) // 2]) / 2
        assert answer.median_s * 1000 == pytest.approx(middle)
    assert sum(flood.alarms for flood in report.floods) <= len(came)


def test_a_flood_ends_before_the_first_window_with_fewer_than_five():
    floods = figures.find_floods([0, 11, 10, 5, 4, 12], SINCE, SINCE + 6 * TEN_MIN_MS - 1000)
    assert [(f.begin_ms - SINCE, f.end_ms - SINCE, f.alarms) for f in floods] == [
        (TEN_MIN_MS, 4 * TEN_MIN_MS, 26),
        (5 * TEN_MIN_MS, 6 * TEN_MIN_MS - 1000, 12),
    ]


def test_targets_are_those_of_eemua_191_for_one_position():
    one = Activation("1", "d", "r", Text("甲", "A"), Severity.BLUE, False, SINCE, SINCE, SINCE + 60_000)
    seen = [msgspec.structs.replace(one, id=str(n), received_ms=SINCE + n * 120_000) for n in range(720)]
    alone = {m.name: m for m in figures.report(seen, SINCE, SINCE + DAY_MS).measures}
    assert (alone["per_hour"].value, alone["per_hour"].target, alone["per_hour"].limit) == (30, 6, 12)
    assert alone["per_hour"].verdict == alone["per_day"].verdict == "poor"
    shared = {m.name: m for m in figures.report(seen, SINCE, SINCE + DAY_MS, positions=3).measures}
    assert (shared["per_hour"].value, shared["per_hour"].verdict) == (10, "fair")
    assert figures.report(seen, SINCE, SINCE + DAY_MS).short
    assert not figures.report(seen, SINCE, SINCE + 30 * DAY_MS).short


async def test_a_window_without_alarms_has_figures_too():
    report = figures.report([], SINCE, SINCE + DAY_MS)
    assert {m.name: m.value for m in report.measures}["per_hour"] == 0
    assert report.answers["all"] == figures.Answer(0, 0, None, None)


async def test_figures_and_deliveries_are_read_from_the_desk(tmp_path, monkeypatch, url, clock):
    async with telling(tmp_path, monkeypatch, url, clock) as told:
        orange, red = Severity.ORANGE, Severity.RED
        await take(told.desk, *(transition(0, Change.BEGAN, orange, device=f"=cmd|{n}") for n in range(3)))
        await take(told.desk, transition(0, Change.BEGAN, red, device="fire"))
        await take(told.desk, transition(0, Change.BEGAN, red, device="late", retrospective=True))
        await told.turn()
        await told.over(30, step_s=15)
        await told.desk.do(transition(0, Change.BEGAN, red, device="fire").alarm, deed("acknowledge"), WANG)
        async with told.desk.store.read() as db:
            report = await reports.read(db, T0 - HOUR_MS, clock.now)
            only = await reports.read(db, T0 - HOUR_MS, clock.now, devices={"fire"})
            sent = await reports.deliveries(db, T0 - HOUR_MS, clock.now + 1)
        assert (report.alarms, only.alarms, report.by_colour["red"]) == (4, 1, 1)
        assert report.answers["red"] == figures.Answer(1, 0, 30.0, 30.0)
        assert report.answers["orange"] == figures.Answer(3, 3, None, None)
        assert [
            (one["person"], one["channel"], one["state"]) for one in sent if one["reason"] == "alarm"
        ].count(("wang", "app", "accepted")) == 3
        rows = list(csv.reader(io.StringIO(reports.figures_csv(report, "en").decode("utf-8-sig"))))
        assert rows[0] == ["figure", "value", "unit", "target", "limit", "verdict"]
        assert any(row[0].startswith("#1 ") for row in rows)
        table = list(csv.DictReader(io.StringIO(reports.deliveries_csv(sent).decode("utf-8-sig"))))
        assert len(table) == len(sent)
        assert {row["state"] for row in table} >= {"accepted", "acknowledged"}
