"""The list of alarms: every one of many is found once, by pages, and by what one looks for."""

import msgspec
import pytest
from desks import WANG, deed, opened, take
from hypothesis import given
from hypothesis import strategies as st
from test_lifecycle import transition
from worlds import world_in

from command_center import listing
from command_center.listing import Wanted, after, place
from telemetry.severity import Severity
from telemetry.transitions import Category, Change

COLOURS = (Severity.BLUE, Severity.YELLOW, Severity.BLUE, Severity.RED, Severity.ORANGE)


async def _many(desk, clock, count=60):
    """Ten at a time arrive in the same millisecond."""
    for begin in range(0, count, 10):
        await take(
            desk,
            *(
                msgspec.structs.replace(
                    transition(0, Change.BEGAN, COLOURS[n % 5], began=clock.now, device=f"d{n:03}"),
                    category=Category.FIRE if n % 4 == 0 else Category.FAULT,
                )
                for n in range(begin, begin + 10)
            ),
        )
        await clock.move(1)


async def _pages(desk, **wanted):
    found, behind = [], ""
    while page := await desk.page(Wanted(limit=7, after=behind, **wanted)):
        found += page
        behind = after(page[-1])
    return found


@pytest.mark.parametrize("sort", ["newest", "worst"])
async def test_pages_hold_every_alarm_once_in_order_though_many_came_in_one_millisecond(url, clock, sort):
    async with opened(url, clock) as desk:
        await _many(desk, clock)
        pages = await _pages(desk, sort=sort)
        assert [one.id for one in pages] == [one.id for one in await desk.page(Wanted(sort=sort, limit=5000))]
        assert sorted(one.device for one in pages) == [f"d{n:03}" for n in range(60)]
        keys = [(-one.severity if sort == "worst" else 0, -one.received_ms, one.id) for one in pages]
        assert keys == sorted(keys)


async def test_what_comes_or_goes_meanwhile_neither_repeats_nor_hides_an_alarm(url, clock):
    async with opened(url, clock) as desk:
        await _many(desk, clock)
        first = await desk.page(Wanted(limit=25))
        await take(desk, transition(0, Change.BEGAN, Severity.RED, began=clock.now, device="newcomer"))
        await desk.do(first[0].id, deed("acknowledge"), WANG)
        gone = first[3]
        await take(desk, transition(1, Change.ENDED, gone.severity, began=gone.began_ms, device=gone.device))
        await desk.do(gone.id, deed("acknowledge"), WANG)
        second = await desk.page(Wanted(limit=5000, after=after(first[-1])))
        devices = [one.device for one in first + second]
        assert len(devices) == len(set(devices)) == 60
        assert "newcomer" not in devices


async def test_filters_are_all_to_hold_and_follow_every_change(url, clock):
    async with opened(url, clock) as desk:
        await _many(desk, clock)
        assert {one.device for one in await _pages(desk, severity="red", category="fire")} == {
            f"d{n:03}" for n in range(60) if n % 5 == 3 and n % 4 == 0
        }
        assert len(await _pages(desk, device_class="ev_charger", rule="r")) == 60
        assert await _pages(desk, rule="no_such_rule") == []
        assert [one.device for one in await _pages(desk, devices=frozenset({"d007", "nowhere"}))] == ["d007"]
        [one] = await _pages(desk, devices=frozenset({"d007"}))
        await desk.do(one.id, deed("acknowledge"), WANG)
        assert len(await _pages(desk, asks=True)) == 59
        assert [seen.device for seen in await _pages(desk, asks=False)] == ["d007"]
        assert await desk.count() == {"red": 12, "orange": 12, "yellow": 12, "blue": 24}
        await take(desk, transition(1, Change.WORSENED, Severity.RED, began=one.began_ms, device="d007"))
        assert await desk.count() == {"red": 13, "orange": 12, "yellow": 12, "blue": 23}
        async with desk.store.read() as db:
            query = listing._alarms.select()
            for row in await db.execute(query):
                alarm = msgspec.json.decode(row.body, type=listing.Alarm)
                assert listing.columns(alarm).items() <= row._mapping.items(), (
                    "columns say what the body says"
                )


@given(st.integers(1, 4), st.integers(0, 10**14), st.text("abc.-0", min_size=1, max_size=64))
def test_a_place_comes_back_as_it_was(severity, received, key):
    assert place(f"{severity}.{received}.{key}") == (severity, received, key)


async def test_over_http_the_next_page_is_a_link_and_the_page_is_told_how_many_there_are(tmp_path, clock):
    async with world_in(tmp_path, clock) as world:
        await world.enter("operator")
        await _many(world.center.desk, clock)
        path, devices = "/api/alarms?limit=25&sort=worst&class=ev_charger", []
        while path:
            answer = await world.ask("GET", path, "operator")
            devices += [one["device"] for one in answer.json()]
            path = answer.links.get("next", {}).get("url", "")
        assert len(devices) == len(set(devices)) == 60
        answer = await world.ask("GET", "/api/alarms?severity=red&asks=true&site=nowhere", "operator")
        assert (answer.json(), answer.links) == ([], {})
        for wrong in ("after=1.2", "after=9.1.x", "severity=pink", "category=x", "sort=oldest", "device=%00"):
            answer = await world.ask("GET", f"/api/alarms?{wrong}", "operator")
            assert answer.status_code == 422, wrong
            assert wrong.split("=")[0] in answer.json()["error"]["en"]
        overview = (await world.ask("GET", "/api/overview", "operator")).json()
        assert overview["open"] == {"red": 12, "orange": 12, "yellow": 12, "blue": 24}
        assert overview["alarms"][0]["severity"] == "red"
        assert overview["alarms"][-1]["severity"] == "blue"


async def test_the_page_is_given_the_worst_of_more_than_it_can_show(tmp_path, clock, monkeypatch):
    monkeypatch.setattr("command_center.api.SHOWN", Wanted(sort="worst", limit=12))
    async with world_in(tmp_path, clock) as world:
        await world.enter("operator")
        await _many(world.center.desk, clock)
        overview = (await world.ask("GET", "/api/overview", "operator")).json()
        assert [one["severity"] for one in overview["alarms"]] == ["red"] * 12
        assert sum(overview["open"].values()) == 60
