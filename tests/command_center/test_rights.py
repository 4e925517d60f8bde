"""Every route against every role: the table of the manual is what holds, over the whole of OpenAPI."""

import asyncio
import re
from pathlib import Path

import pytest
from desks import take
from persons import BEARER
from test_lifecycle import LIFE, transition
from waiting import wait_until

from command_center.people import rights, sessions
from command_center.people.rights import RIGHTS, ROLES, needed, needs
from telemetry.severity import Severity
from telemetry.transitions import Change

MANUAL = Path(__file__).parents[2] / "docs" / "alarm-desk.md"


def table_of_the_manual():
    """Return right → the roles that have it, as the manual says."""
    lines = MANUAL.read_text("utf-8").splitlines()
    [at] = [n for n, line in enumerate(lines) if line.startswith("| right |")]
    roles = [cell.strip() for cell in lines[at].strip("|").split("|")][1:-1]
    found = {}
    for line in lines[at + 2 :]:
        if not line.startswith("|"):
            break
        name, *ticks = [cell.strip() for cell in line.strip("|").split("|")]
        found[name.strip("`")] = {
            role.strip("`") for role, tick in zip(roles, ticks, strict=False) if tick == "✓"
        }
    return found


def calls(api):
    """Yield (method, path with something in its places, right) of every route."""
    for route, need in needed(api):
        for method in sorted(route.methods):
            yield method, re.sub(r"\{\w+(?::path)?\}", "0", route.path), need.right


def test_the_table_of_the_manual_is_the_table_of_the_code():
    wanted = {right: {role for role, held in ROLES.items() if right in held} for right in RIGHTS}
    assert table_of_the_manual() == wanted


async def test_every_route_refuses_every_role_that_has_not_its_right_and_nobody_else(world):
    allowed = table_of_the_manual()
    asked = 0
    for method, path, right in calls(world.api):
        if right == "open" or path == "/api/stream":
            continue
        answer = await world.ask(method, path)
        assert (answer.status_code, method, path) == (401, method, path)
        for role in ROLES:
            answer = await world.ask(method, path, role.replace("_", "-"))
            has = right == "self" or role in allowed[right]
            assert (answer.status_code == 403) != has, (method, path, role, answer.text)
            assert answer.status_code not in {401, 500}, (method, path, role)
            asked += 1
    assert asked > 150


async def test_what_everybody_may_ask_is_a_short_list_that_somebody_looked_at(world):
    assert sorted(path for _, path, right in calls(world.api) if right == "open") == [
        "/api/answers",
        "/api/answers/open",
        "/api/enrolment",
        "/api/enrolment/open",
        "/api/health/live",
        "/api/health/ready",
        "/api/receipts/0/0",
        "/api/session",
        "/api/session",
        "/api/session/end",
        "/api/session/link",
        "/cap/0.xml",
        "/cap/feed.atom",
    ]


async def test_a_route_that_says_nothing_of_what_it_needs_keeps_the_centre_from_starting(world):
    @world.api.get("/api/forgotten")
    async def forgotten():
        return {}

    with pytest.raises(LookupError, match="/api/forgotten"):
        rights.check(world.api)
    with pytest.raises(ValueError, match="no right"):
        needs("alarm.delete")


async def test_a_wall_and_a_key_without_the_right_change_nothing(world):
    await take(world.center.desk, LIFE[0])
    path = f"/api/alarms/{LIFE[0].alarm}/acknowledge"
    assert (await world.ask("POST", path, "wall", json={})).status_code == 403
    assert (await world.ask("GET", "/api/alarms", "wall")).status_code == 200
    answer = await world.ask("POST", "/api/actions/0/approve", headers=BEARER)
    assert (answer.status_code, "action.approve" in answer.text) == (403, True)
    assert (
        await world.ask("GET", "/api/alarms", headers={"Authorization": "Bearer wrong"})
    ).status_code == 401
    found, _ = await world.center.desk.alarm(LIFE[0].alarm)
    assert found.acknowledged_by is None


