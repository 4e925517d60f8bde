"""Who has areas sees what lies in them and nothing else, whichever route he asks; who has none sees all."""

import asyncio
import re

import msgspec
import pytest
import sqlalchemy as sa
from desks import take
from test_lifecycle import transition
from waiting import wait_until

from command_center.hub import Client
from command_center.listing import Wanted
from command_center.notices import Body
from command_center.people import sight, users
from command_center.people.rights import needed, needs
from command_center.people.sight import visible
from command_center.tables import actions, notices, warnings
from telemetry.severity import Severity
from telemetry.transitions import Change

NORTH = transition(0, Change.BEGAN, Severity.RED, rule="of-the-north")
SOUTH = transition(0, Change.BEGAN, Severity.RED, device="e", rule="of-the-south")
HERE, ALL = "here", "everybody"
OPEN_TO_ALL = {"/api/plans", "/api/plans/coverage", "/api/warnings/in"}
"""Definitions, and warnings that came from outside: they lie in no area."""


async def told_of(world, begun):
    """What hangs on an alarm: id by the name that it has in a path."""
    async with world.center.store.read() as db:
        incident = (await world.ask("GET", f"/api/alarms/{begun.alarm}", ALL)).json()["incident"]
        warning = await db.execute(sa.select(warnings.c.id).where(warnings.c.about == incident))
        action = await db.execute(sa.select(actions.c.id).where(actions.c.run == begun.alarm))
        held = {one["device"]: one["id"] for one in await world.center.desk.held()}
        return {
            "alarm": begun.alarm, "incident": incident, "run": begun.alarm, "identifier": warning.scalar_one(),
            "action": action.scalar_one(), "hold": held[begun.device],
        }  # fmt: skip


@pytest.fixture
async def parted(world):
    """The world with the same business in the north and in the south, and somebody who is charged with the north."""
    roles = ("dispatcher", "engineer")
    for login, areas in ((HERE, ("史河街道",)), (ALL, ())):
        await world.enter("dispatcher", login=login, areas=areas)
        async with world.center.store.change() as db:
            user = await users.find(db, login)
            await users.save(db, msgspec.structs.replace(user, roles=roles))
    await take(world.center.desk, NORTH, SOUTH)
    for begun in (NORTH, SOUTH):
        hold = {"device": begun.device, "reason": "检修", "until_ms": world.clock.now_ms() + 60_000}
        assert (await world.ask("POST", "/api/holds", ALL, json=hold)).status_code == 200
        row = {
            "id": begun.device, "alarm": begun.alarm, "person": "zhao", "channel": "sms", "state": "accepted",
            "urgent": True, "rank": 0, "due_ms": 0, "created_ms": world.clock.now_ms() - 1, "attempts": 1,
            "body": msgspec.json.encode(Body("step", "13800000000")),
        }  # fmt: skip
        async with world.center.store.change() as db:
            await db.execute(notices.insert().values(**row))
    await world.clock.move(1)
    world.north, world.south = await told_of(world, NORTH), await told_of(world, SOUTH)
    assert not set(world.north.values()) & set(world.south.values())
    return world


def asked(api):
    """Yield (method, path, names in it, right) of every route of things that lie somewhere."""
    for route, need in needed(api):
        if need.right not in {"open", "self", "people.admin", "audit.read"}:
            for method in route.methods:
                yield method, re.sub(r":path", "", route.path), set(route.param_convertors), need.right


async def test_whatever_hangs_on_a_device_elsewhere_is_refused_whichever_route_names_it(parted):
    refused, shown = set(), set()
    for method, path, names, _ in asked(parted.api):
        if not names & parted.south.keys():
            continue
        there = await parted.ask(method, path.format(**parted.south, task=0), HERE)
        assert (there.status_code, method, path) == (403, method, path)
        assert there.json()["error"]["zh"] == "该对象不在您的管辖范围内"
        refused.add((method, path))
        if method == "GET":
            here = await parted.ask(method, path.format(**parted.north), HERE)
            assert here.status_code == 200
            assert SOUTH.alarm not in here.text
            assert (await parted.ask(method, path.format(**parted.south), ALL)).status_code == 200
            shown.add(path)
    assert len(refused) > 20
    assert shown == {
        "/api/alarms/{alarm}", "/api/incidents/{incident}", "/api/runs/{run}", "/api/warnings/{identifier}.xml",
    }  # fmt: skip


