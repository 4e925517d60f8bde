"""An idle agent's size: 20 devices every 5 s over Modbus TCP, a real broker, an end that acknowledges."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import aiomqtt
import psutil
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from bench.figure import Figure
from bench.stage import _free_port as free_port
from telemetry import codecs, topics
from telemetry.codecs import json
from telemetry.readings import Ack, Upload

if TYPE_CHECKING:
    from collections.abc import Iterator

AREA, AGENT = "bench", "edge-01"
DEVICES, PERIOD_S = 20, 5.0
STARTS, WATCHED_S = 5, 40.0


def run() -> Iterator[Figure]:
    """Measure size, idle share of one core, and the time from the start to the first upload received."""
    yield from asyncio.run(_measure())


async def _measure() -> list[Figure]:
    with tempfile.TemporaryDirectory() as folder:
        port, slave_port = free_port(), free_port()
        config = _config(Path(folder), port, slave_port)
        broker = _broker(Path(folder), port)
        slaves = [
            SimDevice(n, [SimData(0, values=536, datatype=DataType.REGISTERS)]) for n in range(1, DEVICES + 1)
        ]
        server = ModbusTcpServer(slaves, address=("127.0.0.1", slave_port))
        await server.serve_forever(background=True)
        cloud = _Cloud(port)
        task = asyncio.ensure_future(cloud.run())
        try:
            await asyncio.wait_for(cloud.ready.wait(), 10)
            starts, sizes, shares = [], [], []
            for n in range(STARTS):
                for stale in Path(folder).glob("outbox*"):
                    stale.unlink()
                cloud.first.clear()
                began = time.perf_counter()
                agent = subprocess.Popen(  # noqa: ASYNC220 - returns at once
                    [sys.executable, "-m", "edge_agent", "--config", str(config)], stderr=subprocess.DEVNULL
                )
                await asyncio.wait_for(cloud.first.wait(), 30)
                starts.append(time.perf_counter() - began)
                if n < 3:
                    size, share = await _watch(agent.pid, WATCHED_S / (1 if n == 0 else 2))
                    sizes.append(size)
                    shares.append(share)
                agent.terminate()
                await asyncio.to_thread(agent.wait)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await server.shutdown()  # type: ignore[no-untyped-call]
            broker.terminate()
            broker.wait()
    return [
        _figure("agent_start_s", starts, "s", 3.0),
        _figure("agent_rss_mib", sizes, "MiB", 60.0),
        _figure("agent_idle_cpu_share", shares, "of a core", 0.02),
    ]


async def _watch(pid: int, seconds: float) -> tuple[float, float]:
    process = psutil.Process(pid)
    await asyncio.sleep(5)  # the start is over
    before, began = sum(process.cpu_times()[:2]), time.perf_counter()
    await asyncio.sleep(seconds)
    spent = sum(process.cpu_times()[:2]) - before
    return process.memory_info().rss / 2**20, spent / (time.perf_counter() - began)


class _Cloud:
    def __init__(self, port: int) -> None:
        self._port = port
        self.ready, self.first = asyncio.Event(), asyncio.Event()

    async def run(self) -> None:
        async with aiomqtt.Client("127.0.0.1", self._port, identifier="cloud") as client:
            await client.subscribe(topics.up(AREA, "+"), 1)
            self.ready.set()
            async for message in client.messages:
                upload = codecs.decode(bytes(message.payload), Upload, max_bytes=1 << 20)
                if upload.readings:
                    self.first.set()
                ack = Ack(upload.boot, ((upload.seq, upload.seq),))
                await client.publish(topics.ack(AREA, upload.agent), json.encode(ack), 1)


def _config(folder: Path, port: int, slave_port: int) -> Path:
    devices = "".join(
        f'[[buses.devices]]\nid = "d{n}"\nprofile = "sonbest_sm7901b"\nunit = {n}\n'
        for n in range(1, DEVICES + 1)
    )
    path = folder / "edge.toml"
    path.write_text(
        f'agent = "{AGENT}"\narea = "{AREA}"\nbroker = {{ host = "127.0.0.1", port = {port} }}\n'
        f'outbox = {{ path = "outbox.db" }}\n[[buses]]\nid = "b1"\ndriver = "modbus_tcp"\nperiod_s = {PERIOD_S}\n'
        f'link = {{ host = "127.0.0.1", port = {slave_port} }}\n{devices}'
    )
    return path


def _broker(folder: Path, port: int) -> subprocess.Popen[bytes]:
    config = folder / "mosquitto.conf"
    config.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\nuser root\n")
    program = shutil.which("mosquitto", path=os.environ.get("PATH", "") + ":/usr/sbin") or "mosquitto"
    broker = subprocess.Popen(
        [program, "-c", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            break
        except OSError:
            time.sleep(0.05)
    return broker


def _figure(name: str, values: list[float], unit: str, limit: float) -> Figure:
    middle = statistics.median(values)
    spread = (max(values) - min(values)) / middle if middle else 0.0
    return Figure(name, round(middle, 4), unit, len(values), round(spread, 3), limit=limit)
