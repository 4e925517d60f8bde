"""The dead man's switch: who watches from outside hears a beat only while everything works, and the desk knows when he does not."""

import asyncio
import time
from types import SimpleNamespace

import aiohttp
import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from centers import Feed as IngestsEnd
from centers import start, stop, write_config
from desks import WANG, deed, opened, take
from tellers import telling
from test_center import fed
from test_lifecycle import LIFE
from waiting import wait_until

from command_center import policies
from command_center.channels import webhook
from command_center.config import load_config
from command_center.feed import Feed
from command_center.heartbeat import SILENT_S, Heartbeat
from command_center.tables import notices
from telemetry import topics
from telemetry.codecs import json
from telemetry.errors import ConfigError, Unavailable
from telemetry.transitions import heartbeat

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
BEAT = 'heartbeat = { by = "watch", to = "HOOK", every_s = 60 }\nnotify = { file = "notify.yaml" }\n'
NOTIFY = 'people: {}\npolicies: []\nchannels: {watch: {kind: webhook, secrets: ["env:FAKE_HOOK"], hosts: ["127.0.0.1"], private: true}}\n'
CENTER = 'area = "test"\nbroker = { host = "127.0.0.1" }\ndata = { url = "http://127.0.0.1:1" }\n'


class Watched:
    """A heartbeat, the watcher that hears it, and the feed and desk behind it."""

    def __init__(self, beat, feed, desk, heard, answers):
        self.beat, self.feed, self.desk, self.heard, self.answers = beat, feed, desk, heard, answers


@pytest.fixture
async def watched(tmp_path, monkeypatch, url, clock):
    monkeypatch.setenv("FAKE_HOOK", SECRET)
    monkeypatch.setattr(webhook.Gate, "check", lambda *_: "127.0.0.1")  # it has no certificate
    heard, answers, feed = [], SimpleNamespace(status=204), SimpleNamespace(connected=True, silence=20.0)
    feed.silent_s = lambda: feed.silence

    async def hear(request):
        heard.append((request.headers, await request.read()))
        return web.Response(status=answers.status)

    app = web.Application()
    app.router.add_post("/hook", hear)
    async with TestServer(app) as server, aiohttp.ClientSession() as http, opened(url, clock) as desk:
        (tmp_path / "notify.yaml").write_text(NOTIFY, "utf-8")
        (tmp_path / "center.toml").write_text(
            CENTER + BEAT.replace("HOOK", str(server.make_url("/hook"))), "utf-8"
        )
        config = load_config(tmp_path / "center.toml")
        channel = webhook.Channel(policies.load(config.notify.file).configs["watch"], http)
        yield Watched(Heartbeat(config, channel, desk.store, feed, clock), feed, desk, heard, answers)


async def test_a_beat_is_signed_and_says_whose_it_is_and_how_often_the_next_one_comes(watched):
    assert await watched.beat.beat()
    [(headers, body)] = watched.heard
    stamp = int(headers["webhook-timestamp"])
    assert headers["webhook-signature"] == webhook.sign(SECRET, headers["webhook-id"], stamp, body)
    facts = msgspec.json.decode(body)["facts"]
    assert facts["kind"] == "heartbeat"
    assert (facts["center"], facts["every_s"]) == ("test/center", "60")
    assert abs(stamp - time.time()) < 60


@pytest.mark.parametrize("trouble", ["broker", "silent feed", "no heartbeat yet", "database", "red message"])
async def test_nothing_is_sent_while_something_behind_it_does_not_work(watched, clock, monkeypatch, trouble):
    async def away():
        raise Unavailable("desk: away")

    if trouble == "broker":
        watched.feed.connected = False
    elif trouble == "database":
        monkeypatch.setattr(watched.desk.store, "prove", away)
    elif trouble == "red message":
        row = {
            "id": "n", "alarm": "a", "person": "p", "channel": "c", "state": "pending", "urgent": True, "rank": 4,
            "due_ms": clock.now - 61_000, "created_ms": clock.now - 61_000, "attempts": 0, "body": b"{}",
        }  # fmt: skip
        async with watched.desk.store.change() as db:
            await db.execute(notices.insert().values(**row))
    else:
        watched.feed.silence = None if trouble == "no heartbeat yet" else SILENT_S + 1
    assert not await watched.beat.beat()
    assert watched.heard == []
    await clock.move(SILENT_S + 60)
    assert watched.beat.unheard_s() is None, "it is not the watcher's fault"
    watched.feed.connected, watched.feed.silence = True, 5.0
    monkeypatch.undo()
    async with watched.desk.store.change() as db:
        await db.execute(notices.delete())
    monkeypatch.setenv("FAKE_HOOK", SECRET)
    monkeypatch.setattr(webhook.Gate, "check", lambda *_: "127.0.0.1")
    assert await watched.beat.beat()
    assert watched.beat.unheard_s() == 0


@pytest.fixture
async def telling_too(tmp_path, monkeypatch, url, clock):
    """A desk that tells people, and what of its telling keeps its heartbeat back."""
    async with telling(tmp_path, monkeypatch, url, clock) as told:
        feed = SimpleNamespace(connected=True, silent_s=lambda: 5.0)
        told.trouble = Heartbeat(None, None, told.desk.store, feed, clock)._trouble
        yield told


