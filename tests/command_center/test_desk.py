"""The desk itself, once over SQLite and once over PostgreSQL."""

import asyncio

import msgspec
import pytest
from desks import LI, T0, WANG, deed, message, opened, take
from test_lifecycle import LIFE, transition

from command_center import audit
from command_center.holds import Wanted
from telemetry.errors import Refused
from telemetry.severity import Severity
from telemetry.transitions import Category, Change

MINUTE = 60_000


async def only(desk):
    [alarm] = await desk.alarms(only_open=True, limit=10)
    return alarm


async def trail(desk):
    async with desk.store.read() as db:
        return await audit.read(db)


async def test_a_thousand_triggers_at_once_leave_one_open_alarm(desk):
    news = [transition(0, Change.BEGAN, began=T0 + n * MINUTE * 2) for n in range(100)]
    await asyncio.gather(*(desk.take([message(one)]) for one in news * 10))
    alarm = await only_active(desk)
    assert alarm.began_ms == T0 + 99 * MINUTE * 2
    assert len(await desk.alarms(only_open=False, limit=5000)) == 100


async def only_active(desk):
    [alarm] = [one for one in await desk.alarms(only_open=True, limit=5000) if one.active]
    return alarm


async def test_late_news_of_an_alarm_that_another_took_over_does_not_stand_it_up_again(desk):
    old, new = transition(0, Change.BEGAN), transition(0, Change.BEGAN, began=T0 + 5 * MINUTE)
    await take(desk, old, new)
    await take(desk, transition(1, Change.WORSENED))
    assert (await only_active(desk)).id == new.alarm


async def test_the_feed_replayed_gives_the_same_desk(desk, url, clock):
    news = [*LIFE, transition(0, Change.BEGAN, device="e"), transition(1, Change.ENDED, device="e")]
    await take(desk, *news)
    await desk.do(LIFE[0].alarm, deed("acknowledge"), WANG)
    before = await desk.alarms(only_open=False, limit=100)
    assert await take(desk, *news) == []
    assert await desk.alarms(only_open=False, limit=100) == before
    async with opened(url, clock) as again:
        assert await take(again, *reversed(news)) == []
        assert await again.alarms(only_open=False, limit=100) == before


async def test_of_two_who_acknowledge_at_once_one_is_told_of_the_other(desk):
    await take(desk, LIFE[0])
    answers = await asyncio.gather(
        *(desk.do(LIFE[0].alarm, deed("acknowledge"), who) for who in (WANG, LI)), return_exceptions=True
    )
    [refused] = [answer for answer in answers if isinstance(answer, Refused)]
    assert str(refused) == "already acknowledged by 王建国"
    assert [entry["what"] for entry in await trail(desk)] == ["alarm.acknowledge"]


async def test_a_deed_decided_on_an_older_version_is_refused_and_leaves_no_trace(desk):
    await take(desk, LIFE[0])
    seen = await only(desk)
    await take(desk, LIFE[1])
    with pytest.raises(Refused, match="has changed since: version 1 was seen, 2 stands"):
        await desk.do(seen.id, deed("assign", to="李娜"), WANG, version=seen.version)
    assert await trail(desk) == []
    assert (await only(desk)).assigned_to is None


async def test_what_becomes_worse_than_what_was_acknowledged_asks_again(desk):
    await take(desk, LIFE[0])
    await desk.do(LIFE[0].alarm, deed("acknowledge"), WANG)
    await take(desk, LIFE[1])
    alarm = await only(desk)
    assert (alarm.state, alarm.severity, alarm.asks) == ("unacknowledged", Severity.RED, True)
    await desk.do(LIFE[0].alarm, deed("acknowledge", "again"), LI)
    kinds = [entry["kind"] for entry in (await desk.alarm(alarm.id))[1]]
    assert sorted(kinds) == ["acknowledge", "acknowledge", "began", "worsened"]


async def test_many_are_acknowledged_at_once_but_never_a_red_one(desk):
    yellow = [transition(0, Change.BEGAN, Severity.YELLOW, device=f"y{n}") for n in range(5)]
    red = transition(0, Change.BEGAN, Severity.RED, device="r")
    was_red = [
        transition(0, Change.BEGAN, Severity.RED, device="was"),
        transition(1, Change.EASED, Severity.BLUE, device="was"),
    ]
    await take(desk, *yellow, red, *was_red)
    wanted = [(one.alarm, None) for one in (*yellow, red, was_red[0])] + [("none", None)]
    done, left = await desk.acknowledge_all(wanted, "风暴", WANG)
    assert {alarm.id for alarm in done} == {one.alarm for one in yellow}
    assert left == {red.alarm: "red", was_red[0].alarm: "red", "none": "unknown"}
    assert len(await trail(desk)) == 5