async def test_who_has_areas_may_touch_only_what_lies_in_them(world):
    north, south = LIFE[0], transition(0, Change.BEGAN, Severity.YELLOW, device="e")
    unknown = transition(0, Change.BEGAN, Severity.YELLOW, device="not-registered")
    await take(world.center.desk, north, south, unknown)
    await world.enter("dispatcher", login="here", areas=("史河街道",))
    await world.enter("engineer", login="there", areas=("south",))
    assert (
        await world.ask("POST", f"/api/alarms/{north.alarm}/comment", "here", json={"comment": "x"})
    ).status_code == 200
    for other in (south, unknown):
        answer = await world.ask("POST", f"/api/alarms/{other.alarm}/acknowledge", "here", json={})
        assert (answer.status_code, answer.json()["error"]["zh"]) == (403, "该对象不在您的管辖范围内")
    many = {"alarms": [{"id": one.alarm} for one in (north, south, unknown)]}
    answer = (await world.ask("POST", "/api/alarms/acknowledge", "here", json=many)).json()
    assert answer["acknowledged"] == [north.alarm]
    assert answer["left"] == dict.fromkeys([south.alarm, unknown.alarm], "outside your areas")
    run = (await world.ask("GET", f"/api/runs/{south.alarm}", "dispatcher")).json()
    [siren] = run["actions"]
    for path in (
        f"/api/actions/{siren['id']}/approve",
        f"/api/actions/{siren['id']}/undo",
        f"/api/tasks/0/done/{south.alarm}",
    ):
        assert (await world.ask("POST", path, "here", json={})).status_code == 403
    assert (await world.ask("POST", "/api/plans/p/drill", "here", json={"device": "e"})).status_code == 403
    hold = {"device": "d", "reason": "检修", "until_ms": world.clock.now_ms() + 60_000}
    assert (await world.ask("POST", "/api/holds", "there", json=hold)).status_code == 403
    [held] = (await world.ask("POST", "/api/holds", "engineer", json=hold)).json()
    end = f"/api/holds/{held['id']}/end"
    assert (await world.ask("POST", end, "there", json={})).status_code == 403
    assert (await world.ask("POST", end, "here", json={})).status_code == 403, (
        "a device, not a shelf: an engineer's"
    )
    assert (await world.ask("POST", end, "engineer", json={})).json() == []


async def test_two_people_are_two_accounts_and_one_person_twice_is_one(world):
    await take(world.center.desk, transition(0, Change.BEGAN, Severity.RED))
    run = (await world.ask("GET", f"/api/runs/{LIFE[0].alarm}", "dispatcher")).json()
    approve = f"/api/actions/{run['actions'][0]['id']}/approve"
    assert (await world.ask("POST", approve, "dispatcher", json={})).json() == {"result": "waiting"}
    await world.enter("dispatcher")  # the same person in another browser
    answer = await world.ask("POST", approve, "dispatcher", json={"name": "somebody else"})
    assert (answer.status_code, answer.json()["error"]["zh"]) == (409, "同一人不能批准两次，需要另一人")
    assert (await world.ask("POST", approve, "operator", json={})).status_code == 403
    await world.enter("dispatcher", login="second")
    assert (await world.ask("POST", approve, "second", json={})).json() == {"result": "requested"}


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "none"},
        {"Sec-Fetch-Site": "cross-site", "Origin": "http://desk"},
    ],
)
async def test_a_cookie_changes_something_only_from_our_own_page(world, headers):
    await take(world.center.desk, LIFE[0])
    path = f"/api/alarms/{LIFE[0].alarm}/comment"
    answer = await world.ask("POST", path, "operator", headers=headers, json={"comment": "x"})
    assert answer.status_code == 403
    for ours in ({"Sec-Fetch-Site": "same-origin"}, {"Origin": "http://desk"}):
        assert (
            await world.ask("POST", path, "operator", headers=ours, json={"comment": "x"})
        ).status_code == 200


async def test_a_stream_ends_with_its_session(world):
    said, never = [], asyncio.Event()

    async def send(message):
        said.append(message)

    cookie = world.cookies["operator"].encode()
    scope = {
        "type": "http", "method": "GET", "path": "/api/stream", "raw_path": b"/api/stream", "query_string": b"",
        "headers": [(b"host", b"desk"), (b"cookie", cookie)], "client": ("10.0.0.1", 1), "server": ("desk", 80),
        "scheme": "http", "http_version": "1.1", "root_path": "",
    }  # fmt: skip
    stream = asyncio.ensure_future(world.api(scope, never.wait, send))
    await wait_until(lambda: world.center.hub.viewers)
    world.center.hub.publish("health", {"n": 1})
    await world.clock.move(6)
    await wait_until(lambda: any(b'"n":1' in one.get("body", b"") for one in said))
    async with world.center.store.change() as db:
        await sessions.end_all(db, "operator", world.clock.now_ms())
    await world.clock.move(6)
    world.center.hub.publish("health", {"n": 2})
    await wait_until(stream.done)
    assert said[-1] == {"type": "http.response.body", "body": b"", "more_body": False}
    assert not any(b'"n":2' in one.get("body", b"") for one in said)
