"""A command centre as a process over a real broker, telling vendors that do not exist."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Self

import aiohttp
import psutil
from aiohttp import web

from command_center.people.sessions import hash_of
from simulators.vendors import KEY, SECRET, Vendors

if TYPE_CHECKING:
    from types import TracebackType

MACHINE = "yemai_key_of_the_bench"
BEARER = {"Authorization": f"Bearer {MACHINE}"}
_ANSWERS_S = 60.0
NOTIFY = """
people:
  wang: {{name: {{zh: 王建国, en: Wang Jianguo}}, reach: {{app: wang, sms: "13800000001", voice: "13800000001"}}}}
  li: {{name: {{zh: 李娜, en: Li Na}}, reach: {{app: li, sms: "13800000002", voice: "13800000002"}}}}
  room: {{name: {{zh: 值班群, en: Duty room}}, reach: {{robot: "", ding: "", feishu: ""}}}}
channels:
  robot: {{kind: wecom_robot, key: "env:FAKE_KEY", url: "{url}"}}
  app: {{kind: wecom_app, corp_id: c, agent_id: 1, secret: "env:FAKE_SECRET", url: "{url}"}}
  ding: {{kind: dingtalk_robot, token: "env:FAKE_KEY", secret: "env:FAKE_SECRET", url: "{url}"}}
  feishu: {{kind: feishu_robot, token: "env:FAKE_KEY", secret: "env:FAKE_SECRET", url: "{url}"}}
  sms: {{kind: aliyun_sms, key_id: id, key: "env:FAKE_SECRET", sign_name: 叶集, template: SMS_1, variables: {{level: 20, title: 30}}, url: "{url}"}}
  voice: {{kind: aliyun_voice, key_id: id, key: "env:FAKE_SECRET", from_number: "0564", template: TTS_1, variables: {{level: 20, title: 30}}, url: "{url}"}}
rosters:
  duty: {{shifts: [{{who: [wang, li]}}]}}
policies:
  - name: red
    match: {{severity: [red]}}
    steps: [{{tell: [duty], by: [app, sms]}}, {{tell: [room], by: [robot, ding]}}, {{after_s: 60, tell: [duty], by: [sms]}}]
  - name: middle
    match: {{severity: [orange, yellow]}}
    steps: [{{tell: [duty], by: [app]}}, {{tell: [room], by: [ding, feishu]}}]
  - name: low
    match: {{severity: [blue]}}
    steps: [{{tell: [room], by: [feishu, robot]}}]
"""


class Centre:
    """``async with Centre(folder) as centre``: broker, vendors and centre run, on ports of their own."""

    def __init__(self, folder: Path) -> None:
        self._folder, self.vendors = folder, Vendors()
        self.broker_port, self._vendors_port, self._page_port = (_free_port() for _ in range(3))
        self.url, self.database = f"http://127.0.0.1:{self._page_port}", folder / "desk.db"
        self._stack = AsyncExitStack()
        self.process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        broker = self._folder / "mosquitto.conf"
        broker.write_text(
            f"listener {self.broker_port} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\nset_tcp_nodelay true\n"
        )
        program = shutil.which("mosquitto", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
        await self._run([program or "mosquitto", "-c", str(broker)])
        runner = web.AppRunner(self.vendors.app(), access_log=None)
        await runner.setup()
        self._stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, "127.0.0.1", self._vendors_port).start()
        vendors = f"http://127.0.0.1:{self._vendors_port}"
        (self._folder / "notify.yaml").write_text(NOTIFY.format(url=vendors), "utf-8")
        (self._folder / "center.toml").write_text(
            f'area = "test"\nbroker = {{ host = "127.0.0.1", port = {self.broker_port} }}\n'
            f'desk = {{ url = "sqlite+aiosqlite:///{self.database}" }}\ndata = {{ url = "http://127.0.0.1:1" }}\n'
            f'page = {{ port = {self._page_port} }}\nnotify = {{ file = "notify.yaml" }}\n'
            f'people = {{ keys = [{{ name = "bench", sha256 = "{hash_of(MACHINE)}", rights = ["read", "alarm.comment", "figures.read"], per_minute = 1000000 }}] }}\n',
            "utf-8",
        )
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def start(self) -> None:
        """Start the centre and wait until it is fed."""
        command = [sys.executable, "-m", "command_center", "--config", str(self._folder / "center.toml")]
        self.process = await self._run(command)
        async with asyncio.timeout(_ANSWERS_S), aiohttp.ClientSession() as http:
            while not await self._is_fed(http):
                await asyncio.sleep(0.05)

    def memory_bytes(self) -> int:
        """Return how much the centre holds."""
        return int(psutil.Process(self.process.pid).memory_info().rss) if self.process else 0

    async def _is_fed(self, http: aiohttp.ClientSession) -> bool:
        try:
            async with http.get(f"{self.url}/api/health/ready") as answer:
                return bool((await answer.json()).get("broker"))
        except aiohttp.ClientError:
            return False

    async def _run(self, command: list[str]) -> asyncio.subprocess.Process:
        with (self._folder / "log").open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *command, cwd=self._folder, stdout=log, stderr=log,
                env={**os.environ, "FAKE_KEY": KEY, "FAKE_SECRET": SECRET, "PYTHONPATH": str(Path.cwd())},
            )  # fmt: skip

        async def end() -> None:
            if process.returncode is None:
                process.terminate()
                await process.wait()

        self._stack.push_async_callback(end)
        return process


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
