"""Steps of a policy when many are due: the worst alarms first, and one that breaks costs itself alone."""

from types import SimpleNamespace

import msgspec
import pytest
import sqlalchemy as sa
from desks import take
from tellers import telling
from test_lifecycle import T0
from test_telling import ORANGE, RED, began

from command_center.heartbeat import Heartbeat
from command_center.notices import Due
from command_center.tables import alarms
from command_center.tables import steps as table


@pytest.fixture
async def told(tmp_path, monkeypatch, url, clock):
    async with telling(tmp_path, monkeypatch, url, clock) as one:
        yield one


async def state_of(told, key):
    async with told.desk.store.read() as db:
        return (await db.execute(sa.select(table.c.state).where(table.c.id == key))).scalar_one()


def step(transition, number):
    return f"{transition.alarm}/1.{number}"


async def test_a_red_step_goes_before_the_many_of_lower_colours_that_were_due_before_it(told):
    fire, many = began(RED, device="fire"), began(ORANGE)
    await take(told.desk, many, fire)
    row = {"alarm": many.alarm, "due_ms": T0, "state": "pending", "body": msgspec.json.encode(Due("rest"))}
    async with told.desk.store.change() as db:
        await db.execute(table.insert(), [{"id": f"{many.alarm}/9.{n}", **row} for n in range(600)])
    await told.clock.move(60)
    assert await told.teller.step()
    assert await state_of(told, step(fire, 1)) == "done"
    assert [await told.teller.step(), await told.teller.step()] == [True, False]


async def test_a_step_that_breaks_costs_itself_alone_and_is_tried_again_while_its_alarm_asks(told):
    broken, *others = (began(RED, device=f"d{n}", began=T0 + n * 60_000) for n in range(5))
    await take(told.desk, broken, *others)
    async with told.desk.store.change() as db:
        mine = table.c.id == step(broken, 1)
        body = (await db.execute(sa.select(table.c.body).where(mine))).scalar_one()
        await db.execute(table.update().where(mine).values(body=b"{"))
    await told.clock.move(60)
    await told.teller.step()
    assert [await state_of(told, step(one, 1)) for one in others] == ["done"] * 4
    assert await state_of(told, step(broken, 1)) == "pending"
    assert told.faults.count() == 1
    assert not await told.teller.step(), "it is not tried without end"
    async with told.desk.store.change() as db:
        await db.execute(table.update().where(mine).values(body=body))
    await told.clock.move(10)
    await told.teller.step()
    assert await state_of(told, step(broken, 1)) == "done"


async def test_a_step_that_goes_on_breaking_keeps_the_heartbeat_back(told):
    feed = SimpleNamespace(connected=True, silent_s=lambda: 5.0)
    heartbeat = Heartbeat(None, None, told.desk.store, feed, told.clock)
    await take(told.desk, began(RED))
    async with told.desk.store.change() as db:
        await db.execute(table.update().where(table.c.id == step(began(), 1)).values(body=b"{"))
    await told.over(60, step_s=10)
    assert await heartbeat._trouble() == ""
    await told.over(70, step_s=10)
    assert await heartbeat._trouble() == "telling: a step is overdue"


async def test_an_alarm_that_cannot_be_read_keeps_no_step_of_another(told):
    broken, other = began(RED), began(RED, device="other", began=T0 + 60_000)
    await take(told.desk, broken, other)
    async with told.desk.store.change() as db:
        await db.execute(alarms.update().where(alarms.c.id == broken.alarm).values(body=b"{"))
    await told.clock.move(60)
    await told.teller.step()
    assert await state_of(told, step(other, 1)) == "done"


async def test_a_first_step_that_breaks_leaves_the_rest_of_its_chain(told, monkeypatch):
    telling_, first = told.teller._telling, []
    notices = telling_._notices

    def breaks_once(*what):
        if not first:
            first.append(what)
            raise KeyError("who")
        return notices(*what)

    monkeypatch.setattr(telling_, "_notices", breaks_once)
    await take(told.desk, began(RED))
    assert [await state_of(told, step(began(), n)) for n in range(3)] == ["pending"] * 3
    await told.clock.move(10)
    await told.teller.step()
    assert await state_of(told, step(began(), 0)) == "done"
