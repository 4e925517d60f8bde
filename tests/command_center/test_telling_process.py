"""The centre as a process that tells people: what a vendor reports later counts, and plans want their people."""

import asyncio
import contextlib

import pytest
from aiohttp.test_utils import TestServer
from centers import Feed, command, stop, write_config
from persons import signed_in
from tellers import SETUP
from test_lifecycle import transition
from waiting import wait_until
from worlds import PLANS

from simulators.vendors import KEY, SECRET, Vendors
from telemetry.severity import Severity
from telemetry.transitions import Change

FAST = SETUP.replace("after_s: 120", "after_s: 1").replace("after_s: 60", "after_s: 0.5")


class Town:
    """A broker's end, vendors, and a centre."""

    def __init__(self, folder, feed, vendors, config, url, http):
        self.folder, self.feed, self.vendors, self.config = folder, feed, vendors, config
        self.url, self.http, self.process = url, http, None

    async def start(self):
        with (self.folder / "center.log").open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(*command(self.config), stderr=log)

    async def fed(self):
        with contextlib.suppress(Exception):
            async with self.http.get(f"{self.url}/api/health/ready") as answer:
                return (await answer.json())["broker"]

    async def ask(self, path, body=None, by=None):
        method = "GET" if body is None else "POST"
        async with (by or self.http).request(method, self.url + path, json=body) as answer:
            return answer.status, await answer.json()


@pytest.fixture
async def town(tmp_path, mosquitto, unused_tcp_port, http, monkeypatch):
    monkeypatch.setenv("FAKE_KEY", KEY)
    monkeypatch.setenv("FAKE_SECRET", SECRET)
    vendors, feed = Vendors(), Feed(mosquitto.port)
    async with TestServer(vendors.app()) as server:
        url = str(server.make_url("")).rstrip("/")
        setup = FAST.format(url=url) + 'receipt_token: "env:FAKE_SECRET"\n'
        (tmp_path / "notify.yaml").write_text(setup, "utf-8")
        config = write_config(tmp_path, mosquitto.port, unused_tcp_port)
        (tmp_path / "plans.yaml").write_text(PLANS, "utf-8")
        more = 'notify = { file = "notify.yaml" }\nlinkage = { file = "plans.yaml" }\n'
        config.write_text(config.read_text("utf-8") + more, "utf-8")
        hearing = asyncio.ensure_future(feed.run())
        await wait_until(lambda: feed.client)
        one = Town(tmp_path, feed, vendors, config, f"http://127.0.0.1:{unused_tcp_port}", http)
        await one.start()
        await wait_until(one.fed, 20, "the centre to be fed")
        yield one
        if one.process.returncode is None:
            await stop(one.process)
        hearing.cancel()
        await asyncio.gather(hearing, return_exceptions=True)


async def test_a_key_pressed_on_the_telephone_acknowledges_and_ends_the_chain(town):
    alarm = transition(0, Change.BEGAN, Severity.RED)
    await town.feed.tell(1, alarm)
    calls = lambda: [one for one in town.vendors.told if one["vendor"] == "aliyun_voice"]  # noqa: E731
    await wait_until(lambda: len(calls()) == 2, 20, "two people to be called")
    [call] = [one for one in calls() if one["address"] == "13800000001"]
    report = [{"call_id": call["id"], "status_code": "200000", "dtmf": "1"}]
    assert (await town.ask("/api/receipts/voice/wrong", report))[0] == 404
    assert (await town.ask("/api/receipts/app/" + SECRET, report))[0] == 404
    assert await town.ask(f"/api/receipts/voice/{SECRET}", report) == (200, {"code": 0, "msg": "成功"})
    _, told = await town.ask(f"/api/alarms/{alarm.alarm}")
    assert (told["state"], told["acknowledged_by"]) == ("acknowledged", "王建国")
    proofs = {(one["channel"], one["person"]): one["state"] for one in told["notices"] if "channel" in one}
    assert proofs["voice", "wang"] == "acknowledged"
    assert proofs["voice", "li"] == "accepted", "she was called, and nobody knows whether she answered"
    _, trail = await town.ask("/api/audit")
    assert (trail[0]["who"], trail[0]["what"], trail[0]["address"]) == (
        "王建国",
        "alarm.acknowledge",
        "voice",
    )


async def test_plans_over_http_want_two_people_and_leave_a_trail(town):
    alarm = transition(0, Change.BEGAN, Severity.RED)
    await town.feed.tell(1, alarm)
    await wait_until(lambda: 1 in town.feed.acked)
    _, run = await town.ask(f"/api/runs/{alarm.alarm}")
    [siren] = run["actions"]
    approve = f"/api/actions/{siren['id']}/approve"
    status, told = await town.ask(approve, {})
    assert (status, "'action.approve'" in told["error"]["en"]) == (403, True), (
        "no machine is one of two people"
    )
    async with (
        signed_in(town.folder, "wang", "王", "dispatcher") as wang,
        signed_in(town.folder, "li", "李", "dispatcher") as li,
    ):
        assert (await town.ask(approve, {}, wang))[1] == {"result": "waiting"}
        status, told = await town.ask(approve, {}, wang)
        assert (status, told["error"]["zh"]) == (409, "同一人不能批准两次，需要另一人")
        assert (await town.ask(approve, {}, li))[1] == {"result": "requested"}
        assert (await town.ask("/api/actions/none/approve", {}, li))[0] == 404
        _, run = await town.ask(f"/api/tasks/0/done/{alarm.alarm}", {}, wang)
        assert run["checklist"][0]["done"][0] == "王"
        status, drill = await town.ask("/api/plans/p/drill", {"device": "d"}, li)
        assert (status, drill["mode"], drill["actions"][0]["state"]) == (200, "drill", "drill")
        assert (await town.ask("/api/plans/q/drill", {"device": "d"}, li))[0] == 404
    assert (await town.ask("/api/plans/coverage"))[1] == {"without": [], "rows": []}
    _, trail = await town.ask("/api/audit")
    assert [entry["what"] for entry in trail if entry["who"] not in {"tests", "file"}] == [
        "plan.drill",
        "plan.task",
        "action.approve",
        "action.approve",
    ]