async def test_no_list_and_no_table_tells_of_what_lies_elsewhere(parted):
    told = {}
    marks = {*parted.south.values(), "of-the-south", "平岗街道", "south"}
    for method, path, names, _ in asked(parted.api):
        if method != "GET" or names or path in {"/api/stream", "/map.pmtiles"}:
            continue
        here, everything = await parted.ask("GET", path, HERE), await parted.ask("GET", path, ALL)
        assert (here.status_code, path) == (200, path)
        assert [mark for mark in marks if mark in here.text] == [], path
        told[path] = any(mark in everything.text for mark in marks)
        if told[path]:
            assert here.text != (await parted.ask("GET", path, "wall")).text
            assert any(mark in here.text for mark in {*parted.north.values(), "of-the-north"}), path
    assert {path for path, tells in told.items() if not tells} == OPEN_TO_ALL
    figures = [
        (await parted.ask("GET", "/api/figures", who)).json()["report"]["alarms"] for who in (HERE, ALL)
    ]
    assert figures == [1, 2]
    south = await parted.ask("GET", "/api/figures?site=south", HERE)
    assert south.json()["report"]["alarms"] == 0


async def test_what_ingest_tells_is_of_one_device_in_the_areas(parted):
    for path, status in {
        "history?device=d": 502,  # let through: ingest is away here
        "gaps?device=d": 502,
        "history?device=e": 403,
        "history?device=d&device=e": 403,
        "history?device=e&device=d": 502,  # the last is the one that is passed on
        "history": 403,
        "sites?device=d": 403,
        "devices/d?device=d": 403,
        "history/..%2Fsites?device=d": 403,
        "registry/export?device=d": 403,
        "stream?device=d": 403,
    }.items():
        answer = await parted.ask("GET", f"/api/data/{path}", HERE)
        assert (answer.status_code, path) == (status, path)
    assert (await parted.ask("GET", "/api/data/sites", ALL)).status_code == 502


async def test_a_stream_tells_what_lies_in_the_areas_and_ends_when_these_change(parted):
    said, never, hub = [], asyncio.Event(), parted.center.hub

    async def send(message):
        said.append(message)

    scope = {
        "type": "http", "method": "GET", "path": "/api/stream", "raw_path": b"/api/stream", "query_string": b"",
        "headers": [(b"host", b"desk"), (b"cookie", parted.cookies[HERE].encode())], "client": ("10.0.0.1", 1),
        "server": ("desk", 80), "scheme": "http", "http_version": "1.1", "root_path": "",
    }  # fmt: skip
    stream = asyncio.ensure_future(parted.api(scope, never.wait, send))
    await wait_until(lambda: hub.viewers)
    both = [(await parted.center.desk.alarm(begun.alarm))[0] for begun in (SOUTH, NORTH)]
    parted.center.publish(both)
    hub.publish("latest", [{"device": "e", "values": {"n": 1}}])
    hub.publish("latest", [{"device": "e", "values": {"n": 2}}, {"device": "d", "values": {"n": 3}}])
    await parted.clock.move(1)
    await wait_until(lambda: any(b'"n":3' in one.get("body", b"") for one in said))
    text = b"".join(one.get("body", b"") for one in said).decode()
    assert NORTH.alarm in text
    assert [mark for mark in (SOUTH.alarm, "of-the-south", '"e"', '"n":1', '"n":2') if mark in text] == []
    async with parted.center.store.change() as db:
        user = await users.find(db, HERE)
        await users.save(db, msgspec.structs.replace(user, areas=("south",)))
    await parted.clock.move(6)
    hub.publish("health", {})
    await wait_until(stream.done)


