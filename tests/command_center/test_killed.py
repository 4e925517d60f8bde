"""The centre killed at random points: notices are committed with their alarms, so nobody is left untold or told twice.

Twenty kills in the suite, a thousand under ``make soak`` (ten minutes).  Each point falls somewhere between news on the
feed and the last receipt of what follows from it.
"""

import asyncio
import contextlib
import json
import os
import random
import sqlite3
import sys
from collections import Counter
from pathlib import Path

import aiomqtt
import pytest
from aiohttp.test_utils import TestServer
from centers import Feed, write_config
from test_lifecycle import T0, transition
from waiting import wait_until

from simulators.vendors import KEY, SECRET, Vendors
from telemetry.severity import Severity
from telemetry.transitions import Change

SOAK = bool(os.environ.get("SOAK"))
KILLS = int(os.environ.get("KILLS", "1000" if SOAK else "20"))
PEOPLE = 40
AT_A_POINT = 1 if SOAK else 2
LONGEST_S = 0.3
"""After so long everything that follows from an alarm has long been done."""


def setup(vendors_url, broker_port):
    """Everybody has a rule of his own, is told by WeCom, and the board beside him by MQTT; a second step follows."""
    people = {"board": {"name": {"zh": "屏", "en": "Board"}, "reach": {"bus": "told"}}}
    policies = []
    for n in range(PEOPLE):
        people[f"p{n}"] = {"name": {"zh": f"值班{n}", "en": f"P{n}"}, "reach": {"app": f"p{n}"}}
        steps = [
            {"tell": [f"p{n}"], "by": ["app"]},
            {"tell": ["board"], "by": ["bus"]},
            {"tell": ["board"], "by": ["bus"], "after_s": 0.1},
        ]
        policies.append({"name": f"r{n}", "match": {"rule": [f"r{n}"]}, "steps": steps})
    app = {
        "kind": "wecom_app", "corp_id": "c", "agent_id": 1, "secret": "env:FAKE_SECRET", "url": vendors_url,
    }  # fmt: skip
    bus = {"kind": "mqtt", "broker": {"host": "127.0.0.1", "port": broker_port}}
    channels = {"app": app, "bus": bus}
    return {"people": people, "channels": channels, "policies": policies, "single_most": 10**6}


class Seedbed:
    """Starts and kills the centre."""

    def __init__(self, folder, config):
        self._folder, self._config, self._process = folder, config, None

    async def __aenter__(self):
        with (self._folder / "center.log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, str(Path(__file__).with_name("seedbed.py")), str(self._config),
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=log,
                env={**os.environ, "PYTHONPATH": str(Path.cwd())},
            )  # fmt: skip
        return self

    async def __aexit__(self, *_):
        self._process.stdin.close()
        await self._process.wait()

    async def say(self, word):
        self._process.stdin.write(word.encode() + b"\n")
        return (await asyncio.wait_for(self._process.stdout.readline(), 20)).decode().strip()


class Killed:
    """Everything around a centre that is killed again and again."""

    def __init__(self, folder, feed, vendors, url, http):
        self.feed, self.vendors, self.url, self.http = feed, vendors, url, http
        self.database = folder / "desk.db"
        self.news, self.heard, self.sending = {}, Counter(), Counter()

    def tell_of(self, number):
        """The alarm of a number begins; the one five before it ends."""
        rule, device = f"r{number % PEOPLE}", f"d{number}x"
        began = T0 + number * 1000
        life = [transition(0, Change.BEGAN, Severity.RED, device=device, rule=rule, began=began)]
        if number > 5:
            rule, device = f"r{(number - 5) % PEOPLE}", f"d{number - 5}x"
            life.append(
                transition(1, Change.ENDED, Severity.RED, device=device, rule=rule, began=began - 5000)
            )
        return life

    async def tell(self, *life):
        for one in life:
            seq = len(self.news) + 1
            self.news[seq] = one
            await self.feed.tell(seq, one)

    async def again(self):
        """Ingest's outbox sends what nobody acknowledged, in its order."""
        for seq in sorted(set(self.news) - self.feed.acked):
            await self.feed.tell(seq, self.news[seq])

    async def fed(self):
        with contextlib.suppress(Exception):
            async with self.http.get(f"{self.url}/api/health/ready") as answer:
                return (await answer.json())["broker"]

    def examine(self):
        """What stands on the disk of a dead centre: all that was acknowledged, and each alarm with all that follows."""
        with contextlib.closing(sqlite3.connect(self.database)) as db:
            events = {row[0] for row in db.execute("SELECT id FROM alarm_events")}
            for seq in self.feed.acked:
                assert self.news[seq].id in events, "acknowledged and not committed"
            steps = Counter(row[0] for row in db.execute("SELECT alarm FROM notice_steps"))
            for (alarm,) in db.execute("SELECT alarm FROM alarm_events WHERE kind = 'began'"):
                assert steps[alarm] == 3, "an alarm without what follows from it"
            for row in db.execute("SELECT id FROM notices WHERE state = 'sending'"):
                self.sending[row[0]] += 1

    def waiting(self):
        """What is not yet told, of all that has to be."""
        with contextlib.closing(sqlite3.connect(self.database)) as db:
            open_ = "SELECT count(*) FROM notices WHERE state IN ('pending', 'sending')"
            due = "SELECT count(*) FROM notice_steps WHERE state = 'pending'"
            return db.execute(open_).fetchone()[0] + db.execute(due).fetchone()[0]


