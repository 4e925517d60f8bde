"""The edge agent on its wires: how much of a serial line it uses, and what 500 devices at 1 s cost it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import aiomqtt
import msgspec
import psutil

from bench._devices import STREET
from bench._linkage import latencies_ms
from bench.figure import Figure
from device_profiles.loading import load_catalogue
from device_profiles.registers import Block
from edge_agent.config import Bus
from edge_agent.driver import Device
from edge_agent.drivers import modbus_rtu
from edge_agent.planner import Reach, Wanted, Wire, blocks_for, groups_for
from edge_agent.poller import Poller
from telemetry import topics
from telemetry.clock import SystemClock
from telemetry.readings import Ack, Upload

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_RUNS, _RUN_S = 5, 4.0
_CONNECTIONS, _UNITS, _WARM_S, _TCP_S, _WINDOW_S = 500, 3, 12.0, 40.0, 8.0
_PEER_CPU = 1.24  # Neuron 2.2.1, 500 devices x 30 tags at 1 s on 4 cores: neuron-docs, usage/performance


def run() -> Iterator[Figure]:
    """Yield the figures of the wires; :mod:`bench.edge_agent` has those of the agent as a whole."""
    for baud in (9600, 115_200):
        yield from asyncio.run(_serial(baud))
    yield from _tcp()
    took = sorted(asyncio.run(latencies_ms()))
    p95, middle = took[int(0.95 * (len(took) - 1))], statistics.median(took)
    spread = round((took[-1] - took[0]) / middle, 3)
    yield Figure("linkage_p95_ms", round(p95, 1), "ms", len(took), spread, limit=500.0)


def _devices() -> list[Device]:
    return [Device(f"d{n + 1}", load_catalogue()[p], n + 1, 1.0) for n, p in enumerate(STREET)]


def _schemes(wire: Wire) -> dict[str, list[tuple[Device, Block]]]:
    """The requests of one cycle: as planned, neighbours merged but holes not crossed, one for each value."""
    made: dict[str, list[tuple[Device, Block]]] = {"planned": [], "adjacent": [], "single": []}
    for device in _devices():
        profile = device.profile
        turnaround_s = profile.timing.turnaround_s
        points = [p for p in profile.points if not p.attribute]
        near = Reach(msgspec.structs.replace(profile.limits, max_hole=0))
        made["planned"] += [
            (device, block)
            for group in groups_for(profile, Wanted(1.0), Reach(profile.limits), wire)
            if group.period_s == 1.0
            for block in group.blocks
        ]
        made["adjacent"] += [(device, b) for b in blocks_for(points, points, near, wire, turnaround_s)]
        made["single"] += [(device, Block(p.space, p.address, p.count)) for p in points]
    return made


async def _serial(baud: int) -> list[Figure]:
    wire = Wire.serial(baud)
    schemes = _schemes(wire)
    with tempfile.TemporaryDirectory() as folder:
        link = Path(folder) / "line"
        with _process("rtu", str(link), str(baud)) as devices:
            while not link.exists():
                await asyncio.sleep(0.02)
            config = modbus_rtu.Config(port=str(link), baud=baud)
            shares = [await _utilisation(config, devices) for _ in range(_RUNS)]
            cycles = {name: await _cycle_ms(config, asked) for name, asked in schemes.items()}
    figures = [
        _figure(f"rtu_wire_utilisation_{baud}", shares, "share of the wire-time limit", limit=0.92),
        _figure(
            f"rtu_cycle_ms_{baud}",
            cycles["planned"],
            "ms",
            peer=round(statistics.median(cycles["adjacent"]), 3),
        ),
        _figure(f"rtu_cycle_ms_{baud}_single", cycles["single"], "ms"),
    ]
    if baud == 9600:
        count = {name: float(len(asked)) for name, asked in schemes.items()}
        figures += [
            Figure("rtu_requests_per_cycle", count["planned"], "requests", 1, 0.0, peer=count["adjacent"]),
            Figure("rtu_requests_per_cycle_single", count["single"], "requests", 1, 0.0),
        ]
    return figures


async def _utilisation(config: modbus_rtu.Config, devices: subprocess.Popen[str]) -> float:
    """Return the share of the wire-time limit that a whole poller reaches which never has to wait."""
    bus = Bus("bench", modbus_rtu, config, 0.05, tuple(_devices()))
    async with modbus_rtu.Driver(config, bus.devices) as driver:
        polling = asyncio.ensure_future(Poller(bus, driver, lambda _: None, SystemClock()).run())
        await asyncio.sleep(0.5)
        began, wire_s = time.perf_counter(), _wire_s(devices)
        await asyncio.sleep(_RUN_S)
        share = (_wire_s(devices) - wire_s) / (time.perf_counter() - began)
        polling.cancel()
        await asyncio.gather(polling, return_exceptions=True)
    return share


async def _cycle_ms(config: modbus_rtu.Config, asked: Sequence[tuple[Device, Block]]) -> list[float]:
    took = []
    async with modbus_rtu.Driver(config, []) as driver:
        for _ in range(3):
            began = time.perf_counter()
            for device, block in asked:
                await driver.read(device, block)
            took.append(1000 * (time.perf_counter() - began))
    return took


def _wire_s(devices: subprocess.Popen[str]) -> float:
    assert devices.stdin is not None
    assert devices.stdout is not None
    devices.stdin.write("\n")
    devices.stdin.flush()
    return float(devices.stdout.readline())


def _tcp() -> Iterator[Figure]:
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        folder, broker, port = Path(name), _free_port(), _free_port()
        conf = folder / "mosquitto.conf"
        conf.write_text(f"listener {broker} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\n")
        _run(stack, ["mosquitto", "-c", str(conf)])
        devices = stack.enter_context(_process("tcp", str(port)))
        assert devices.stdout is not None
        devices.stdout.readline()
        config = folder / "edge.toml"
        config.write_text(_many(broker, port))
        agent = _run(stack, [sys.executable, "-m", "edge_agent", "--config", str(config)])
        values, cpu, rss = asyncio.run(_measure(agent, broker))
    wanted = float(_CONNECTIONS * _UNITS * len(load_catalogue()["eastron_sdm630"].metrics))
    yield _figure("tcp_values_per_s", values, "values/s", limit=wanted)
    yield _figure("tcp_cpu_share", cpu, "CPUs", peer=_PEER_CPU)
    yield _figure("tcp_rss_mib", rss, "MiB")


def _many(broker: int, port: int) -> str:
    head = f'agent = "edge-01"\narea = "bench"\nbroker = {{ host = "127.0.0.1", port = {broker} }}\n'
    text = [head, 'outbox = { path = "outbox.db" }\n']
    for n in range(_CONNECTIONS):
        text.append(f'[[buses]]\nid = "b{n}"\ndriver = "modbus_tcp"\nperiod_s = 1\n')
        text.append(f'link = {{ host = "127.0.0.1", port = {port} }}\n')
        text += [
            f'[[buses.devices]]\nid = "m{n}-{unit}"\nprofile = "eastron_sdm630"\nunit = {unit}\n'
            for unit in range(1, _UNITS + 1)
        ]
    return "".join(text)


async def _measure(
    agent: subprocess.Popen[bytes], broker: int
) -> tuple[list[float], list[float], list[float]]:
    """Acknowledge what arrives, and return values, CPU and memory of each window."""
    arrived, process = 0, psutil.Process(agent.pid)

    async def acknowledge(client: aiomqtt.Client) -> None:
        nonlocal arrived
        async for message in client.messages:
            upload = msgspec.json.decode(bytes(message.payload), type=Upload)
            arrived += upload.sample_count
            ack = Ack(upload.boot, ((upload.seq, upload.seq),))
            await client.publish(topics.ack("bench", "edge-01"), msgspec.json.encode(ack), 1)

    async with aiomqtt.Client("127.0.0.1", broker, identifier="bench", timeout=10) as client:
        await client.subscribe(topics.up("bench", "+"), 1)
        task = asyncio.ensure_future(acknowledge(client))
        await asyncio.sleep(_WARM_S)
        values, cpu, rss = [], [], []
        for _ in range(int(_TCP_S / _WINDOW_S)):
            before, used, began = arrived, sum(process.cpu_times()[:2]), time.perf_counter()
            await asyncio.sleep(_WINDOW_S)
            took = time.perf_counter() - began
            values.append((arrived - before) / took)
            cpu.append((sum(process.cpu_times()[:2]) - used) / took)
            rss.append(process.memory_info().rss / 2**20)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    return values, cpu, rss


@contextlib.contextmanager
def _process(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "bench._devices", *arguments],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def _run(stack: contextlib.ExitStack, command: list[str]) -> subprocess.Popen[bytes]:
    path = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin"))
    process = subprocess.Popen(
        command, env={**os.environ, "PATH": path}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )

    def end() -> None:
        process.terminate()
        process.wait(timeout=20)

    stack.callback(end)
    return process


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _figure(
    name: str, values: Sequence[float], unit: str, limit: float | None = None, peer: float | None = None
) -> Figure:
    middle = statistics.median(values)
    spread = round((max(values) - min(values)) / middle, 3)
    return Figure(name, round(middle, 3), unit, len(values), spread, limit=limit, peer=peer)
