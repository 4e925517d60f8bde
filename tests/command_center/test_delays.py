"""What is said by the next channel in time, not said again once it is answered, and said anew by a plan it had before."""

import asyncio

import pytest
import sqlalchemy as sa
from desks import WANG, deed, take
from tellers import telling
from test_lifecycle import T0
from test_telling import began, states

from command_center import plans, teller
from command_center.planner import Planner
from command_center.tables import notices as table
from telemetry.errors import Unavailable
from telemetry.severity import Severity

DAY_MS = 86_400_000
NOON, NIGHT = T0 + 12 * 3_600_000, T0 + 22 * 3_600_000  # T0 is midnight in the city
TURNS = """
plans:
  - {id: day, title: {zh: 日, en: Day}, response: I, match: {severity: [red]}, hours: {begin: "06:00", end: "22:00"}, tell: [{tell: [li], by: [app]}]}
  - {id: night, title: {zh: 夜, en: Night}, response: I, match: {severity: [red]}, hours: {begin: "22:00", end: "06:00"}, tell: [{tell: [li], by: [app]}]}
"""


@pytest.fixture
async def told(tmp_path, monkeypatch, url, clock):
    async with telling(tmp_path, monkeypatch, url, clock) as one:
        yield one


async def test_a_token_that_does_not_come_sends_all_red_ones_by_the_next_channel_and_not_one_after_the_other(
    told, monkeypatch
):
    monkeypatch.setattr(teller, "_PATIENCE_S", 0.3)  # each would wait 4 s for the token, in a queue
    told.vendors.faults["wecom_app", "token"] = "slow"
    await take(told.desk, *(began(device=f"d{n}") for n in range(6)))
    async with asyncio.timeout(10):
        await told.turn()
    assert len(told.got("aliyun_sms")) == 6


@pytest.mark.parametrize("severity", [Severity.RED, Severity.YELLOW], ids=["red", "yellow"])
async def test_what_was_answered_while_it_was_on_its_way_is_not_said_once_more(told, severity):
    begun, answered = asyncio.Event(), asyncio.Event()

    class Fails:
        async def send(self, *_):
            begun.set()
            await answered.wait()
            raise Unavailable("no connection")

    working = told.teller._channels["app"]
    told.teller._channels["app"] = Fails()
    await take(told.desk, began(severity))
    sending = asyncio.ensure_future(told.teller.serve("app"))
    await begun.wait()
    await told.desk.do(began().alarm, deed("acknowledge"), WANG)
    answered.set()
    await sending
    told.teller._channels["app"] = working
    await told.over(10)
    assert told.got() == []
    assert {state for _, _, state in states(await told.notices(began().alarm))} <= {"failed", "cancelled"}


async def test_an_alarm_that_comes_back_to_an_earlier_plan_is_told_by_it_anew(told, tmp_path):
    (tmp_path / "plans.yaml").write_text(TURNS, "utf-8")
    planner = Planner(plans.load(tmp_path / "plans.yaml"), list, dict, told.setup)
    told.desk._followers = (*told.desk._followers, planner)
    told.clock.now = NOON
    await take(told.desk, began(began=NOON))
    alarm = began(began=NOON).alarm
    for at in (NIGHT, NOON + DAY_MS):
        await told.desk.do(alarm, deed("shelve", "检修", until_ms=at - 1000), WANG)
        await told.clock.move((at - told.clock.now) / 1000)
        await told.desk.tick()
    async with told.desk.store.read() as db:
        query = sa.select(sa.func.count()).where((table.c.alarm == alarm) & (table.c.person == "li"))
        assert (await db.execute(query)).scalar_one() == 3