async def test_a_shelf_holds_the_next_occurrence_too_and_ends_by_itself(desk, clock):
    await take(desk, transition(0, Change.BEGAN))
    alarm = await only(desk)
    with pytest.raises(Refused, match="a reason is needed"):
        await desk.do(alarm.id, deed("shelve"), WANG)
    with pytest.raises(Refused, match="at most 24 hours"):
        await desk.do(alarm.id, deed("shelve", "施工", until_ms=T0 + 25 * 60 * MINUTE), WANG)
    [shelved] = await desk.do(alarm.id, deed("shelve", "施工"), WANG)
    assert (shelved.isa, shelved.shelf.until_ms) == ("shelved", T0 + 15 * MINUTE)
    clock.now += 5 * MINUTE
    await take(desk, transition(1, Change.ENDED), transition(0, Change.BEGAN, began=T0 + 5 * MINUTE))
    held = await only_active(desk)
    assert (held.id != alarm.id, held.suppression, held.asks) == (True, "shelved", False)
    assert await desk.tick() == []
    clock.now += 11 * MINUTE
    freed = await desk.tick()
    assert {one.id for one in freed if one.asks} == {held.id, alarm.id}
    assert await desk.held() == []
    assert [entry["who"] for entry in await trail(desk)] == ["clock", "王建国"]


async def test_a_restart_does_not_lengthen_a_shelf(url, clock):
    async with opened(url, clock) as desk:
        await take(desk, LIFE[0])
        await desk.do(LIFE[0].alarm, deed("shelve", "施工"), WANG)
    clock.now += 16 * MINUTE
    async with opened(url, clock) as desk:
        assert [one.suppression for one in await desk.tick()] == ["none"]


async def test_a_shelf_until_resolved_ends_with_the_alarm(desk, clock):
    await take(desk, transition(0, Change.BEGAN))
    await desk.do((await only(desk)).id, deed("shelve", "已知", until_resolved=True), WANG)
    await take(desk, transition(1, Change.ENDED))
    assert await desk.held() == []
    clock.now += 5 * MINUTE
    await take(desk, transition(0, Change.BEGAN, began=T0 + 5 * MINUTE))
    assert (await only_active(desk)).suppression == "none"


async def test_maintenance_to_come_begins_and_ends_by_the_clock_and_hides_only_its_device(desk, clock):
    await take(desk, transition(0, Change.BEGAN, device="a"), transition(0, Change.BEGAN, device="b"))
    await desk.hold(Wanted("a", "检修", T0 + MINUTE, T0 + 3 * MINUTE), WANG)
    by_device = {alarm.device: alarm.suppression for alarm in await desk.alarms(only_open=True, limit=9)}
    assert by_device == {"a": "none", "b": "none"}
    clock.now += MINUTE
    assert [(one.device, one.isa) for one in await desk.tick()] == [("a", "out of service")]
    await take(desk, transition(0, Change.BEGAN, device="a", rule="other"))
    held = [one for one in await desk.alarms(only_open=True, limit=9) if one.suppression == "out_of_service"]
    assert {one.rule for one in held} == {"r", "other"}
    clock.now += 2 * MINUTE
    assert {one.suppression for one in await desk.tick()} == {"none"}


@pytest.mark.parametrize("first", ["the longer one", "the shorter one"])
async def test_a_device_that_two_hold_is_back_in_service_when_both_are_over(desk, clock, first):
    await take(desk, transition(0, Change.BEGAN))
    windows = [Wanted("d", "线路检修", T0, T0 + 9 * MINUTE), Wanted("d", "刷漆", T0, T0 + 3 * MINUTE)]
    for wanted, who in zip(windows if first == "the longer one" else windows[::-1], (WANG, LI), strict=True):
        await desk.hold(wanted, who)
    clock.now += 3 * MINUTE
    await desk.tick()
    assert (await only(desk)).service.reason == "线路检修"
    assert [one["reason"] for one in await desk.held()] == ["线路检修"]
    clock.now += 6 * MINUTE
    assert [(one.suppression, one.asks) for one in await desk.tick()] == [("none", True)]


