"""A desk that tells people, before vendors that do not exist, on one clock for all."""

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager

import aiohttp
from aiohttp.test_utils import TestServer
from desks import opened

from command_center import policies
from command_center.notices import Telling, of_alarm
from command_center.teller import Teller
from simulators.vendors import KEY, SECRET, Vendors
from telemetry.faults import Faults

SETUP = """
people:
  wang: {{name: {{zh: 王建国, en: Wang Jianguo}}, reach: {{app: wang, work: wang, sms: "13800000001", voice: "13800000001"}}}}
  li: {{name: {{zh: 李娜, en: Li Na}}, reach: {{app: li, sms: "13800000002", voice: "13800000002"}}, lang: en}}
  room: {{name: {{zh: 值班群, en: Duty room}}, reach: {{robot: "", ding: "", feishu: ""}}}}
channels:
  robot: {{kind: wecom_robot, key: "env:FAKE_KEY", url: "{url}"}}
  app: {{kind: wecom_app, corp_id: c, agent_id: 1, secret: "env:FAKE_SECRET", url: "{url}"}}
  ding: {{kind: dingtalk_robot, token: "env:FAKE_KEY", secret: "env:FAKE_SECRET", url: "{url}"}}
  work: {{kind: dingtalk_work, agent_id: 2, app_key: k, app_secret: "env:FAKE_SECRET", url: "{url}"}}
  feishu: {{kind: feishu_robot, token: "env:FAKE_KEY", secret: "env:FAKE_SECRET", url: "{url}"}}
  sms: {{kind: aliyun_sms, key_id: id, key: "env:FAKE_SECRET", sign_name: 叶集, template: SMS_1, variables: {{level: 20, title: 30, device: 30, value: 20, time: 20, state: 20}}, url: "{url}"}}
  voice: {{kind: aliyun_voice, key_id: id, key: "env:FAKE_SECRET", from_number: "0564", template: TTS_1, variables: {{level: 20, title: 30}}, url: "{url}"}}
rosters:
  duty: {{shifts: [{{who: [wang]}}]}}
policies:
  - name: red
    match: {{severity: [red]}}
    steps: [{{tell: [duty], by: [app, sms]}}, {{after_s: 60, tell: [duty, li], by: [sms]}}, {{after_s: 120, tell: [duty, li], by: [voice]}}]
    repeat_s: 300
    repeat_most: 2
  - name: rest
    match: {{severity: [orange, yellow]}}
    steps: [{{tell: [duty], by: [app]}}]
  - name: record
    match: {{class: [silent]}}
"""


class Told:
    """What a test holds: the desk, the teller, the vendors and the clock."""

    def __init__(self, desk, teller, vendors, clock, setup):
        self.desk, self.teller, self.vendors, self.clock, self.setup = desk, teller, vendors, clock, setup

    async def turn(self, rounds=6):
        """Let every channel send what it may now."""
        for _ in range(rounds):
            await self.teller.step()
            await asyncio.gather(*(self.teller.serve(name) for name in self.setup.kinds))
        await asyncio.gather(*(one.turn() for one in self.teller.followups))

    async def over(self, seconds, step_s=1):
        """Let time pass, sending all the while."""
        for _ in range(int(seconds / step_s)):
            await self.clock.move(step_s)
            await self.turn(2)

    async def notices(self, alarm):
        async with self.desk.store.read() as db:
            return await of_alarm(db, alarm, self.setup)

    def got(self, vendor=None):
        return [one for one in self.vendors.told if vendor in {None, one["vendor"]}]


@asynccontextmanager
async def telling(tmp_path, monkeypatch, url, clock, setup=SETUP, *, steady=None):
    """Open a desk that tells; by a ``steady`` clock where one is given."""
    monkeypatch.setenv("FAKE_KEY", KEY)
    monkeypatch.setenv("FAKE_SECRET", SECRET)
    async with AsyncExitStack() as stack:
        vendors = Vendors(lambda: clock.now / 1000)
        server = TestServer(vendors.app())
        await server.start_server()
        stack.push_async_callback(server.close)
        path = tmp_path / "notify.yaml"
        path.write_text(setup.format(url=str(server.make_url("")).rstrip("/")), "utf-8")
        told = policies.load(path)
        faults = Faults(clock)
        plan = Telling(told, lambda _: None, faults)
        desk = await stack.enter_async_context(opened(url, steady or clock, followers=[plan]))
        http = await stack.enter_async_context(aiohttp.ClientSession())
        teller = Teller(desk.store, told, plan, http, steady or clock, lambda _: None, faults=faults)
        await teller.recover()
        one = Told(desk, teller, vendors, clock, told)
        one.faults = faults
        yield one
