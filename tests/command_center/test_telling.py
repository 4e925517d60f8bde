"""Who is told, when, by which channel, and what proves it: a desk before vendors that answer as the real ones do."""

import aiohttp
import pytest
import sqlalchemy as sa
from desks import LI, WANG, deed, take
from sqlalchemy.exc import OperationalError
from tellers import telling
from test_lifecycle import T0, transition

from command_center.channel import Report
from command_center.tables import notices as table
from telemetry.errors import Unavailable
from telemetry.severity import Severity
from telemetry.transitions import Change

RED, ORANGE, BLUE = Severity.RED, Severity.ORANGE, Severity.BLUE


@pytest.fixture
async def told(tmp_path, monkeypatch, url, clock):
    async with telling(tmp_path, monkeypatch, url, clock) as one:
        yield one


def began(severity=RED, **more):
    return transition(0, Change.BEGAN, severity, **more)


def states(notices):
    return [(one["channel"], one["person"], one["state"]) for one in notices if "channel" in one]


async def test_who_is_on_duty_is_told_at_once_and_accepted_is_not_called_delivered(told):
    await take(told.desk, began())
    await told.turn()
    [message] = told.got()
    assert (message["vendor"], message["address"]) == ("wecom_app", "wang")
    assert message["text"].startswith("[红色 告警] 甲\nd\n90degC\n11-25 00:00:00")
    [notice, *_] = await told.notices(began().alarm)
    assert (notice["state"], notice["provider_id"], notice["code"], len(notice["receipt"])) == (
        "accepted",
        "m1",
        "0",
        16,
    )


async def test_the_chain_goes_on_until_somebody_answers_and_then_stops(told):
    await take(told.desk, began())
    await told.turn()
    await told.over(57, step_s=19)
    assert len(told.got()) == 1
    await told.over(4)
    assert {(one["vendor"], one["address"][-1]) for one in told.got()[1:]} == {
        ("aliyun_sms", "1"),
        ("aliyun_sms", "2"),
    }
    await told.desk.do(began().alarm, deed("acknowledge"), LI)
    await told.over(200, step_s=50)
    assert len(told.got()) == 3, "nothing after the answer"
    assert ("sms", "li", "acknowledged") in states(await told.notices(began().alarm))


async def test_it_is_repeated_until_acknowledged_and_no_more_often_than_the_policy_says(told):
    await take(told.desk, began())
    await told.over(1500, step_s=30)
    apps = [one for one in told.got("wecom_app") if "仍未确认" in one["text"]]
    assert len(apps) == 2
    voices = told.got("aliyun_voice")
    assert len(voices) == 3 * 2
    assert told.vendors.over_limit == {}


async def test_a_person_who_cannot_be_reached_moves_to_the_next_channel_within_five_seconds(told):
    for fault in ("invaliduser", "unlicenseduser"):
        told.vendors.faults["wecom_app", "wang"] = fault
        alarm = began(device=fault)
        await take(told.desk, alarm)
        at = told.clock.now
        await told.turn()
        assert told.got("aliyun_sms")[-1]["at"] * 1000 - at <= 5000
        assert states(await told.notices(alarm.alarm))[:2] == [
            ("app", "wang", "failed"),
            ("sms", "wang", "accepted"),
        ]


@pytest.mark.parametrize("fault", ["http500", "garbage", "45009"])
async def test_a_vendor_in_trouble_costs_an_urgent_alarm_at_most_five_seconds(told, fault):
    told.vendors.faults["wecom_app", ""] = fault
    await take(told.desk, began())
    await told.turn()
    await told.over(3)
    assert len(told.got("aliyun_sms")) == 1


async def test_when_nobody_can_be_reached_the_next_step_comes_at_once(told):
    told.vendors.faults["wecom_app", "wang"] = "invaliduser"
    told.vendors.faults["aliyun_sms", "13800000001"] = "isv.MOBILE_NUMBER_ILLEGAL"
    await take(told.desk, began())
    await told.over(5)
    assert [one["address"] for one in told.got("aliyun_sms")] == ["13800000002"]
    assert {one["address"] for one in told.got("aliyun_voice")} == {"13800000001", "13800000002"}
    assert told.clock.now - T0 <= 5000