async def test_a_window_that_begins_as_another_ends_leaves_no_moment_between(desk, clock):
    await take(desk, transition(0, Change.BEGAN))
    for reason, since in (("一班", T0), ("二班", T0 + 3 * MINUTE)):
        await desk.hold(Wanted("d", reason, since, since + 3 * MINUTE), WANG)
    clock.now += 3 * MINUTE
    assert {(one.suppression, one.service.reason) for one in await desk.tick()} == {
        ("out_of_service", "二班")
    }
    clock.now += 3 * MINUTE
    assert [one.suppression for one in await desk.tick()] == ["none"]


async def test_who_ends_one_of_two_windows_by_hand_leaves_the_other(desk):
    await take(desk, transition(0, Change.BEGAN))
    for reason in ("线路检修", "刷漆"):
        await desk.hold(Wanted("d", reason, T0, T0 + 9 * MINUTE), WANG)
    paint = next(one for one in await desk.held() if one["reason"] == "刷漆")
    await desk.release(paint["id"], LI)
    assert (await only(desk)).service.reason == "线路检修"


async def test_a_hold_may_be_ended_by_hand_once(desk):
    await take(desk, LIFE[0])
    await desk.do(LIFE[0].alarm, deed("withdraw", "检修"), WANG)
    [hold] = await desk.held()
    assert (hold["kind"], hold["device"], hold["by"]) == ("out_of_service", "d", "王建国")
    assert [one.suppression for one in await desk.release(hold["id"], LI)] == ["none"]
    with pytest.raises(KeyError):
        await desk.release(hold["id"], LI)


async def test_a_latching_category_stays_until_a_person_resets_it(url, clock):
    async with opened(url, clock, latching=frozenset({Category.FIRE})) as desk:
        await take(desk, *LIFE)
        alarm = await only(desk)
        assert alarm.isa == "latched, unacknowledged"
        with pytest.raises(Refused, match="acknowledge it first"):
            await desk.do(alarm.id, deed("reset"), WANG)
        await desk.do(alarm.id, deed("acknowledge"), WANG)
        [after] = await desk.do(alarm.id, deed("reset", "现场已查"), LI)
        assert (after.state, after.reset_by) == ("closed", "李娜")


async def test_a_consequence_asks_nobody_until_its_cause_sets_it_free(desk):
    child = msgspec.structs.replace(transition(0, Change.BEGAN), suppressed_by="cabinet-alarm")
    await take(desk, child)
    alarm = await only(desk)
    assert (alarm.isa, alarm.asks, alarm.by_design) == ("suppressed by design", False, "cabinet-alarm")
    await take(desk, transition(1, Change.RELEASED))
    assert ((await only(desk)).isa, (await only(desk)).asks) == ("unacknowledged alarm", True)


async def test_a_rule_on_trial_asks_nobody_and_leaves_nothing_open(desk):
    await take(desk, msgspec.structs.replace(transition(0, Change.BEGAN), shadow=True))
    assert (await only(desk)).asks is False
    await take(desk, msgspec.structs.replace(transition(1, Change.ENDED), shadow=True))
    assert await desk.alarms(only_open=True, limit=9) == []


async def test_three_activations_in_a_minute_are_chattering(desk):
    for n in range(3):
        await take(
            desk,
            transition(0, Change.BEGAN, began=T0 + n * 15_000),
            transition(1, Change.ENDED, began=T0 + n * 15_000),
        )
    alarms = sorted(await desk.alarms(only_open=True, limit=9), key=lambda one: one.began_ms)
    assert [(one.repeats, one.chattering) for one in alarms] == [(0, False), (1, False), (2, True)]


async def test_who_takes_it_himself_has_seen_it_and_who_gives_it_away_has_not(desk):
    await take(desk, transition(0, Change.BEGAN, device="a"), transition(0, Change.BEGAN, device="b"))
    mine, other = sorted(await desk.alarms(only_open=True, limit=9), key=lambda one: one.device)
    [after] = await desk.do(mine.id, deed("assign", to="王建国"), WANG)
    assert (after.assigned_to, after.acknowledged_by) == ("王建国", "王建国")
    [after] = await desk.do(other.id, deed("assign", to="李娜"), WANG)
    assert (after.assigned_to, after.acknowledged_by) == ("李娜", None)
