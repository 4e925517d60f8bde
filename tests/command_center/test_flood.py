"""Flood mode: when it begins and ends, that the audit trail says so, and what it changes for whom."""

import msgspec
import pytest
import sqlalchemy as sa
from desks import opened, take
from tellers import telling
from test_lifecycle import T0, live, transition
from worlds import world_in

from command_center.config import load_config
from command_center.flood import SINGLE_MOST, Floods
from command_center.tables import audit
from telemetry.errors import ConfigError
from telemetry.severity import Severity
from telemetry.transitions import Change

ORANGE, RED = Severity.ORANGE, Severity.RED


def some(first, count, at, **more):
    return [
        transition(0, Change.BEGAN, ORANGE, device=f"d{n}", began=at, **more)
        for n in range(first, first + count)
    ]


async def entries(desk):
    async with desk.store.read() as db:
        rows = await db.execute(sa.select(audit).where(audit.c.what.like("flood.%")).order_by(audit.c.seq))
        return [(row.what, row.who, row.at_ms) for row in rows]


async def test_it_begins_above_ten_in_ten_minutes_ends_below_five_and_is_in_the_audit_trail(url, clock):
    floods = Floods()
    async with opened(url, clock, followers=[floods]) as desk:
        await take(desk, *some(0, 10, T0))
        assert not await floods.turn(desk.store, clock.now)
        assert floods.now() is None
        await clock.move(60)
        await take(desk, *some(10, 1, clock.now))
        assert await floods.turn(desk.store, clock.now)
        began = clock.now
        now = floods.now()
        assert (now.since_ms, now.alarms, now.positions) == (began, 11, 1)
        await clock.move(500)
        await take(desk, *some(11, 4, clock.now))
        await clock.move(50)  # the first ten are ten minutes old
        assert not await floods.turn(desk.store, clock.now), "five are not fewer than five"
        assert floods.now().alarms == 5
        await clock.move(51)
        assert await floods.turn(desk.store, clock.now)
        assert floods.now() is None
        assert await entries(desk) == [("flood.begin", "clock", began), ("flood.end", "clock", clock.now)]


async def test_late_data_rules_on_trial_and_consequences_are_no_flood(url, clock):
    floods = Floods()
    async with opened(url, clock, followers=[floods]) as desk:
        await take(desk, *some(0, 20, T0, retrospective=True))
        await take(desk, *(msgspec.structs.replace(one, shadow=True) for one in some(20, 20, T0)))
        assert not await floods.turn(desk.store, clock.now)
        await take(desk, *some(0, 20, T0 + 1))
        assert await floods.turn(desk.store, clock.now)
        assert floods.now().alarms == 20


async def test_two_positions_stand_twice_as_much(url, clock):
    floods = Floods(2)
    async with opened(url, clock, followers=[floods]) as desk:
        await take(desk, *some(0, 20, T0))
        assert not await floods.turn(desk.store, clock.now)
        await take(desk, *some(20, 1, T0))
        assert await floods.turn(desk.store, clock.now)


async def test_a_restart_in_the_middle_goes_on_with_the_same_flood(url, clock):
    floods = Floods()
    async with opened(url, clock, followers=[floods]) as desk:
        await take(desk, *some(0, 11, T0))
        await floods.turn(desk.store, clock.now)
        await clock.move(300)
        await take(desk, *some(11, 6, clock.now))
        await clock.move(350)  # six are left, which begins no flood but does not end one
        again = Floods()
        await again.recover(desk.store, clock.now)
        assert not await again.turn(desk.store, clock.now)
        assert (again.now().since_ms, again.now().alarms) == (T0, 6)
        await clock.move(600)
        last = Floods()
        await last.recover(desk.store, clock.now)
        assert await last.turn(desk.store, clock.now)
        assert last.now() is None
        assert [what for what, _, _ in await entries(desk)] == ["flood.begin", "flood.end"]


async def test_a_step_of_the_clock_neither_ends_a_flood_nor_makes_one(url, clock):
    floods = Floods()
    async with opened(url, clock, followers=[floods]) as desk:
        await take(desk, *some(0, 11, T0))
        await floods.turn(desk.store, clock.now)
        for hours in (1, -3):
            clock.now += hours * 3_600_000
            floods.shift(hours * 3_600_000)
            assert not await floods.turn(desk.store, clock.now)
            assert floods.now().alarms == 11
        await clock.move(600)
        assert await floods.turn(desk.store, clock.now)


async def test_while_it_lasts_one_goes_singly_the_rest_as_a_digest_and_the_red_one_at_once(
    tmp_path, monkeypatch, url, clock
):
    async with telling(tmp_path, monkeypatch, url, clock) as told:
        told.teller.single_most = SINGLE_MOST
        await take(told.desk, *some(0, 20, T0))
        await told.turn()
        await told.over(10)
        texts = [one["text"] for one in told.got()]
        assert [text.split("]")[0] for text in texts] == ["[橙色 告警", "[汇总"], (
            "the first one is not delayed"
        )
        assert texts[1].startswith("[汇总] 19 条告警")
        await take(told.desk, transition(0, Change.BEGAN, RED, device="fire"))
        await told.turn()
        assert told.got()[-1]["text"].startswith("[红色")


async def test_the_page_is_told_since_when_and_how_many(tmp_path, clock):
    async with world_in(tmp_path, clock) as world:
        await world.enter("operator")
        assert (await world.ask("GET", "/api/overview", "operator")).json()["flood"] is None
        floods = world.center.floods
        async with world.center.store.change() as db:
            for one in some(0, 12, T0):
                await floods(db, [(None, live([one]))], clock.now)
        await floods.turn(world.center.store, clock.now)
        told = (await world.ask("GET", "/api/overview", "operator")).json()["flood"]
        assert told == {"since_ms": clock.now, "alarms": 12, "positions": 1}


@pytest.mark.parametrize("positions", [0, -1, 1001])
def test_a_number_of_positions_that_cannot_be_is_refused_with_its_place(tmp_path, positions):
    path = tmp_path / "center.toml"
    path.write_text(
        f'area = "a"\nbroker = {{ host = "h" }}\ndata = {{ url = "http://127.0.0.1:1" }}\ndesk = {{ positions = {positions} }}\n'
    )
    with pytest.raises(ConfigError, match=r"\$\.desk\.positions.*not between 1 and 1000"):
        load_config(path)
