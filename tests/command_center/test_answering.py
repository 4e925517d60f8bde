"""A message's link acknowledges as its person, once, by pressing; looking at it does nothing, and nobody gains a right by it."""

import asyncio
import email
import re

import msgspec
import pytest
import sqlalchemy as sa
from desks import WANG, deed, take
from persons import MADE_BY
from tellers import SETUP, telling
from test_lifecycle import transition
from test_telling import began
from worlds import World

from command_center import audit
from command_center.channel import Message, written
from command_center.channels import email as mail
from command_center.people import answering, users
from command_center.people.users import User
from command_center.tables import answer_links as table
from telemetry.severity import Severity
from telemetry.transitions import Change

RED = Severity.RED
PAGE = "https://desk.example"
LINK = re.compile(r"https://desk\.example/answer\.html#(\S+)")


@pytest.fixture
async def told(tmp_path, monkeypatch, url, clock):
    async with telling(tmp_path, monkeypatch, url, clock, SETUP) as one:
        one.teller._letters._page = PAGE
        yield one


@pytest.fixture
async def asked(world, told):
    """The API over a desk that tells people, of which 王建国 has an account as an operator."""
    center = msgspec.structs.replace(world.center, told=told.setup, teller=told.teller, desk=told.desk, store=told.desk.store)  # fmt: skip
    one = World(center, world.clock)
    async with told.desk.store.change() as db:
        await users.add(db, User("wang", "王建国", ("operator",)), MADE_BY, told.clock.now)
    one.told = told
    return one


async def token_of(asked, **more):
    await take(asked.told.desk, began(RED, **more))
    await asked.told.turn()
    return LINK.search(asked.told.got("wecom_app")[-1]["text"])[1]


async def press(asked, token, path="/api/answers", seen=None, **more):
    return await asked.ask("POST", path, json={"token": token, "seen": seen}, **more)


async def acknowledged_by(asked, **more):
    found, _ = await asked.told.desk.alarm(began(RED, **more).alarm)
    return found.acknowledged_by


async def entries(asked):
    async with asked.told.desk.store.read() as db:
        bodies = await db.execute(sa.select(audit.table.c.body).order_by(audit.table.c.seq))
        return [msgspec.json.decode(body) for (body,) in bodies]


async def test_pressing_acknowledges_as_the_person_it_was_sent_to_and_ends_the_chain(asked):
    token = await token_of(asked)
    shown = (await press(asked, token, "/api/answers/open")).json()
    assert (shown["name"], shown["severity"], shown["acknowledged_by"]) == ("王建国", "red", None)
    answer = await press(asked, token)
    assert (answer.status_code, answer.json()["acknowledged_by"]) == (200, "王建国")
    last = (await entries(asked))[-1]
    assert (last["who"], last["what"], last["result"]) == ("王建国", "alarm.acknowledge", "done")
    assert last["after"]["text"] == "链接确认 · app"
    before = len(asked.told.got())
    await asked.told.over(200, step_s=50)
    assert len(asked.told.got()) == before
    [notice, *_] = await asked.told.notices(began(RED).alarm)
    assert notice["state"] == "acknowledged"


async def test_looking_at_it_acknowledges_nothing_however_often(asked):
    token = await token_of(asked)
    for _ in range(3):
        for method in ("GET", "HEAD"):
            for path in ("/answer.html", f"/answer.html?token={token}", "/api/answers", f"/api/answers?token={token}"):  # fmt: skip
                await asked.ask(method, path)
        assert (await press(asked, token, "/api/answers/open")).status_code == 200
    assert await acknowledged_by(asked) is None
    assert (await asked.ask("GET", "/api/answers")).status_code == 404, "there is nothing to get"
    assert (await press(asked, token)).status_code == 200


async def test_it_is_good_once_also_for_two_who_press_together_and_not_after_it_was_taken_back(asked):
    token = await token_of(asked)
    both = await asyncio.gather(press(asked, token), press(asked, token))
    assert sorted(one.status_code for one in both) == [200, 409]
    await asked.told.desk.do(began(RED).alarm, deed("take_back"), WANG)
    answer = await press(asked, token)
    assert (answer.status_code, "链接已失效" in answer.json()["error"]["zh"]) == (409, True)
    assert await acknowledged_by(asked) is None


async def test_using_one_uses_up_the_others_for_the_same_alarm_and_no_other_alarms(asked):
    first = await token_of(asked)
    other = await token_of(asked, device="e")
    async with asked.told.desk.store.change() as db:
        link = answering.Link("n2", began(RED).alarm, "wang", "work")
        second, row = answering.made(link, asked.told.clock.now)
        await answering.keep(db, [row], asked.told.clock.now)
    assert (await press(asked, second)).status_code == 200
    assert (await press(asked, first)).status_code == 409
    assert (await press(asked, other)).status_code == 200


async def test_it_expires_after_a_day(asked):
    token = await token_of(asked)
    asked.told.clock.now += answering.LASTS_MS
    for path in ("/api/answers/open", "/api/answers"):
        assert (await press(asked, token, path)).status_code == 409
    assert await acknowledged_by(asked) is None


@pytest.mark.parametrize("token", ["", "x", "x" * 128, "' OR 1=1 --"])
async def test_a_link_that_was_made_up_is_good_for_nothing(asked, token):
    await token_of(asked)
    assert (await press(asked, token)).status_code in {409, 422}


@pytest.mark.parametrize(
    "fields", [{"active": False}, {"roles": ("engineer",)}, {"areas": ("south",)}], ids=["disabled", "role", "areas"]
)  # fmt: skip
async def test_who_has_lost_the_right_since_is_refused_and_the_attempt_is_kept(asked, fields):
    token = await token_of(asked)
    async with asked.told.desk.store.change() as db:
        await users.change(db, "wang", MADE_BY, asked.told.clock.now, "person.rights", **fields)
    answer = await press(asked, token)
    assert answer.status_code == 403
    assert await acknowledged_by(asked) is None
    last = (await entries(asked))[-1]
    assert (last["who"], last["what"], last["result"]) == ("王建国", "alarm.acknowledge", "refused")


