"""A message that failed is sent once more when somebody says so: under the same id, and written down."""

import msgspec
import pytest
import sqlalchemy as sa
from desks import take
from tellers import telling
from test_telling import began, states
from worlds import World

from command_center import audit
from command_center.tables import notices as table
from telemetry.severity import Severity

ORANGE = Severity.ORANGE


@pytest.fixture
def url(tmp_path):
    return f"sqlite+aiosqlite:///{tmp_path}/desk.db"


@pytest.fixture
async def asked(world, tmp_path, monkeypatch, url, clock):
    async with telling(tmp_path, monkeypatch, url, clock) as told:
        center = msgspec.structs.replace(
            world.center, told=told.setup, teller=told.teller, desk=told.desk, store=told.desk.store
        )
        one = World(center, world.clock)
        one.told = told
        for role in ("operator", "engineer"):
            await one.enter(role)
        await one.enter("operator", login="south", name="南", areas=("south",))
        yield one


async def failed(asked):
    """Let a message fail for good, and return its id."""
    asked.told.vendors.faults["wecom_app", "wang"] = "invaliduser"
    await take(asked.told.desk, began(ORANGE))
    await asked.told.turn()
    [notice] = await asked.told.notices(began().alarm)
    assert notice["state"] == "failed"
    return notice["id"]


async def test_it_goes_out_under_the_same_id_and_the_audit_trail_says_who_wanted_it(asked):
    key = await failed(asked)
    asked.told.vendors.faults.clear()
    answer = await asked.ask("POST", "/api/notices/again", "operator", json={"id": key})
    assert [(one["id"], one["state"]) for one in answer.json()] == [(key, "pending")]
    await asked.told.turn()
    assert states(await asked.told.notices(began().alarm)) == [("app", "wang", "accepted")]
    assert len(asked.told.got("wecom_app")) == 1
    async with asked.told.desk.store.read() as db:
        newest = sa.select(audit.table.c.who, audit.table.c.what, audit.table.c.target).order_by(audit.table.c.seq.desc())  # fmt: skip
        assert tuple((await db.execute(newest)).first()) == ("姓名 operator", "notice.again", began().alarm)


async def test_what_was_taken_or_is_on_its_way_is_not_sent_twice(asked):
    key = await failed(asked)
    first = await asked.ask("POST", "/api/notices/again", "operator", json={"id": key})
    second = await asked.ask("POST", "/api/notices/again", "operator", json={"id": key})
    assert (first.status_code, second.status_code) == (200, 409)
    assert second.json()["error"]["zh"] == "该消息未失败，无需重发"


async def test_what_expired_days_ago_is_not_swept_away_again(asked):
    key = await failed(asked)
    async with asked.told.desk.store.change() as db:
        await db.execute(table.update().values(state="expired"))
    asked.told.clock.now += 5 * 86_400_000
    asked.told.vendors.faults.clear()
    await asked.enter("operator")  # the session is over too
    await asked.ask("POST", "/api/notices/again", "operator", json={"id": key})
    await asked.told.turn()
    assert states(await asked.told.notices(began().alarm)) == [("app", "wang", "accepted")]


async def test_who_may_not_assign_or_has_other_areas_sends_nothing(asked):
    key = await failed(asked)
    for who in ("engineer", "south"):
        assert (await asked.ask("POST", "/api/notices/again", who, json={"id": key})).status_code == 403
    assert (
        await asked.ask("POST", "/api/notices/again", "operator", json={"id": "no/such"})
    ).status_code == 404
    assert states(await asked.told.notices(began().alarm)) == [("app", "wang", "failed")]
