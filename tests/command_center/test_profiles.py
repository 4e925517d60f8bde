"""What the two profiles ask of passwords and sessions, and when a person proves again who he is."""

import pytest
from desks import take
from test_lifecycle import transition
from test_signing import GOOD, code_of, enrol, invite, sign_in, trail
from worlds import world_in

from command_center.config import load_config
from command_center.people.passwords import judge
from telemetry.errors import ConfigError, Refused
from telemetry.severity import Severity
from telemetry.transitions import Change

DAY_S = 86_400
BETTER = "another 七月 Long one 2"
MIXED = "七月流火 Correct-horse 91"


@pytest.fixture
async def assessed(tmp_path, clock):
    """The world under djbh3."""
    async with world_in(tmp_path, clock, 'profile = "djbh3"') as one:
        yield one


async def enter(world, secret, password=GOOD, login="zhao"):
    """Sign in as a person would, and stay in this browser."""
    await world.clock.move(60)  # a code is good once
    answer = await sign_in(world, login, password, code_of(secret, world.clock))
    assert answer.status_code == 200, answer.text
    world.cookies[login] = answer.headers["set-cookie"].split(";")[0]
    return answer


async def comment(world, who="zhao"):
    alarm = transition(0, Change.BEGAN, Severity.RED).alarm
    return await world.ask("POST", f"/api/alarms/{alarm}/comment", who, json={"comment": "x"})


async def test_under_djbh3_an_old_password_opens_nothing_but_looking_on_and_the_way_to_a_new_one(assessed):
    await take(assessed.center.desk, transition(0, Change.BEGAN, Severity.RED))
    secret = await enrol(assessed)
    await enter(assessed, secret)
    told = (await assessed.ask("GET", "/api/session", "zhao")).json()
    assert 0 < told["password_ends_ms"] - assessed.clock.now_ms() < 90 * DAY_S * 1000
    await assessed.clock.move(90 * DAY_S - 200)
    await enter(assessed, secret)
    assert (await comment(assessed)).status_code == 200
    await assessed.clock.move(200)
    answer = await comment(assessed)
    assert (answer.status_code, answer.json()["error"]) == (
        403,
        {
            "zh": "密码已使用超过 90 天，请先在“账户”中修改密码",
            "en": "the password is older than 90 days: change it under your account first",
            "reason": "password",
        },
    )
    assert (await assessed.ask("GET", "/api/alarms", "zhao")).status_code == 200, "the screen goes on"
    same = await assessed.ask("POST", "/api/password", "zhao", json={"old": GOOD, "new": GOOD})
    assert (same.status_code, same.json()["error"]["zh"]) == (409, "新密码不能与原密码相同")
    changed = await assessed.ask("POST", "/api/password", "zhao", json={"old": GOOD, "new": BETTER})
    assert changed.status_code == 200
    await enter(assessed, secret, BETTER)
    assert (await comment(assessed)).status_code == 200


async def test_under_djbh3_who_signs_in_ends_his_other_sessions(assessed):
    secret = await enrol(assessed)
    other = await enrol(assessed, "qian", "钱莉")
    await enter(assessed, other, login="qian")
    await enter(assessed, secret)
    first = assessed.cookies["zhao"]
    await enter(assessed, secret)
    second, assessed.cookies["zhao"] = assessed.cookies["zhao"], first
    assert (await assessed.ask("GET", "/api/alarms", "zhao")).status_code == 401
    assessed.cookies["zhao"] = second
    assert len((await assessed.ask("GET", "/api/sessions", "zhao")).json()) == 1
    assert (await assessed.ask("GET", "/api/alarms", "qian")).status_code == 200, "others stay"
    assert (await assessed.ask("GET", "/api/alarms", "wall")).status_code == 200
    begun = [
        one["after"].get("ended") for one in await trail(assessed, "session.begin") if one["target"] == "zhao"
    ]
    assert begun == [None, 1, 1], "enrolled, the one of enrolling, the one before"