async def test_one_event_is_written_once_for_all_who_see_the_same(world):
    areas = frozenset({"d"}), frozenset({"d", "e"})
    made = []

    def make():
        made.append(1)
        return {"device": "e"}

    with world.center.hub.client() as whole, world.center.hub.client(Client("", areas[0])) as one:
        with world.center.hub.client(Client("", areas[1])) as two:
            world.center.hub.publish("alarm", make)
            assert [client.behind for client in (whole, one, two)] == [True, False, True]
    assert made == [1]
    assert visible("alarm", {"device": "e"}, areas[0]) is None


async def test_while_the_registry_is_not_known_who_has_areas_is_told_so_instead_of_nothing_stands(
    parted, monkeypatch
):
    registry, parted.center.data.devices = parted.center.data.devices, {}
    monkeypatch.setitem(parted.center.data.known, "devices", [])
    for path in ("/api/alarms", "/api/overview", "/api/stream", f"/api/alarms/{NORTH.alarm}"):
        answer = await parted.ask("GET", path, HERE)
        assert (answer.status_code, answer.json()["error"]["reason"]) == (503, "registry"), path
        assert answer.headers["retry-after"] == "5"
    until = parted.clock.now_ms() + 60_000
    deeds = {
        "/api/alarms/acknowledge": {"alarms": [{"id": NORTH.alarm}]},
        "/api/holds": {"device": NORTH.device, "reason": "检修", "until_ms": until},
        "/api/plans/p/drill": {"device": NORTH.device},
    }
    for path, asked_for in deeds.items():
        answer = await parted.ask("POST", path, HERE, json=asked_for)
        assert (answer.status_code, answer.json()["error"]["reason"]) == (503, "registry"), path
    assert (await parted.ask("GET", "/api/alarms", ALL)).json() != []
    assert (await parted.ask("GET", "/api/session", HERE)).json()["person"]["areas"] == ["史河街道"]
    parted.center.data.devices = registry
    assert [one["device"] for one in (await parted.ask("GET", "/api/alarms", HERE)).json()] == ["d"]


async def test_a_device_that_moves_is_seen_where_it_is(parted):
    moved = {
        **parted.center.data.devices,
        "e": {"id": "e", "site": "north"},
        "d": {"id": "d", "site": "south"},
    }
    parted.center.data.devices = moved
    assert [one["device"] for one in (await parted.ask("GET", "/api/alarms", HERE)).json()] == ["e"]
    assert (await parted.ask("GET", f"/api/alarms/{NORTH.alarm}", HERE)).status_code == 403


async def test_a_path_with_a_name_that_nobody_can_look_up_keeps_the_centre_from_starting(world):
    @world.api.get("/api/lamps/{lamp}", dependencies=[needs("read")])
    async def get_lamp(lamp: str):
        return {"lamp": lamp}

    with pytest.raises(LookupError, match=r"/api/lamps/\{lamp\}: \{lamp\}"):
        sight.check_routes(world.api)


async def test_a_new_route_that_names_a_device_is_judged_without_doing_anything_for_it(parted):
    @parted.api.get("/new/{device}", dependencies=[needs("read")])
    async def get_new(device: str):
        return {"device": device}

    routes = parted.api.router.routes
    routes.insert(0, routes.pop())  # before the page's files
    sight.check_routes(parted.api)
    assert [(await parted.ask("GET", f"/new/{device}", HERE)).status_code for device in "dex"] == [
        200,
        403,
        403,
    ]


async def test_many_thousand_devices_are_one_parameter(desk):
    await take(desk, NORTH, SOUTH)
    many = {"e", *(f"lamp-'{n}\"" for n in range(70_000))}
    assert [one.device for one in await desk.page(Wanted(limit=9, devices=frozenset(many)))] == ["e"]
    assert await desk.page(Wanted(limit=9, devices=frozenset())) == []
    assert len(await desk.alarms(only_open=True, limit=9)) == 2
