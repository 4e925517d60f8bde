"""A vendor that tells nothing by itself is asked, and whoever never gets a message is moved to the next channel."""

import pytest
import sqlalchemy as sa
from desks import take
from tellers import SETUP, telling
from test_telling import began, states

from command_center.followups import AGES_S, Followups
from command_center.tables import notices as table
from telemetry.severity import Severity

WORK = SETUP.replace("by: [app, sms]", "by: [work, sms]").replace("by: [app]", "by: [work]")
ORANGE = Severity.ORANGE


@pytest.fixture
async def told(tmp_path, monkeypatch, url, clock):
    async with telling(tmp_path, monkeypatch, url, clock, WORK) as one:
        yield one


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
    again = Followups(told.desk.store, told.teller._channels, told.clock, told.teller.report)
    await again.turn()
    assert states(await told.notices(began().alarm)) == [("work", "wang", "read")]
    async with told.desk.store.read() as db:
        assert (await db.execute(sa.select(sa.func.count()).select_from(table))).scalar() == 1