async def test_under_djbh3_a_password_is_of_three_kinds_and_fifteen_minutes_are_the_longest(assessed):
    token = await invite(assessed)
    secret = (await assessed.ask("POST", "/api/enrolment/open", json={"token": token})).json()["secret"]
    body = {"token": token, "password": "correct horse battery", "code": code_of(secret, assessed.clock)}
    plain = await assessed.ask("POST", "/api/enrolment", json=body)
    assert (plain.status_code, plain.json()["error"]["zh"]) == (
        409,
        "密码须包含大写字母、小写字母、数字、其他字符中的至少三类",
    )
    mixed = await assessed.ask("POST", "/api/enrolment", json=body | {"password": MIXED})
    assessed.cookies["zhao"] = mixed.headers["set-cookie"].split(";")[0]
    seen = [14 * 60, 16 * 60]
    for wait_s, status in zip(seen, (200, 401), strict=True):
        await assessed.clock.move(wait_s)
        answer = await assessed.ask("POST", "/api/session/seen", "zhao", json={})
        assert answer.status_code == status


@pytest.mark.parametrize("kinds", [1, 3, 4])
@pytest.mark.parametrize(
    ("password", "has"), [("correct horse battery", 2), ("Correct horse battery", 3), (MIXED, 4)]
)
def test_kinds_of_characters_count_where_they_are_asked_for(password, has, kinds):
    if has >= kinds:
        judge(password, "zhao", kinds=kinds)
    else:
        with pytest.raises(Refused, match=f"^password: too few kinds; at least {kinds}"):
            judge(password, "zhao", kinds=kinds)


async def test_under_asvs_no_password_ends_and_sessions_live_side_by_side(world):
    await take(world.center.desk, transition(0, Change.BEGAN, Severity.RED))
    secret = await enrol(world)
    await enter(world, secret)
    assert (await world.ask("GET", "/api/session", "zhao")).json()["password_ends_ms"] is None
    await world.clock.move(400 * DAY_S)
    for _ in range(2):
        await enter(world, secret)
    assert (await comment(world)).status_code == 200
    assert len((await world.ask("GET", "/api/sessions", "zhao")).json()) == 2


async def test_who_moves_a_device_or_warns_the_public_has_signed_in_a_short_while_ago(world):
    await take(world.center.desk, transition(0, Change.BEGAN, Severity.RED))
    run = (await world.ask("GET", f"/api/runs/{transition(0, Change.BEGAN).alarm}", "dispatcher")).json()
    action = run["actions"][0]["id"]
    [warning] = (await world.ask("GET", "/api/warnings", "dispatcher")).json()
    asked = {
        f"/api/actions/{action}/approve": {},
        f"/api/actions/{action}/undo": {},
        f"/api/warnings/{warning['identifier']}/sign": {},
        f"/api/warnings/{warning['identifier']}/cancel": {},
    }
    for _ in range(16):  # always there, but signed in a quarter of an hour ago
        await world.clock.move(60)
        assert (await world.ask("POST", "/api/session/seen", "dispatcher", json={})).status_code == 200
    for path, body in asked.items():
        answer = await world.ask("POST", path, "dispatcher", json=body)
        assert (answer.status_code, answer.json()["error"]["reason"]) == (401, "prove"), path
    assert (await comment(world, "dispatcher")).status_code == 200, "what moves nothing"
    await world.enter("dispatcher")
    statuses = [
        (await world.ask("POST", path, "dispatcher", json=body)).status_code for path, body in asked.items()
    ]
    assert statuses[0] == statuses[2] == 200
    assert 401 not in statuses


async def test_whoever_wants_it_is_never_asked_again(tmp_path, clock):
    async with world_in(tmp_path, clock, "prove_again_min = 0") as one:
        await take(one.center.desk, transition(0, Change.BEGAN, Severity.RED))
        await one.clock.move(29 * 60)
        run = (await one.ask("GET", f"/api/runs/{transition(0, Change.BEGAN).alarm}", "dispatcher")).json()
        answer = await one.ask(
            "POST", f"/api/actions/{run['actions'][0]['id']}/approve", "dispatcher", json={}
        )
        assert answer.status_code == 200


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ("second_factor = false", r"\$\.people\.second_factor: the profile 'djbh3' wants two factors"),
        ("idle_min = 30", r"\$\.people\.idle_min: 30 is longer than the profile 'djbh3' allows: 15"),
    ],
)
def test_a_profile_cannot_be_loosened_key_by_key(tmp_path, more, words):
    path = tmp_path / "center.toml"
    path.write_text(
        'area = "a"\nbroker = { host = "127.0.0.1" }\ndata = { url = "http://127.0.0.1:1" }\n'
        f'people = {{ profile = "djbh3", {more} }}\n'
    )
    with pytest.raises(ConfigError, match=words):
        load_config(path)