@pytest.mark.parametrize("fault", ["http500", "garbage", "45009", "-1"])
async def test_a_vendor_that_gives_no_token_now_is_asked_again_and_nobody_is_given_up(told, fault):
    told.vendors.faults["wecom_app", "token"] = fault
    alarm = began(Severity.ORANGE)
    await take(told.desk, alarm)
    await told.over(20)
    assert told.got() == []
    assert states(await told.notices(alarm.alarm)) == [("app", "wang", "pending")]
    del told.vendors.faults["wecom_app", "token"]
    await told.over(600, step_s=60)
    assert states(await told.notices(alarm.alarm)) == [("app", "wang", "accepted")]
    assert len(told.got("wecom_app")) == 1


async def test_a_token_that_ran_out_is_fetched_anew_once_for_all_who_wait(told):
    await take(told.desk, began())
    await told.turn()
    told.vendors.token = "token-2"
    await take(told.desk, *(began(device=f"d{n}") for n in range(8)))
    await told.turn()
    assert len(told.got("wecom_app")) == 9
    assert told.vendors.token_fetches["wecom_app"] == 2


async def test_many_come_as_a_digest_and_the_red_one_at_once(told):
    await take(told.desk, *(began(ORANGE, device=f"d{n}") for n in range(40)))
    await told.turn()
    await told.over(10)
    singles = [one for one in told.got() if "汇总" not in one["text"]]
    [digest] = [one for one in told.got() if "汇总" in one["text"]]
    assert len(singles) == 4
    assert digest["text"].startswith("[汇总] 36 条告警，最高橙色\n橙色 甲 d")
    assert "另有 31 条" in digest["text"]
    await take(told.desk, began(RED, device="fire"))
    await told.turn()
    assert told.got()[-1]["text"].startswith("[红色")
    found = await told.notices(began(ORANGE, device="d39").alarm)
    assert states(found) in ([("app", "wang", "bundled")], [("app", "wang", "accepted")])


async def test_whoever_was_told_hears_that_it_is_over_even_when_it_was_shelved_since(told):
    await take(told.desk, began(ORANGE))
    await told.turn()
    await told.desk.do(began().alarm, deed("shelve", "施工"), WANG)
    await take(told.desk, transition(1, Change.ENDED, ORANGE))
    await told.turn()
    assert [one["text"].split("]")[0] for one in told.got()] == ["[橙色 告警", "[橙色 已恢复"]


async def test_an_alarm_that_is_shelved_before_it_was_told_is_not_told_until_the_shelf_ends(told):
    told.vendors.faults["wecom_app", ""] = "45009"
    await take(told.desk, began(ORANGE))
    await told.desk.do(began().alarm, deed("shelve", "施工"), WANG)
    told.vendors.faults.clear()
    await told.over(60, step_s=10)
    assert told.got() == []
    told.clock.now += 15 * 60_000
    await told.desk.tick()
    await told.turn()
    assert len(told.got()) == 1


async def test_what_becomes_worse_is_told_anew_by_the_policy_of_its_colour(told):
    await take(told.desk, began(ORANGE))
    await told.turn()
    await take(told.desk, transition(1, Change.WORSENED, RED))
    await told.turn()
    assert [one["text"].split("]")[0] for one in told.got()] == ["[橙色 告警", "[红色 告警"]


async def test_no_policy_is_visible_and_record_only_is_silent(told):
    await take(told.desk, began(BLUE))
    await told.turn()
    [step] = await told.notices(began().alarm)
    assert step["state"] == "no_policy"
    assert told.got() == []


async def test_a_report_of_delivery_a_failed_one_and_a_key_pressed(told):
    told.vendors.faults["wecom_app", "wang"] = "invaliduser"
    await take(told.desk, began())
    await told.turn()
    [sms] = told.got("aliyun_sms")
    await told.teller.report("sms", [Report(sms["id"], "delivered", "DELIVERED")])
    assert states(await told.notices(began().alarm))[1] == ("sms", "wang", "delivered")
    await told.over(130, step_s=10)
    call = next(one for one in told.got("aliyun_voice") if one["address"] == "13800000001")
    assert await told.teller.report("voice", [Report(call["id"], "delivered", "200000", "1")]) == [
        (began().alarm, "wang")
    ]
    assert await told.teller.report("voice", [Report("unknown", "delivered")]) == []


