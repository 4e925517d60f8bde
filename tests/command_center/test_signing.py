"""Enrolling and signing in: links that are good once, codes that are good once, guesses that have to wait, sessions that end."""

import asyncio
import re

import pyotp
import pytest
import sqlalchemy as sa
from centers import write_config
from persons import signed_in
from test_center import yemai

from command_center import audit
from command_center.api import make_api
from command_center.config import load_config
from command_center.people import links, users
from command_center.people.lockout import FREE
from command_center.people.passwords import judge
from command_center.people.sessions import hash_of
from command_center.people.totp import match
from command_center.store import Store
from command_center.tables import failures, sessions
from command_center.tables import users as users_table
from telemetry.clock import SystemClock
from telemetry.errors import ConfigError, Refused

GOOD = "七月流火 correct-horse 91"
WRONG = {"zh": "登录名、密码或动态码不正确", "en": "the login, the password or the code is wrong"}


def code_of(secret, clock):
    return pyotp.TOTP(secret).at(clock.now_ms() // 1000)


async def invite(world, login="zhao", name="赵敏", roles=("operator",)):
    """Have the security admin add somebody; return the token of the link."""
    body = {"login": login, "name": name, "roles": list(roles)}
    told = (await world.ask("POST", "/api/people", "security-admin", json=body)).json()
    return re.fullmatch(r"http://127\.0\.0\.1:8686/#enrol=(\S+)", told["link"])[1]


async def enrol(world, login="zhao", name="赵敏", roles=("operator",)):
    """Enrol somebody; return the secret for his codes."""
    token = await invite(world, login, name, roles)
    opened = (await world.ask("POST", "/api/enrolment/open", json={"token": token})).json()
    body = {"token": token, "password": GOOD, "code": code_of(opened["secret"], world.clock)}
    answer = await world.ask("POST", "/api/enrolment", json=body)
    assert answer.status_code == 200, answer.text
    return opened["secret"]


async def sign_in(world, login="zhao", password=GOOD, code=""):
    body = {"login": login, "password": password, "code": code}
    return await world.ask("POST", "/api/session", json=body)


async def trail(world, *what):
    async with world.center.store.read() as db:
        entries = await audit.read(db, limit=1000)
    return [one for one in reversed(entries) if one["what"] in what]


async def test_the_first_security_admin_enrols_by_a_link_that_is_good_once_and_only_while_nobody_is_there(
    world,
):
    store = world.center.store
    async with store.change() as db:
        stale = await links.issue(db, "first", "", world.clock.now_ms())
    body = {"token": stale, "password": GOOD, "code": "", "login": "eve", "name": "Eve"}
    assert (await world.ask("POST", "/api/enrolment", json=body)).status_code == 409, (
        "somebody is there already"
    )
    async with store.change() as db:
        await db.execute(users_table.delete())
        token = await links.issue(db, "first", "", world.clock.now_ms())
    assert (await world.ask("GET", "/api/session")).json()["first"] is True
    opened = (await world.ask("POST", "/api/enrolment/open", json={"token": token})).json()
    assert (opened["first"], opened["picture"][:4]) == (True, "<svg")
    again = (await world.ask("POST", "/api/enrolment/open", json={"token": token})).json()
    assert again["secret"] == opened["secret"], "a page loaded twice shows the same"
    body = {"token": token, "password": GOOD, "code": "000000", "login": "admin", "name": "安全管理员"}
    answer = await world.ask("POST", "/api/enrolment", json=body)
    assert (answer.status_code, answer.json()["error"]["zh"]) == (409, "动态码不正确，请核对手机时间")
    body["code"] = code_of(opened["secret"], world.clock)
    answer = await world.ask("POST", "/api/enrolment", json=body)
    assert answer.status_code == 200
    assert re.search(
        r"yemai=\S{43}; HttpOnly; Max-Age=43200; Path=/; SameSite=strict", answer.headers["set-cookie"]
    )
    assert (await world.ask("POST", "/api/enrolment", json=body)).status_code == 409, "once"
    assert [(one["who"], one["target"]) for one in await trail(world, "person.enrol")] == [
        ("安全管理员", "admin")
    ]
    async with store.read() as db:
        assert (await users.find(db, "admin")).roles == ("security_admin",)


async def test_a_link_runs_out_and_a_newer_one_voids_it(world):
    token = await invite(world)
    newer = (await world.ask("POST", "/api/people/zhao/link", "security-admin", json={})).json()["link"]
    assert (await world.ask("POST", "/api/enrolment/open", json={"token": token})).status_code == 409
    newer = newer.partition("=")[2]
    assert (await world.ask("POST", "/api/enrolment/open", json={"token": newer})).status_code == 200
    world.clock.now += links.LASTS_MS["enrol"] + 1
    assert (await world.ask("POST", "/api/enrolment/open", json={"token": newer})).status_code == 409


async def test_password_and_code_sign_in_and_a_code_is_good_once_even_for_two_at_once(world):
    secret = await enrol(world)
    spent = code_of(secret, world.clock)
    assert (await sign_in(world, code=spent)).status_code == 401, "it was used to enrol"
    await world.clock.move(60)
    code = code_of(secret, world.clock)
    for wrong in (
        {"password": GOOD + "x", "code": code},
        {"code": ""},
        {"login": "nobody", "code": code},
    ):
        answer = await sign_in(world, **wrong)
        assert (answer.status_code, answer.json()["error"]) == (401, WRONG), "whatever was wrong"
    answers = await asyncio.gather(sign_in(world, code=code), sign_in(world, code=code))
    assert sorted(answer.status_code for answer in answers) == [200, 401]


def test_a_code_is_good_half_a_minute_before_and_after_and_never_again():
    secret, at = pyotp.random_base32(), 1_764_000_015_000
    step = at // 30_000
    codes = {n: pyotp.HOTP(secret).at(step + n) for n in (-2, -1, 0, 1, 2)}
    assert [match(secret, codes[n], at, 0) for n in codes] == [None, step - 1, step, step + 1, None]
    assert match(secret, codes[0], at, step) is None
    assert match(secret, codes[-1], at, step) is None, "an older one than was used"


async def test_who_guesses_waits_longer_each_time_and_many_at_once_gain_nothing(world):
    secret = await enrol(world)
    answers = await asyncio.gather(*(sign_in(world, password=f"guess {n} of many") for n in range(12)))
    assert sorted(answer.status_code for answer in answers) == [401] * FREE["login"] + [429] * 7
    await world.clock.move(29)
    late = await sign_in(world, code=code_of(secret, world.clock))
    assert (late.status_code, late.headers["retry-after"]) == (429, "1"), "the right one waits as well"
    await world.clock.move(2)
    assert (await sign_in(world, password="guess after the wait")).status_code == 401
    assert (await sign_in(world)).headers["retry-after"] == "60"
    await world.clock.move(61)
    assert (await sign_in(world, code=code_of(secret, world.clock))).status_code == 200
    async with world.center.store.read() as db:
        assert (await db.execute(sa.select(failures).where(failures.c.key == "login:zhao"))).first() is None
    refused = [one for one in await trail(world, "session.begin") if one["result"] == "refused"]
    assert len(refused) == FREE["login"] + 1
    assert {(one["who"], one["target"]) for one in refused} == {("nobody", "zhao")}


async def test_an_address_that_tries_many_logins_waits_and_logins_that_do_not_exist_are_not_written_down(
    world,
):
    for n in range(FREE["address"]):
        assert (await sign_in(world, login=f"my secret password {n}", password="x")).status_code == 401
    answer = await sign_in(world, login="zhao", password="x")
    assert (answer.status_code, answer.json()["error"]["zh"]) == (429, "尝试次数过多，请 30 秒后再试")
    tried = await trail(world, "session.begin")
    assert {one["target"] for one in tried} == {"nobody"}
    assert "my secret password" not in str(tried)


@pytest.mark.parametrize(
    "password",
    [
        "short1!",
        "1234567890",
        "password2024",
        "qwertyuiop12",
        "aaaaaaaaaaaa",
        "zhaomin1990",
        "yemaiyemai",
        "P@ssw0rd123",
        "x" * 129,
    ],
)
def test_a_password_that_is_short_common_or_soon_guessed_is_refused(password):
    with pytest.raises(Refused, match=r"^password: "):
        judge(password, "zhao", "zhaomin")


@pytest.mark.parametrize("password", [GOOD, "correct horse battery staple", "叶集区的路灯每晚七点亮"])
def test_a_long_password_needs_no_kinds_of_characters(password):
    judge(password, "zhao", "赵敏")


async def test_who_is_away_may_look_on_and_signs_in_again_to_do_something(world):
    assert (await world.ask("POST", "/api/session/seen", "operator", json={})).status_code == 200
    world.clock.now += 29 * 60_000
    assert (await world.ask("POST", "/api/session/seen", "operator", json={})).status_code == 200
    world.clock.now += 31 * 60_000
    assert (await world.ask("GET", "/api/alarms", "operator")).status_code == 200
    answer = await world.ask("POST", "/api/alarms/acknowledge", "operator", json={"alarms": [{"id": "x"}]})
    assert (answer.status_code, answer.json()["error"]["reason"]) == (401, "idle")
    assert (await world.ask("GET", "/api/audit", "auditor")).status_code == 401, (
        "nor may he read what others did"
    )


async def test_who_signs_in_again_gets_another_session_and_the_old_one_is_over(world):
    secret = await enrol(world)
    await world.clock.move(60)
    world.cookies["zhao"] = (
        (await sign_in(world, code=code_of(secret, world.clock))).headers["set-cookie"].split(";")[0]
    )
    await world.clock.move(60)
    body = {"login": "zhao", "password": GOOD, "code": code_of(secret, world.clock)}
    again = await world.ask("POST", "/api/session", "zhao", json=body)
    assert again.status_code == 200
    assert (await world.ask("GET", "/api/alarms", "zhao")).status_code == 401
    world.cookies["zhao"] = again.headers["set-cookie"].split(";")[0]
    proxied = {"Authorization": "Basic dXNlcjpwcm94eQ==", "Sec-Fetch-Site": "same-origin"}
    assert (await world.ask("GET", "/api/alarms", "zhao", headers=proxied)).status_code == 200


async def test_a_session_ends_by_its_time_by_its_owner_by_the_admin_and_with_its_person(world):
    await world.enter("operator", login="zhao", name="赵敏")
    first = world.cookies["zhao"]
    await world.enter("operator", login="zhao", name="赵敏")
    mine = (await world.ask("GET", "/api/sessions", "zhao")).json()
    [other] = [one["id"] for one in mine if not one["here"]]
    assert (await world.ask("POST", f"/api/sessions/{other}/end", "operator", json={})).status_code == 404, (
        "not his"
    )
    left = (await world.ask("POST", f"/api/sessions/{other}/end", "zhao", json={})).json()
    assert [one["here"] for one in left] == [True]
    second, world.cookies["zhao"] = world.cookies["zhao"], first
    assert (await world.ask("GET", "/api/alarms", "zhao")).status_code == 401
    world.cookies["zhao"] = second
    for deed, status in (("end", 401), ("disable", 401)):
        await world.enter("operator", login="zhao", name="赵敏")
        assert (await world.ask("GET", "/api/alarms", "zhao")).status_code == 200
        assert (
            await world.ask("POST", f"/api/people/zhao/{deed}", "security-admin", json={})
        ).status_code == 200
        assert (await world.ask("GET", "/api/alarms", "zhao")).status_code == status
    world.clock.now += 10**9
    assert (await world.ask("GET", "/api/alarms", "operator")).status_code == 401, "a day is the longest here"
    ended = await trail(world, "session.end", "session.end_all", "person.disable")
    assert [one["what"] for one in ended] == ["session.end", "session.end_all", "person.disable"]


async def test_a_reset_voids_password_code_and_sessions(world):
    secret = await enrol(world)
    await world.clock.move(60)
    answer = await sign_in(world, code=code_of(secret, world.clock))
    world.cookies["zhao"] = answer.headers["set-cookie"].split(";")[0]
    assert (await world.ask("GET", "/api/alarms", "zhao")).status_code == 200
    assert (await world.ask("POST", "/api/people/zhao/link", "security-admin", json={})).status_code == 200
    assert (await world.ask("GET", "/api/alarms", "zhao")).status_code == 401
    await world.clock.move(60)
    assert (await sign_in(world, code=code_of(secret, world.clock))).status_code == 401


async def test_a_new_password_needs_the_old_one_and_ends_the_sessions(world):
    secret = await enrol(world)
    await world.clock.move(60)
    answer = await sign_in(world, code=code_of(secret, world.clock))
    world.cookies["zhao"] = answer.headers["set-cookie"].split(";")[0]
    fresh = "another 七月 long one"
    wrong = await world.ask("POST", "/api/password", "zhao", json={"old": "x", "new": fresh})
    assert (wrong.status_code, wrong.json()["error"]["zh"]) == (403, "原密码不正确")
    weak = await world.ask("POST", "/api/password", "zhao", json={"old": GOOD, "new": "1234567890"})
    assert weak.status_code == 409
    assert (
        await world.ask("POST", "/api/password", "zhao", json={"old": GOOD, "new": fresh})
    ).status_code == 200
    assert (await world.ask("GET", "/api/alarms", "zhao")).status_code == 401
    await world.clock.move(60)
    assert (await sign_in(world, password=fresh, code=code_of(secret, world.clock))).status_code == 200
    assert [one["result"] for one in await trail(world, "person.password")] == ["refused", "done"]


async def test_rights_change_at_once_but_never_ones_own_nor_the_last_admin_nor_both_offices(world):
    def change(login, roles):
        return world.ask(
            "POST", f"/api/people/{login}/rights", "security-admin", json={"roles": roles, "areas": []}
        )

    assert (await change("operator", ["auditor"])).status_code == 200
    assert (
        await world.ask("POST", "/api/alarms/acknowledge", "operator", json={"alarms": [{"id": "x"}]})
    ).status_code == 403
    assert (await world.ask("GET", "/api/audit", "operator")).status_code == 200
    for login, roles, zh in (
        ("operator", ["auditor", "security_admin"], "角色有误：至少一个；审计员不能兼任安全管理员"),
        ("operator", [], "角色有误：至少一个；审计员不能兼任安全管理员"),
        ("operator", ["wall"], "角色有误：至少一个；审计员不能兼任安全管理员"),
        ("security-admin", ["dispatcher"], "不能更改自己的权限，须由另一位安全管理员操作"),
    ):
        answer = await change(login, roles)
        assert (answer.status_code, answer.json()["error"]["zh"]) == (409, zh)
    await world.enter("security_admin", login="second", name="第二位")
    gone = await world.ask("POST", "/api/people/security-admin/disable", "second", json={})
    assert gone.status_code == 200
    async with world.center.store.change() as db:
        with pytest.raises(Refused, match="the last security admin stays"):
            await users.change(db, "second", audit.Act("console"), 0, "person.disable", active=False)
    [entry] = await trail(world, "person.rights")
    assert (entry["before"]["roles"], entry["after"]["roles"]) == (["operator"], ["auditor"])


async def test_a_wall_opens_by_a_link_once_looks_on_for_ninety_days_and_can_be_ended(world):
    told = (await world.ask("POST", "/api/walls", "security-admin", json={"name": "三楼大厅"})).json()
    token = told["link"].partition("#enter=")[2]
    answer = await world.ask("POST", "/api/session/link", json={"token": token})
    assert "Max-Age=7776000" in answer.headers["set-cookie"]
    assert (await world.ask("POST", "/api/session/link", json={"token": token})).status_code == 409
    world.cookies["new"] = answer.headers["set-cookie"].split(";")[0]
    world.clock.now += 89 * 86_400_000
    assert (await world.ask("GET", "/api/overview", "new")).status_code == 200
    assert (
        await world.ask("POST", "/api/alarms/acknowledge", "new", json={"alarms": [{"id": "x"}]})
    ).status_code == 403
    await world.enter("security_admin")
    walls = (await world.ask("GET", "/api/people", "security-admin")).json()["walls"]
    [here] = [one for one in walls if one["login"] == "wall:三楼大厅"]
    assert (
        await world.ask("POST", f"/api/walls/{here['id']}/end", "security-admin", json={})
    ).status_code == 200
    assert (await world.ask("GET", "/api/overview", "new")).status_code == 401
    assert [one["what"] for one in await trail(world, "wall.add", "wall.end")] == ["wall.add", "wall.end"]


async def test_no_password_code_key_or_token_stands_in_any_table_in_the_clear_nor_in_the_trail(world):
    secret = await enrol(world)
    await world.clock.move(60)
    answer = await sign_in(world, code=code_of(secret, world.clock))
    key = answer.cookies["yemai"]
    async with world.center.store.read() as db:
        entries = str(await audit.read(db, limit=1000))
        kept = str((await db.execute(sa.select(sessions))).all())
        people = str((await db.execute(sa.select(users_table))).all())
    assert not any(word in entries for word in (GOOD, secret, key, "argon2"))
    assert key not in kept
    assert GOOD not in people
    assert "$argon2id$v=19$m=65536,t=3,p=4$" in people
    told = (await world.ask("GET", "/api/people", "security-admin")).text
    assert not any(word in told for word in (secret, key, "argon2"))


async def test_over_https_the_cookie_belongs_to_its_host_alone(world):
    gate = world.center.gate
    gate.secure, gate.cookie = True, "__Host-yemai"
    world.api = make_api(world.center)
    async with world.center.store.change() as db:
        token = await links.issue(db, "enter", "operator", world.clock.now_ms())
    answer = await world.ask("POST", "/api/session/link", json={"token": token})
    cookie = answer.headers["set-cookie"]
    assert re.fullmatch(
        r"__Host-yemai=\S{43}; HttpOnly; Max-Age=43200; Path=/; SameSite=strict; Secure", cookie
    )
    assert answer.headers["strict-transport-security"].startswith("max-age=31536000")


async def test_the_machines_owner_prints_links_and_keys_and_mistakes_are_a_sentence(tmp_path):
    config = ("--config", str(write_config(tmp_path, 1, 8686)))
    code, out, _ = await yemai("center", "link", *config)
    assert (code, bool(re.fullmatch(r"http://127\.0\.0\.1:8686/#enrol=\S{43}\n", out))) == (0, True)
    async with signed_in(tmp_path, "wang", "王建国", "operator"):
        pass
    assert await yemai("center", "link", *config, "--login", "wnag") == (
        2, "", "yemai: there is nobody 'wnag'; did you mean 'wang'?\n",
    )  # fmt: skip
    code, out, _ = await yemai("center", "link", *config, "--login", "wang")
    async with Store(f"sqlite+aiosqlite:///{tmp_path}/desk.db") as store, store.change() as db:
        link = await links.find(db, out.strip().partition("=")[2], SystemClock().now_ms(), "enrol")
        assert link.login == "wang"
        assert (await users.find(db, "wang")).password == "", "reset"
    code, out, said = await yemai(
        "center", "key", "--name", "board", "--right", "read", "--right", "figures.read"
    )
    secret = said.split()[-1]
    file = tmp_path / "with-key.toml"
    file.write_text('area = "a"\nbroker = { host = "h" }\ndata = { url = "http://x" }\n' + out, "utf-8")
    [key] = load_config(file).people.keys
    assert (code, key.sha256, key.rights) == (0, hash_of(secret), ("read", "figures.read"))
    file.write_text(file.read_text("utf-8").replace('"figures.read"', '"action.approve"'), "utf-8")
    with pytest.raises(ConfigError, match="for people only, no key may hold it"):
        load_config(file)