async def test_steps_that_nobody_turns_into_messages_hold_the_beat_back(telling_too, clock):
    await take(telling_too.desk, LIFE[1])
    await telling_too.turn()
    assert await telling_too.trouble() == ""
    await clock.move(121)
    assert await telling_too.trouble() == "telling: a step is overdue"
    await telling_too.turn()
    assert await telling_too.trouble() == ""


async def test_a_red_message_that_is_being_sent_without_an_end_holds_the_beat_back(telling_too, clock):
    await take(telling_too.desk, LIFE[1])
    async with telling_too.desk.store.change() as db:
        await db.execute(notices.update().values(state="sending", sent_ms=clock.now))
    await clock.move(59)
    assert await telling_too.trouble() == ""
    await clock.move(2)
    assert await telling_too.trouble() == "telling: a red message waits"


@pytest.mark.parametrize("fault", ["http500", "isv.MOBILE_NUMBER_ILLEGAL"])
async def test_a_red_alarm_of_which_every_message_fails_holds_the_beat_back_until_somebody_knows(
    telling_too, fault
):
    telling_too.vendors.faults["wecom_app", "wang"] = "invaliduser"
    for vendor in ("aliyun_sms", "aliyun_voice"):
        telling_too.vendors.faults[vendor, ""] = fault
    await take(telling_too.desk, LIFE[1])
    await telling_too.over(65, step_s=5)
    assert telling_too.got() == []
    assert await telling_too.trouble() == "telling: nobody could be told of a red alarm"
    await telling_too.desk.do(LIFE[1].alarm, deed("acknowledge"), WANG)
    assert await telling_too.trouble() == ""


async def test_one_channel_that_fails_while_somebody_heard_by_another_holds_no_beat_back(telling_too, clock):
    telling_too.vendors.faults["wecom_app", "wang"] = "invaliduser"
    await take(telling_too.desk, LIFE[1])
    await telling_too.turn()
    async with telling_too.desk.store.change() as db:
        later = {"state": "pending", "due_ms": clock.now + 3_600_000}
        await db.execute(notices.update().where(notices.c.state == "failed").values(**later))
    await clock.move(59)
    await telling_too.turn()
    await clock.move(2)
    assert await telling_too.trouble() == ""


async def test_a_watcher_that_refuses_is_counted_by_how_long_he_has_not_heard(watched, clock):
    await watched.beat.beat()
    watched.answers.status = 500
    for _ in range(4):
        await clock.move(60)
        assert not await watched.beat.beat()
    assert watched.beat.unheard_s() == 240
    watched.answers.status = 200
    assert await watched.beat.beat()
    assert watched.beat.unheard_s() == 0


async def test_the_producer_that_is_silent_longest_is_the_one_that_counts(tmp_path, clock):
    (tmp_path / "center.toml").write_text(CENTER, "utf-8")
    feed = Feed(load_config(tmp_path / "center.toml"), None, lambda _: None, clock)
    assert feed.silent_s() is None
    assert feed._is_heartbeat(heartbeat("ingest-1", "b", 1))
    await clock.move(100)
    assert feed._is_heartbeat(heartbeat("ingest-2", "b", 1))
    assert feed.silent_s() == 100


async def test_over_a_real_broker_a_heartbeat_is_heard_and_is_no_alarm(
    tmp_path, mosquitto, unused_tcp_port, http
):
    end, url = IngestsEnd(mosquitto.port), f"http://127.0.0.1:{unused_tcp_port}"
    process = await start(write_config(tmp_path, mosquitto.port, unused_tcp_port))
    running = asyncio.ensure_future(end.run())
    try:
        await wait_until(lambda: fed(http, url), 30, "the centre to be fed")
        await wait_until(lambda: end.client is not None)
        beat = heartbeat("ingest-1", "feed-boot", 1)
        await end.client.publish(topics.alarm("test", beat.transition.alarm), json.encode(beat), 1)
        await end.tell(1, LIFE[0])
        await wait_until(lambda: 1 in end.acked, 10)
        async with http.get(f"{url}/api/alarms?state=all") as answer:
            assert [one["rule"] for one in await answer.json()] == ["r"]
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await stop(process)


@pytest.mark.parametrize(
    ("beat", "problem"),
    [
        ('by = "wach", to = "https://a.example/x"', r"\$\.heartbeat\.by: no channel 'wach'.*did you mean 'watch'"),
        ('by = "watch"', r"\$\.heartbeat\.to: where to\?"),
        ('by = "watch", to = "https://a.example/x", every_s = 5', r"\$\.heartbeat\.every_s: 5 is not between 10 and 3600"),
    ],
)  # fmt: skip
def test_a_heartbeat_that_cannot_be_is_refused_with_its_place(tmp_path, monkeypatch, beat, problem):
    monkeypatch.setenv("FAKE_HOOK", SECRET)
    (tmp_path / "notify.yaml").write_text(NOTIFY, "utf-8")
    path = tmp_path / "center.toml"
    path.write_text(f'{CENTER}heartbeat = {{ {beat} }}\nnotify = {{ file = "notify.yaml" }}\n', "utf-8")
    with pytest.raises(ConfigError, match=problem):
        load_config(path)
