"""From a register that changes to the order that answers it, round the whole loop: line, agent, broker, ingest, desk, agent.

Every part is a process of its own over a real broker, at the periods of the demo; one charger after the other overheats
at a moment drawn by lot.
"""

from __future__ import annotations

import asyncio
import random
import shutil
import socket
import statistics
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp
import aiomqtt

from bench._devices import Fixed
from bench.figure import Figure
from device_profiles import registers
from simulators.modbus import serve_tcp
from telemetry import codecs, topics
from telemetry.clock import SystemClock
from telemetry.commands import CommandResult, CommandState

if TYPE_CHECKING:
    from collections.abc import Iterator

    from device_profiles.profile import Space

_CHARGERS, _PERIOD_S, _LIMIT_MS, _ANSWERS_S = 20, 1.0, 3000.0, 60.0
_COOL = {
    "temperature": 25.0,
    "charging_enabled": 1.0,
    "voltage_l1": 230.0,
    "voltage_l2": 230.0,
    "voltage_l3": 230.0,
}
_PLANS = """
plans:
  - id: hot
    title: {zh: 过热, en: Hot}
    response: II
    match: {class: [ev_charger], severity: [red]}
    actions: [{id: cut, title: {zh: 切断, en: Cut}, metric: charging_enabled, value: 0, undo: 1, interlock: automatic, within_s: 30}]
most_per_minute: 1000
"""


class _Charger(Fixed):
    def __init__(self, unit: int) -> None:
        super().__init__(unit, "heidelberg_energy_control")
        self.set(temperature=25.0)

    def set(self, **values: float) -> None:
        """Let the registers say so, and what is usual beside."""
        self.image = registers.encode(self.profile, _COOL | values)

    def write(self, space: Space, address: int, words: list[int], now_ms: int) -> bool:
        del now_ms
        self.image.update({(space, address + n): word for n, word in enumerate(words)})
        return True


