"""What is proven is tried first, a changed address is proven no more, and no list that nobody kept silences a red alarm."""

import asyncio
import re
import sys
from pathlib import Path

import msgspec
import pytest
import sqlalchemy as sa
from desks import WANG, take
from tellers import SETUP, telling
from test_telling import began, states
from worlds import World

from command_center import audit
from command_center.people import contacts
from command_center.tables import contacts as table
from telemetry.errors import Refused
from telemetry.severity import Severity

RED, ORANGE = Severity.RED, Severity.ORANGE
TWO_WAYS = SETUP.replace("by: [app]}}", "by: [app, sms]}}")
STRICT = TWO_WAYS + "unverified: red_only\n"


@pytest.fixture
async def told(tmp_path, monkeypatch, url, clock):
    async with telling(tmp_path, monkeypatch, url, clock, TWO_WAYS) as one:
        yield one


@pytest.fixture
async def strict(tmp_path, monkeypatch, url, clock):
    async with telling(tmp_path, monkeypatch, url, clock, STRICT) as one:
        yield one


async def proved(told, person, channel):
    """Have a code sent, read it at the vendor as the person would, and enter it."""
    async with told.desk.store.change() as db:
        code, address = await contacts.begin(db, told.setup, person, channel, WANG, told.clock.now)
    await told.teller.prove(person, channel, address, code)
    read = re.search(r"\d{6}", told.got()[-1]["text"])[0]
    async with told.desk.store.change() as db:
        return await contacts.enter(db, told.setup, person, channel, read, WANG, told.clock.now)


async def listed(told, person):
    async with told.desk.store.read() as db:
        found = await contacts.everyone(db, told.setup)
    return {one.channel: one.proven for one in found if one.person == person}


@pytest.mark.parametrize("channel", ["app", "work", "sms", "voice"])
async def test_the_code_that_came_by_a_channel_proves_it_and_no_other(told, channel):
    assert not any((await listed(told, "wang")).values())
    assert await proved(told, "wang", channel)
    assert [one for one, is_proven in (await listed(told, "wang")).items() if is_proven] == [channel]
    async with told.desk.store.read() as db:
        entries = [msgspec.json.decode(body) for (body,) in await db.execute(sa.select(audit.table.c.body))]
    assert [(one["what"], one["target"], one["who"]) for one in entries] == [
        ("contact.code", f"wang/{channel}", "王建国"),
        ("contact.verify", f"wang/{channel}", "王建国"),
    ]


async def test_what_is_proven_is_tried_first_and_the_record_says_which_is(told):
    await proved(told, "wang", "sms")
    before = len(told.got())
    await take(told.desk, began(RED))
    await told.turn()
    assert [one["vendor"] for one in told.got()[before:]] == ["aliyun_sms"]
    [notice, *_] = await told.notices(began().alarm)
    assert (notice["channel"], notice["verified"]) == ("sms", True)


async def test_when_the_proven_one_fails_a_red_alarm_goes_by_the_unproven_one(strict):
    await proved(strict, "wang", "sms")
    strict.vendors.faults["aliyun_sms", "13800000001"] = "isv.MOBILE_NUMBER_ILLEGAL"
    await take(strict.desk, began(RED))
    await strict.turn()
    notices = await strict.notices(began().alarm)
    assert states(notices)[:2] == [("sms", "wang", "failed"), ("app", "wang", "accepted")]
    assert [one["verified"] for one in notices[:2]] == [True, False]


@pytest.mark.parametrize("severity", [RED, ORANGE])
async def test_where_nothing_is_proven_everybody_is_told_as_before(told, severity):
    await take(told.desk, began(severity))
    await told.turn()
    assert states(await told.notices(began().alarm))[0] == ("app", "wang", "accepted")


async def test_red_only_keeps_lower_colours_from_unproven_addresses_and_says_so_but_never_a_red_one(strict):
    await take(strict.desk, began(ORANGE, device="low"))
    await strict.turn()
    assert strict.got() == []
    assert [one["state"] for one in await strict.notices(began(ORANGE, device="low").alarm)] == ["nobody"]
    await take(strict.desk, began(RED))
    await strict.turn()
    assert [one["vendor"] for one in strict.got()] == ["wecom_app"]


async def test_an_address_that_changes_is_proven_no_more(tmp_path, monkeypatch, clock):
    url = f"sqlite+aiosqlite:///{tmp_path}/desk.db"
    async with telling(tmp_path, monkeypatch, url, clock, TWO_WAYS) as told:
        await proved(told, "wang", "sms")
        assert (await listed(told, "wang"))["sms"]
    changed = TWO_WAYS.replace("13800000001", "13800000009")
    async with telling(tmp_path, monkeypatch, url, clock, changed) as told:
        assert not (await listed(told, "wang"))["sms"]