async def test_what_turned_worse_since_it_was_looked_at_wants_another_look(asked):
    token = await token_of(asked)
    answer = await press(asked, token, seen="orange")
    assert (answer.status_code, answer.json()["error"]["zh"]) == (409, "告警已升级，请重新查看后再确认")
    assert await acknowledged_by(asked) is None
    assert (await press(asked, token, seen="red")).status_code == 200, "it is not used up by that"


async def test_while_nobody_knows_where_a_device_is_it_says_so_and_not_that_it_lies_elsewhere(asked):
    token = await token_of(asked)
    async with asked.told.desk.store.change() as db:
        await users.change(db, "wang", MADE_BY, asked.told.clock.now, "person.rights", areas=("south",))
    asked.center.data.devices = {}
    kept = len(await entries(asked))
    for path in ("/api/answers/open", "/api/answers"):
        answer = await press(asked, token, path)
        assert (answer.status_code, answer.json()["error"]["reason"]) == (503, "registry")
    assert len(await entries(asked)) == kept, "nobody was refused"


async def test_another_sites_page_cannot_press(asked):
    token = await token_of(asked)
    answer = await press(
        asked, token, headers={"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}
    )
    assert answer.status_code == 403
    assert await acknowledged_by(asked) is None


async def test_who_has_no_account_and_rooms_get_the_page_where_one_signs_in(
    tmp_path, monkeypatch, url, clock
):
    rooms = SETUP.replace("tell: [duty], by: [app]", "tell: [duty, room], by: [app, robot, feishu, ding]")
    async with telling(tmp_path, monkeypatch, url, clock, rooms) as told:
        told.teller._letters._page = PAGE
        async with told.desk.store.change() as db:
            await users.add(db, User("room", "值班群", ("operator",)), MADE_BY, clock.now)
        await take(told.desk, transition(0, Change.BEGAN, Severity.ORANGE))
        await told.turn()
        texts = {one["vendor"]: one["text"] for one in told.got()}
        assert set(texts) == {"wecom_app", "wecom_robot"}
        for text in texts.values():
            assert text.endswith("指挥中心: https://desk.example/")


async def test_where_links_are_switched_off_messages_lead_to_the_page(tmp_path, monkeypatch, url, clock):
    async with telling(tmp_path, monkeypatch, url, clock, SETUP + "answer_links: false\n") as told:
        told.teller._letters._page = PAGE
        async with told.desk.store.change() as db:
            await users.add(db, User("wang", "王建国", ("operator",)), MADE_BY, clock.now)
        await take(told.desk, began(RED))
        await told.turn()
        assert told.got("wecom_app")[0]["text"].endswith("指挥中心: https://desk.example/")


async def test_the_link_is_kept_as_a_hash_and_in_no_row_once_the_message_is_out(asked):
    token = await token_of(asked)
    from command_center.tables import notices

    async with asked.told.desk.store.read() as db:
        rows = [*(await db.execute(sa.select(notices))).all(), *(await db.execute(sa.select(table))).all()]
    assert len(rows) >= 2
    assert token not in repr(rows)


async def test_a_stop_in_between_sends_the_same_link_again(told):
    async with told.desk.store.change() as db:
        await users.add(db, User("wang", "王建国", ("operator",)), MADE_BY, told.clock.now)
    told.vendors.faults["wecom_app", "wang"] = "-1"
    await take(told.desk, began(Severity.ORANGE))
    await told.turn()
    async with told.desk.store.read() as db:
        assert (await db.execute(sa.select(sa.func.count()).select_from(table))).scalar() == 1
    told.vendors.faults.clear()
    await told.over(10)
    assert len(told.got("wecom_app")) == 1
    async with told.desk.store.read() as db:
        assert (await db.execute(sa.select(sa.func.count()).select_from(table))).scalar() == 1


def test_however_long_the_text_the_link_is_whole():
    message = Message(
        "i", "题" * 400, "警" * 4000, urgent=True, link="确认: https://desk.example/answer.html#" + "t" * 43
    )
    for most in (2048, 4096, 20_000):
        text = written(message, most)
        assert len(text.encode()) <= most
        assert text.endswith("\n" + message.link)
    assert written(msgspec.structs.replace(message, link=""), 2048).endswith("…")


async def smtp(reader, writer):
    """Take one mail as RFC 5321 has it, and keep it on the server."""
    says = {b"EHLO": b"250 mail.example", b"DATA": b"354 go on", b"QUIT": b"221 bye"}
    writer.write(b"220 mail.example\r\n")
    while line := await reader.readline():
        writer.write(says.get(line[:4].upper(), b"250 ok") + b"\r\n")
        if line[:4].upper() == b"DATA":
            smtp.got = (await reader.readuntil(b"\r\n.\r\n"))[:-3]
            writer.write(b"250 taken\r\n")
    writer.close()


async def test_a_mail_carries_it():
    link = "确认: https://desk.example/answer.html#t"
    server = await asyncio.start_server(smtp, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    channel = mail.Channel(mail.Config("127.0.0.1", "desk@example.org", port, "none"), None)
    message = Message("a/1", "题", "文", urgent=True, link=link)
    assert (await channel.send(message, "wang@example.org")).outcome == "accepted"
    server.close()
    text = email.message_from_bytes(smtp.got).get_payload(decode=True).decode().replace("\r\n", "\n")
    assert text == f"文\n{link}\n"