def run() -> Iterator[Figure]:
    """Yield how long until the agent has accepted the order, and until the charger reads back as ordered."""
    trials = asyncio.run(_trials())
    for name, times in zip(("accepted", "verified"), zip(*trials, strict=True), strict=True):
        last = sorted(times)[-max(1, len(times) // 20)]
        yield Figure(
            f"linkage_{name}_p95_ms", round(last, 1), "ms", len(times),
            round((max(times) - min(times)) / statistics.median(times), 3), limit=_LIMIT_MS if name == "accepted" else None,
            size=f"{len(times)} chargers at {_PERIOD_S:g} s",
        )  # fmt: skip


async def _trials() -> list[tuple[float, float]]:
    chargers, dice = [_Charger(unit + 1) for unit in range(_CHARGERS)], random.Random(7)
    async with AsyncExitStack() as stage:
        folder = Path(stage.enter_context(tempfile.TemporaryDirectory()))
        broker, line, api, page = (_free_port() for _ in range(4))
        await stage.enter_async_context(serve_tcp(chargers, line, SystemClock()))
        _write(folder, broker, line, api, page)
        program = shutil.which("mosquitto", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
        await _run(stage, folder, [program or "mosquitto", "-c", "mosquitto.conf"])
        for module, config in (
            ("cloud_ingest", "ingest"),
            ("command_center", "center"),
            ("edge_agent", "edge"),
        ):
            await _run(stage, folder, [sys.executable, "-m", module, "--config", f"{config}.toml"])
        await _until_seen(f"http://127.0.0.1:{api}/api/data/latest", _CHARGERS)
        await _until_ready(f"http://127.0.0.1:{page}/api/health/ready")
        async with aiomqtt.Client("127.0.0.1", broker) as client:
            await client.subscribe(topics.cmd_result("bench", "+"), 1)
            return [await _trial(charger, client, dice) for charger in chargers]


async def _trial(charger: _Charger, client: aiomqtt.Client, dice: random.Random) -> tuple[float, float]:
    await asyncio.sleep(dice.uniform(0.5, 0.5 + _PERIOD_S))
    began, accepted = time.perf_counter(), 0.0
    charger.set(temperature=99.0)
    async with asyncio.timeout(30):
        async for message in client.messages:
            told = codecs.decode(bytes(message.payload), CommandResult, max_bytes=65_536)
            if told.device != f"chg-{charger.unit:02}":
                continue
            took = 1000 * (time.perf_counter() - began)
            if told.state is CommandState.ACCEPTED:
                accepted = took
            elif told.state is CommandState.VERIFIED:
                return accepted, took
            elif told.state.is_final:
                raise RuntimeError(f"{told.device}: {told.state}: {told.problem}")
    raise RuntimeError("the broker closed the connection")


def _write(folder: Path, broker: int, line: int, api: int, page: int) -> None:
    """Write what the processes are started with."""
    names = [f"chg-{n + 1:02}" for n in range(_CHARGERS)]
    at = f'broker = {{ host = "127.0.0.1", port = {broker} }}\n'
    devices = "".join(
        f'[[buses.devices]]\nid = "{name}"\nprofile = "heidelberg_energy_control"\nunit = {n + 1}\n'
        for n, name in enumerate(names)
    )
    rows = "".join(
        f"{name},充电桩,Charger,heidelberg_energy_control,edge-01,s{n},{115.9 + n / 100:.2f},31.85,城管局\n"
        for n, name in enumerate(names)
    )
    sites = "".join(f"s{n},站,Site,东街,{115.9 + n / 100:.2f},31.85,城管局\n" for n in range(_CHARGERS))
    for name, content in {
        "mosquitto.conf": f"listener {broker} 127.0.0.1\nallow_anonymous true\nuser root\nset_tcp_nodelay true\n",
        "devices.csv": f"device,name_zh,name_en,profile,agent,site,lon,lat,owner\n{rows}",
        "sites.csv": f"site,name_zh,name_en,street,lon,lat,department\n{sites}",
        "plans.yaml": _PLANS,
        "edge.toml": f'agent = "edge-01"\narea = "bench"\n{at}outbox = {{ path = "outbox.db" }}\n'
        'commands = { allow = [{ by = "center" }] }\n'
        f'[[buses]]\nid = "b"\ndriver = "modbus_tcp"\nperiod_s = {_PERIOD_S}\nlink = {{ host = "127.0.0.1", port = {line} }}\n{devices}',
        "ingest.toml": f'area = "bench"\nproducer = "ingest-1"\n{at}ledger = {{ path = "ledger.db" }}\n'
        'registry = { devices = "devices.csv", sites = "sites.csv" }\n'
        f'api = {{ port = {api} }}\nstore = {{ kind = "duckdb", path = "samples.duckdb" }}\n',
        "center.toml": f'area = "bench"\n{at}desk = {{ url = "sqlite+aiosqlite:///{folder}/desk.db" }}\n'
        f'linkage = {{ file = "plans.yaml" }}\ndata = {{ url = "http://127.0.0.1:{api}" }}\npage = {{ port = {page} }}\n',
    }.items():
        (folder / name).write_text(content, "utf-8")


async def _run(stage: AsyncExitStack, folder: Path, command: list[str]) -> None:
    with (folder / f"{Path(command[-1]).stem}.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(*command, cwd=folder, stdout=log, stderr=log)

    async def end() -> None:
        if process.returncode is None:
            process.terminate()
        async with asyncio.timeout(30):
            await process.wait()

    stage.push_async_callback(end)


async def _until_seen(url: str, devices: int) -> None:
    async with asyncio.timeout(_ANSWERS_S), aiohttp.ClientSession() as http:
        while True:
            try:
                async with http.get(url) as answer:
                    if len(await answer.json()) >= devices:
                        return
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.2)


async def _until_ready(url: str) -> None:
    async with asyncio.timeout(_ANSWERS_S), aiohttp.ClientSession() as http:
        while True:
            try:
                async with http.get(url) as answer:
                    told = await answer.json()
                    if told.get("broker") and told.get("data_ms"):
                        return
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.2)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