async def test_a_code_is_good_for_ten_minutes_five_tries_and_once(told):
    store, setup, clock = told.desk.store, told.setup, told.clock

    async def begin():
        async with store.change() as db:
            return (await contacts.begin(db, setup, "wang", "sms", WANG, clock.now))[0]

    async def enter(code):
        async with store.change() as db:
            return await contacts.enter(db, setup, "wang", "sms", code, WANG, clock.now)

    code = await begin()
    with pytest.raises(Refused, match="less than a minute"):
        await begin()
    wrong = f"{(int(code) + 1) % 1_000_000:06}"
    for _ in range(contacts.MOST_TRIES):
        assert not await enter(wrong)
    with pytest.raises(Refused, match="no code is good"):
        await enter(code)
    clock.now += contacts.PAUSE_MS
    code = await begin()
    clock.now += contacts.LASTS_MS + 1
    with pytest.raises(Refused, match="no code is good"):
        await enter(code)
    code = await begin()
    assert await enter(f" {code} ")
    with pytest.raises(Refused, match="no code is good"):
        await enter(code)
    async with store.read() as db:
        rows = (await db.execute(sa.select(table))).all()
    assert code not in repr(rows)


@pytest.fixture
async def asked(world, told):
    """The API over a desk that tells people."""
    center = msgspec.structs.replace(world.center, told=told.setup, teller=told.teller)
    one = World(center, world.clock)
    one.cookies = world.cookies
    await one.enter("operator", login="wang", name="王建国")
    one.told = told
    return one


async def test_a_person_proves_his_own_contacts_and_sees_no_others(asked):
    mine = (await asked.ask("GET", "/api/session/contacts", "wang")).json()["contacts"]
    assert {one["person"] for one in mine} == {"wang"}
    assert "13800000001" not in repr(mine), "an ending is enough to know it"
    answer = await asked.ask("POST", "/api/session/contacts/sms/code", "wang")
    assert (answer.status_code, answer.json()["sent"]) == (200, "accepted")
    code = re.search(r"\d{6}", asked.told.got("aliyun_sms")[-1]["text"])[0]
    answer = await asked.ask("POST", "/api/session/contacts/sms/verify", "wang", json={"code": "x"})
    assert (answer.status_code, answer.json()["error"]["zh"]) == (409, "验证码不正确")
    answer = await asked.ask("POST", "/api/session/contacts/sms/verify", "wang", json={"code": code})
    assert {one["channel"]: one["proven"] for one in answer.json()["contacts"]}["sms"] is True
    assert (await asked.ask("POST", "/api/session/contacts/sms/code", "dispatcher")).status_code == 404


async def test_an_admin_vouches_with_a_reason_that_is_kept_and_nobody_else_can(asked):
    path = "/api/contacts/li/voice/vouch"
    assert (await asked.ask("POST", path, "operator", json={"reason": "x"})).status_code == 403
    assert (await asked.ask("POST", path, "security-admin", json={"reason": " "})).status_code == 409
    answer = await asked.ask("POST", path, "security-admin", json={"reason": "当面拨通"})
    [voice] = [c for c in answer.json()["contacts"] if (c["person"], c["channel"]) == ("li", "voice")]
    assert (voice["proven"], voice["by"], voice["reason"]) == (True, "姓名 security-admin", "当面拨通")
    async with asked.center.store.read() as db:
        last = sa.select(audit.table.c.who, audit.table.c.what, audit.table.c.target).order_by(
            audit.table.c.seq.desc()
        )
        assert tuple((await db.execute(last)).first()) == (voice["by"], "contact.vouch", "li/voice")
    assert (
        await asked.ask("POST", "/api/contacts/li/pigeon/vouch", "security-admin", json={"reason": "x"})
    ).status_code == 409


async def test_a_code_that_the_vendor_does_not_take_says_so(asked):
    asked.told.vendors.faults["aliyun_sms", "13800000001"] = "isv.MOBILE_NUMBER_ILLEGAL"
    answer = await asked.ask("POST", "/api/contacts/wang/sms/code", "security-admin")
    assert answer.status_code == 409
    assert "isv.MOBILE_NUMBER_ILLEGAL" in answer.json()["error"]["en"]


async def test_check_lists_whom_no_verified_contact_reaches_and_makes_no_database(
    tmp_path, monkeypatch, clock
):
    url, config = f"sqlite+aiosqlite:///{tmp_path}/desk.db", tmp_path / "center.toml"
    monkeypatch.setenv("FAKE_KEY", "k")
    monkeypatch.setenv("FAKE_SECRET", "s")
    config.write_text(
        f'area = "test"\nbroker = {{ host = "127.0.0.1" }}\ndata = {{ url = "http://127.0.0.1:1" }}\n'
        f'desk = {{ url = "{url}" }}\nnotify = {{ file = "notify.yaml" }}\naudit = {{ key = "audit.key" }}\n',
        "utf-8",
    )

    async def check():
        command = [str(Path(sys.executable).with_name("yemai")), "center", "check", "--config", str(config)]
        process = await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.PIPE, env={"LANG": "en_US.UTF-8", "FAKE_KEY": "k", "FAKE_SECRET": "s"},
        )  # fmt: skip
        out, _ = await process.communicate()
        assert process.returncode == 0
        return out.decode()

    (tmp_path / "notify.yaml").write_text(TWO_WAYS.format(url="http://127.0.0.1:1"), "utf-8")
    assert len(re.findall("没有已核验的联系方式|no verified contact", await check())) == 3
    assert not (tmp_path / "desk.db").exists()
    async with telling(tmp_path, monkeypatch, url, clock, TWO_WAYS) as told:
        await proved(told, "wang", "sms")
        said = await check()
    assert "wang" not in said.splitlines()[1]
    assert len(said.splitlines()) == 3
