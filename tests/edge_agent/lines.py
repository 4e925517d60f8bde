"""Buses for tests: a line on the manual clock, and simulated devices on real pseudo-terminals and sockets."""

import asyncio
import contextlib
import json
import threading
from collections import defaultdict

from waiting import wait_until

from device_profiles import registers
from device_profiles.loading import load_catalogue
from device_profiles.profile import Space
from edge_agent.bus import run_bus
from edge_agent.config import Bus
from edge_agent.driver import Device, Exceptional, LinkDown
from edge_agent.drivers import modbus_rtu
from edge_agent.planner import Wire
from simulators.modbus import serve_rtu
from telemetry.clock import SystemClock
from telemetry.errors import Unavailable


class PaperLine:
    """A driver on a clock that only moves when told: answers take their wire time, silence takes the time-out.

    ``says`` maps a device to its registers, or to the error that each request meets; ``refuses`` a device to the
    addresses that no request may touch.
    """

    TRANSPORT = "modbus"

    def __init__(self, clock, says, wire=None):
        self.clock, self.says, self.wire = clock, says, wire or Wire.serial(9600)
        self.refuses, self.longest = defaultdict(set), {}
        self.asked, self.written, self.opened, self.on_read = [], [], 1, None

    def Driver(self, _config, _devices):  # noqa: N802 - the seam's name
        return self

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        pass

    async def read(self, device, block):
        self.asked.append((device.id, block))
        if self.on_read:
            self.on_read(device, block)
        held = self.says[device.id]
        held = held(block) if callable(held) else held
        if isinstance(held, LinkDown):
            raise held
        if isinstance(held, Unavailable):
            await self.clock.sleep(device.timeout_s)
            raise held
        await self.clock.sleep(self.wire.request_s(block, device.profile.timing.turnaround_s))
        if isinstance(held, Exception):
            raise held
        if block.count > self.longest.get(device.id, 125):
            raise Exceptional("too long", 3)
        if self.refuses[device.id] & set(range(block.address, block.address + block.count)):
            raise Exceptional("no such address", 2)
        return [held.get((block.space, block.address + n), 0) for n in range(block.count)]

    async def write(self, device, write):
        self.written.append((device.id, write))
        await self.clock.sleep(self.wire.request_s(registers.Block(write.space, 0, 1), 0.005))
        held = self.says[device.id]
        held = held(registers.Block(write.space, write.address, 1)) if callable(held) else held
        if isinstance(held, Exception):
            raise held
        held.update({(write.space, write.address + n): word for n, word in enumerate(write.words)})


@contextlib.asynccontextmanager
async def polling(line, devices, period_s, clock, **extra):
    """Run a bus; yield its readings and its poller."""
    heard, pollers = [], []
    bus = Bus("b", line, None, period_s, tuple(devices))
    task = asyncio.ensure_future(run_bus(bus, heard.append, clock, polled=pollers.append, **extra))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    try:
        yield heard, pollers[0]
    finally:
        await stopped(task)


async def stopped(task):
    """End a bus; what ended it before is the test's failure."""
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


@contextlib.asynccontextmanager
async def running(*coroutines):
    """Let coroutines run beside the block, and end them with it."""
    tasks = [asyncio.ensure_future(coroutine) for coroutine in coroutines]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Slave:
    """A device for the simulators' servers whose registers a test sets; ``keys`` are for its place in a file."""

    def __init__(self, name, unit, profile, values, attributes=None, parameters=None, **keys):
        self.id, self.unit = name, unit
        self.profile = load_catalogue()[profile].bind(parameters or {})
        self.values, self.attributes = dict(values), attributes or {}
        self.readable, self.writes, self.keys = frozenset(), [], keys
        self._fill()

    def _fill(self):
        self.image = registers.encode(self.profile, self.values, self.attributes)

    def set(self, metric, value):
        self.values[metric] = value
        self._fill()

    def state(self, _now_ms):
        return ""

    def write(self, space, address, words, _now_ms):
        self.writes.append((space, address, tuple(words)))
        if not all((space, address + n) in self.image for n in range(len(words))):
            return space is Space.HOLDING
        self.image.update({(space, address + n): word for n, word in enumerate(words)})
        said = registers.decode(self.profile, self.image)
        self.values.update({name: value for name, value in said.values.items() if value is not None})
        self.attributes.update(said.attributes)
        return True

    @property
    def toml(self):
        keys = {"id": self.id, "profile": self.profile.id, "unit": self.unit, **self.keys}
        return "[[buses.devices]]\n" + "".join(f"{key} = {json.dumps(keys[key])}\n" for key in keys)

    def device(self, timeout_s=0.3, **more):
        return Device(self.id, self.profile, self.unit, timeout_s, **more)


@contextlib.asynccontextmanager
async def serial_bus(folder, slaves, *, baud=115_200, faults=None):
    """Serve slaves on a pseudo-terminal; yield the link for ``modbus_rtu``."""
    port = folder / "line"
    async with running(serve_rtu(slaves, port, baud, SystemClock(), faults)):
        await wait_until(port.exists)
        yield modbus_rtu.Config(port=str(port), baud=baud)


@contextlib.asynccontextmanager
async def polling_serial(link, devices, period_s, **extra):
    """Run a bus on a real line; yield its readings and its poller."""
    heard, pollers = [], []
    bus = Bus("b", modbus_rtu, link, period_s, tuple(devices))
    task = asyncio.ensure_future(run_bus(bus, heard.append, SystemClock(), polled=pollers.append, **extra))
    await wait_until(lambda: pollers or task.done())
    try:
        yield heard, pollers[0]
    finally:
        await stopped(task)


@contextlib.asynccontextmanager
async def disk_hangs(keeper):
    """The disk answers nobody until the end of the block."""
    hangs, gone = threading.Event(), threading.Event()

    def hang(_):
        hangs.set()
        gone.wait(20)

    looking = asyncio.ensure_future(keeper.look(hang))
    try:
        await wait_until(hangs.is_set)
        yield
    finally:
        gone.set()
        await looking