@pytest.fixture
async def killed(tmp_path, mosquitto, unused_tcp_port, http, monkeypatch):
    monkeypatch.setenv("FAKE_KEY", KEY)
    monkeypatch.setenv("FAKE_SECRET", SECRET)
    vendors, feed = Vendors(), Feed(mosquitto.port)
    async with TestServer(vendors.app()) as server:
        told = setup(str(server.make_url("")).rstrip("/"), mosquitto.port)
        (tmp_path / "notify.yaml").write_text(json.dumps(told), "utf-8")
        config = write_config(tmp_path, mosquitto.port, unused_tcp_port)
        words = config.read_text("utf-8").replace(
            'desk.db" }', 'desk.db", positions = 1000 }'
        )  # this is no flood
        config.write_text(words + 'notify = { file = "notify.yaml" }\n', "utf-8")
        one = Killed(tmp_path, feed, vendors, f"http://127.0.0.1:{unused_tcp_port}", http)

        async def listen():
            async with aiomqtt.Client("127.0.0.1", mosquitto.port) as client:
                await client.subscribe("told", 1)
                async for message in client.messages:
                    one.heard[json.loads(message.payload)["id"]] += 1

        tasks = [asyncio.ensure_future(feed.run()), asyncio.ensure_future(listen())]
        await wait_until(lambda: feed.client)
        async with Seedbed(tmp_path, config) as one.seedbed:
            yield one
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.soak
@pytest.mark.timeout(0 if SOAK else 120)
async def test_killed_at_random_points_nobody_is_left_untold_nor_told_twice(killed, tmp_path):
    dice, number = random.Random(int(os.environ.get("SEED", "3"))), 0
    for _ in range(KILLS):
        assert await killed.seedbed.say("start") == "started"
        await wait_until(killed.fed, 20, "the centre to be fed")
        await killed.again()
        for _ in range(AT_A_POINT):
            number += 1
            await killed.tell(*killed.tell_of(number))
        await asyncio.sleep(dice.uniform(0, LONGEST_S))
        assert await killed.seedbed.say("kill") == "9"
        killed.examine()
    assert await killed.seedbed.say("start") == "started"
    await wait_until(killed.fed, 20)

    async def settled():
        await killed.again()
        await asyncio.sleep(0.3)
        return killed.feed.acked >= set(killed.news) and not killed.waiting()

    await wait_until(settled, 900 if SOAK else 60, "all to be told")
    with contextlib.closing(sqlite3.connect(killed.database)) as db:
        rows = db.execute("SELECT id, person, state FROM notices").fetchall()
        devices = Counter(row[0] for row in db.execute("SELECT device FROM alarms"))
    assert devices == Counter(f"d{n}x" for n in range(1, number + 1)), "each alarm once"
    assert {state for _, _, state in rows} <= {"accepted", "cancelled"}
    sent = {key for key, person, state in rows if person == "board" and state == "accepted"}
    assert sent <= set(killed.heard), "what counts as told arrived"
    for key, times in killed.heard.items():
        assert times <= 1 + killed.sending[key], f"{key} was told {times} times"
    shown = Counter((one["address"], one["text"]) for one in killed.vendors.told)
    assert set(shown.values()) == {1}, "the vendor shows one message once, however often it is sent"
    began = Counter(text.split("\n")[1] for _, text in shown if text.startswith("[红色 告警]"))
    assert began == devices, "everybody was told of every alarm"
    log = (tmp_path / "center.log").read_text("utf-8")
    assert "Traceback" not in log
    assert not any(secret in log for secret in (KEY, SECRET, killed.vendors.token))
    twice = sum(times - 1 for times in killed.heard.values())
    print(
        f"{KILLS} kills, {number} alarms, {len(rows)} notices, {sum(killed.sending.values())} found half sent, "
        f"{twice} sent again, {killed.vendors.repeated} of them not shown again by the vendor"
    )