async def test_a_stop_between_sending_and_its_receipt_sends_again_under_the_same_id(told):
    await take(told.desk, began())
    async with told.desk.store.change() as db:
        await db.execute(table.update().values(state="sending", sent_ms=told.clock.now, attempts=1))
    await told.turn()
    assert told.got() == []
    await told.teller.recover()
    await told.turn()
    assert len(told.got()) == 1


async def test_notices_and_the_alarm_are_one_transaction(told):
    async def fails(*_):
        raise OperationalError("INSERT", None, Exception("disk I/O error"))

    told.desk._followers = (*told.desk._followers, fails)
    with pytest.raises(Unavailable):
        await take(told.desk, began())
    async with told.desk.store.read() as db:
        assert (await db.execute(sa.select(sa.func.count()).select_from(table))).scalar() == 0
    assert await told.desk.alarms(only_open=False, limit=9) == []


async def test_a_storm_stays_below_every_limit_and_tells_the_red_one_at_once(told):
    for minute in range(3):
        await take(told.desk, *(began(ORANGE, device=f"s{minute}-{n}") for n in range(200)))
        if minute == 1:
            await take(told.desk, began(RED, device="fire"))
            at = told.clock.now
        await told.over(60, step_s=5)
    red = next(one for one in told.got() if one["text"].startswith("[红色"))
    assert red["at"] * 1000 - at <= 5000
    assert told.vendors.over_limit == {}
    assert len(told.got("wecom_app")) <= 10
    async with told.desk.store.read() as db:
        left = await db.execute(sa.select(table.c.state, sa.func.count()).group_by(table.c.state))
        counts = dict(left.all())
    assert sum(counts.values()) >= 601
    assert counts.get("failed", 0) == 0


async def test_chattering_is_told_of_twice_and_then_counted(told):
    for n in range(6):
        await take(told.desk, transition(0, Change.BEGAN, ORANGE, began=T0 + n * 5000))
        await told.turn()
    alarms = [one for one in told.got() if "告警]" in one["text"]]
    assert len(alarms) == 2


async def test_no_secret_is_in_any_row_or_message(told):
    for fault in ("http500", "garbage", "310000"):
        told.vendors.faults["dingtalk_robot", ""] = fault
        told.vendors.faults["wecom_app", ""] = fault
        await take(told.desk, began(device=fault))
        await told.over(3)
    async with told.desk.store.read() as db:
        rows = (await db.execute(sa.select(table))).all()
    words = repr(rows) + repr([await told.notices(began(device=f).alarm) for f in ("http500", "garbage")])
    assert rows
    assert not any(secret in words for secret in ("fake-key", "fake-secret", "token-1"))


async def test_a_connection_refused_names_no_address():
    from command_center.channel import ask
    from telemetry.errors import Unavailable

    async with aiohttp.ClientSession() as http:
        with pytest.raises(Unavailable) as raised:
            await ask(http, "POST", "http://127.0.0.1:1/robot/send?access_token=hunter2")
    assert "hunter2" not in str(raised.value)


@pytest.mark.soak
async def test_ten_thousand_alarms_in_a_minute_lose_none_and_the_red_one_is_told_within_five_seconds(told):
    count = 0
    for second in range(60):
        news = [
            began(
                ORANGE,
                device=f"s{(count + n) % 1000}",
                rule=f"r{(count + n) // 1000}",
                began=told.clock.now + n,
            )
            for n in range(167)
        ]
        count += len(news)
        if second == 30:
            news.append(began(RED, device="fire", began=told.clock.now))
            at = told.clock.now
        await take(told.desk, *news)
        await told.over(1)
    red = next(one for one in told.got() if one["text"].startswith("[红色"))
    assert red["at"] * 1000 - at <= 5000
    assert len(await told.desk.alarms(only_open=False, limit=20_000)) == count + 1
    assert told.vendors.over_limit == {}
    await told.over(300, step_s=30)
    assert len(told.got()) <= 20
