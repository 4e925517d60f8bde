"""A vendor that tells nothing by itself is asked, and whoever never gets a message is moved to the next channel."""

import asyncio

import pytest
import sqlalchemy as sa
from desks import take
from tellers import SETUP, telling
from test_lifecycle import T0
from test_telling import began, states
from waiting import wait_until

from command_center.followups import AGES_S, Followups
from command_center.tables import notices as table
from telemetry.errors import Unavailable
from telemetry.faults import Faults
from telemetry.severity import Severity

WORK = SETUP.replace("by: [app, sms]", "by: [work, sms]").replace("by: [app]", "by: [work]")
ORANGE = Severity.ORANGE


@pytest.fixture
async def told(tmp_path, monkeypatch, url, clock):
    async with telling(tmp_path, monkeypatch, url, clock, WORK) as one:
        yield one


def asking(told, report):
    """The same channel as after a restart, which remembers nothing."""
    channel = "work", told.teller._channels["work"]
    return Followups(told.desk.store, channel, told.clock, report, Faults(told.clock))


async def states_of(told, transitions):
    return [one for news in transitions for one in states(await told.notices(news.alarm))]


@pytest.fixture
async def many(told):
    """Three messages that the vendor has, old enough to be asked about."""
    news = [began(ORANGE, device=f"d{n}", began=T0 + n * 60_000) for n in range(3)]
    await take(told.desk, *news)
    await told.turn()
    await told.clock.move(2)
    return news


async def test_no_message_waits_for_what_the_vendor_says_of_another(told, many):
    channel, asked, answers = told.teller._channels["work"], [], asyncio.Event()
    check = channel.check

    async def slow(*what):
        asked.append(what)
        await answers.wait()
        return await check(*what)

    channel.check = slow
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(told.turn())
        await wait_until(lambda: len(asked) == 3)
        answers.set()
    assert await states_of(told, many) == [("work", "wang", "read")] * 3


async def test_an_answer_that_breaks_us_costs_its_message_alone(told, many):
    channel, asked = told.teller._channels["work"], []
    check = channel.check

    async def breaks_once(*what):
        asked.append(what)
        if len(asked) == 1:
            raise KeyError("secret")
        return await check(*what)

    channel.check = breaks_once
    await told.turn()
    assert (
        sorted(await states_of(told, many)) == [("work", "wang", "accepted")] + [("work", "wang", "read")] * 2
    )
    await told.over(15, step_s=15)
    assert await states_of(told, many) == [("work", "wang", "read")] * 3


async def test_what_the_vendor_said_while_the_database_was_away_is_asked_for_once_more(told, many):
    away = [True]

    async def report(*what):
        if away:
            raise Unavailable("desk: away")
        return await told.teller.report(*what)

    again = asking(told, report)
    await again.turn()
    assert await states_of(told, many) == [("work", "wang", "accepted")] * 3
    away.clear()
    await told.clock.move(1)
    await again.turn()
    assert await states_of(told, many) == [("work", "wang", "read")] * 3


async def test_accepted_becomes_delivered_and_then_read_as_the_vendor_says_when_asked(told):
    told.vendors.faults["dingtalk_work", "wang"] = "unread_user_id_list"
    await take(told.desk, began(ORANGE))
    await told.turn()
    assert states(await told.notices(began().alarm)) == [("work", "wang", "accepted")]
    await told.over(4)
    assert states(await told.notices(began().alarm)) == [("work", "wang", "delivered")]
    del told.vendors.faults["dingtalk_work", "wang"]
    await told.over(15)
    assert states(await told.notices(began().alarm)) == [("work", "wang", "read")]


@pytest.mark.parametrize("field", ["forbidden_user_id_list", "invalid_user_id_list", "failed_user_id_list"])
async def test_who_never_gets_it_is_moved_to_the_next_channel_within_five_seconds(told, field):
    told.vendors.faults["dingtalk_work", "wang"] = field
    await take(told.desk, began())
    at = told.clock.now
    await told.over(5)
    [sms] = told.got("aliyun_sms")
    assert sms["at"] * 1000 - at <= 5000
    assert states(await told.notices(began().alarm))[:2] == [
        ("work", "wang", "failed"),
        ("sms", "wang", "accepted"),
    ]


async def test_it_is_asked_at_each_age_once_and_no_more_when_it_was_read(told):
    asked = []
    channel = told.teller._channels["work"]
    check = channel.check

    async def counted(*what):
        asked.append(told.clock.now)
        return await check(*what)

    channel.check = counted
    told.vendors.faults["dingtalk_work", "wang"] = "unread_user_id_list"
    await take(told.desk, began(ORANGE))
    await told.turn()
    await told.over(90, step_s=3)
    assert len(asked) == 3
    del told.vendors.faults["dingtalk_work", "wang"]
    await told.over(600, step_s=60)
    assert len(asked) == 4
    assert sum(AGES_S[:4]) > 300


async def test_a_vendor_that_does_not_answer_changes_nothing_and_after_a_restart_it_is_asked_again(told):
    await take(told.desk, began(ORANGE))
    await told.turn()
    for fault in ("http500", "garbage", "88"):
        told.vendors.faults["dingtalk_work", "result"] = fault
        await told.over(15, step_s=5)
    assert states(await told.notices(began().alarm)) == [("work", "wang", "accepted")]
    told.vendors.faults.clear()
    again = asking(told, told.teller.report)
    await again.turn()
    assert states(await told.notices(began().alarm)) == [("work", "wang", "read")]
    async with told.desk.store.read() as db:
        assert (await db.execute(sa.select(sa.func.count()).select_from(table))).scalar() == 1
