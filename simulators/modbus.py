"""Modbus servers: pymodbus frames and answers, the city says what the registers hold.

Over TCP it is pymodbus's own server; on a serial line, which here is a pseudo-terminal, requests are read
from the master side and take as long as their bytes would at the line's speed.
"""

from __future__ import annotations

import asyncio
import os
import tty
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
from pymodbus.constants import ExcCodes
from pymodbus.exceptions import ModbusIOException, NoSuchIdException
from pymodbus.framer import FramerRTU
from pymodbus.pdu import DecodePDU, ExceptionResponse, ModbusPDU
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import SimData, SimDevice

from device_profiles.profile import Space

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Container, Mapping, Sequence
    from pathlib import Path

    from device_profiles.registers import Image
    from telemetry.clock import Clock

_SPACES = {1: Space.COIL, 5: Space.COIL, 15: Space.COIL, 2: Space.DISCRETE, 4: Space.INPUT,
           3: Space.HOLDING, 6: Space.HOLDING, 16: Space.HOLDING}  # fmt: skip
_TURNAROUND_S = 0.005  # what a small controller takes to answer
_GAP_CHARS = 3.5  # silence that ends a frame, MODBUS over Serial Line V1.02 §2.5.1
_GAP_S = 0.00175  # above 19,200 baud
_COARSE_S = 0.001  # what the event loop's timers are off by
_LONGEST = 512


class Slave(Protocol):
    """A device as its bus sees it."""

    @property
    def id(self) -> str:
        """The device's name."""

    @property
    def unit(self) -> int:
        """Its address on the bus; several devices may share one."""

    @property
    def image(self) -> Image:
        """What its registers hold now."""

    @property
    def readable(self) -> Container[tuple[Space, int]]:
        """What a request may span beside them, which reads 0."""

    def state(self, now_ms: int, /) -> str:
        """Return ``offline``, ``refuse`` or nothing."""

    def write(self, space: Space, address: int, words: list[int], now_ms: int, /) -> bool:
        """Take a write; return whether the device has such a register."""


class Faults(msgspec.Struct):
    """What is wrong with one device on a bus; may be changed while it is served."""

    dead: bool = False
    slow_s: float = 0.0  # later than it should answer
    holes: frozenset[tuple[Space, int]] = frozenset()  # addresses that no request may touch
    longest: int | None = None  # registers in one request


_WELL = Faults()


class Units:
    """The devices of one bus, in the form that pymodbus's requests ask of."""

    def __init__(
        self, things: Sequence[Slave], clock: Clock, faults: Mapping[str, Faults] | None = None
    ) -> None:
        self._clock, self._faults = clock, faults or {}
        self._units: dict[int, list[Slave]] = {}
        for thing in things:
            self._units.setdefault(thing.unit, []).append(thing)

    def device_ids(self) -> list[int]:
        """Return the unit ids."""
        return list(self._units)

    async def async_getValues(self, unit: int, function: int, address: int, count: int = 1) -> Any:
        """Return registers or bits, or an exception code."""
        things = self._answering(unit)
        if isinstance(things, ExcCodes):
            return things
        space, values = _SPACES[function], list[int]()
        for fault in (self._faults[thing.id] for thing in things if thing.id in self._faults):
            if fault.longest is not None and count > fault.longest:
                return ExcCodes.ILLEGAL_VALUE
            if any((space, place) in fault.holes for place in range(address, address + count)):
                return ExcCodes.ILLEGAL_ADDRESS
        held = {key: word for thing in things for key, word in thing.image.items()}
        for place in range(address, address + count):
            word = held.get((space, place))
            if word is None and not any((space, place) in thing.readable for thing in things):
                return ExcCodes.ILLEGAL_ADDRESS
            values.append(word or 0)
        return [bool(v) for v in values] if space.is_bits else values

    async def async_setValues(
        self, unit: int, function: int, address: int, values: Sequence[int]
    ) -> ExcCodes | None:
        """Write registers or bits; return an exception code or None."""
        things = self._answering(unit)
        if isinstance(things, ExcCodes):
            return things
        words = [int(value) for value in values]
        done = [thing.write(_SPACES[function], address, words, self._clock.now_ms()) for thing in things]
        return None if any(done) else ExcCodes.ILLEGAL_ADDRESS

    def slowness(self, unit: int) -> float:
        """Return by how many seconds a unit is late."""
        return max((self._faults.get(t.id, _WELL).slow_s for t in self._units.get(unit, ())), default=0.0)

    def _answering(self, unit: int) -> list[Slave] | ExcCodes:
        now = self._clock.now_ms()
        states = {thing.id: thing.state(now) for thing in self._units.get(unit, ())}
        things = [
            thing
            for thing in self._units.get(unit, ())
            if states[thing.id] != "offline" and not self._faults.get(thing.id, _WELL).dead
        ]
        if not things:
            raise NoSuchIdException
        return ExcCodes.DEVICE_FAILURE if "refuse" in states.values() else things


class _TcpServer(ModbusTcpServer):
    def __init__(self, units: Units, port: int) -> None:
        nobody = SimDevice(1, [SimData(0, values=0)])
        super().__init__(nobody, address=("127.0.0.1", port), ignore_missing_devices=True)
        self.context = units  # type: ignore[assignment]


@asynccontextmanager
async def serve_tcp(
    things: Sequence[Slave], port: int, clock: Clock, faults: Mapping[str, Faults] | None = None
) -> AsyncIterator[None]:
    """Serve the units on 127.0.0.1:``port`` while the block lasts."""
    server = _TcpServer(Units(things, clock, faults), port)
    await server.serve_forever(background=True)
    try:
        yield
    finally:
        await server.shutdown()  # type: ignore[no-untyped-call]


class Pty:
    """A pseudo-terminal whose far end has a stable name."""

    def __init__(self, link: Path) -> None:
        self.master, self._slave = os.openpty()
        tty.setraw(self._slave)
        os.set_blocking(self.master, False)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(os.ttyname(self._slave))
        self._link = link
        self._arrived = asyncio.Event()
        asyncio.get_running_loop().add_reader(self.master, self._arrived.set)

    async def read(self) -> bytes:
        """Return what has arrived, waiting for it."""
        while True:
            self._arrived.clear()
            try:
                return os.read(self.master, 4096)
            except BlockingIOError:
                await self._arrived.wait()

    def write(self, data: bytes) -> None:
        """Send; what nobody reads falls off the line, as it does on a real one."""
        try:
            os.write(self.master, data)
        except BlockingIOError:
            return

    def close(self) -> None:
        """Take the line away."""
        asyncio.get_running_loop().remove_reader(self.master)
        self._link.unlink(missing_ok=True)
        os.close(self.master)
        os.close(self._slave)


async def serve_rtu(
    things: Sequence[Slave], link: Path, baud: int, clock: Clock, faults: Mapping[str, Faults] | None = None
) -> None:
    """Answer requests on a serial line named ``link``, until cancelled."""
    bus, line = RtuBus(Units(things, clock, faults), baud), Pty(link)
    try:
        while True:
            await bus.take(await line.read(), line.write)
    finally:
        line.close()


@asynccontextmanager
async def serve_rtu_tcp(
    things: Sequence[Slave], port: int, baud: int, clock: Clock, faults: Mapping[str, Faults] | None = None
) -> AsyncIterator[None]:
    """Serve a line behind a serial server, which passes RTU frames through TCP as they are."""
    units = Units(things, clock, faults)

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        bus = RtuBus(units, baud)
        try:
            while data := await reader.read(_LONGEST):
                await bus.take(data, writer.write)
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", port)
    try:
        yield
    finally:
        server.close()


class RtuBus:
    """Takes requests off a line and answers as late as a real line and device would."""

    def __init__(self, units: Units, baud: int) -> None:
        self._units, self._framer = units, FramerRTU(DecodePDU(True))
        self._byte_s = 10 / baud  # 8N1
        self._gap_s = _GAP_S if baud > 19_200 else _GAP_CHARS * self._byte_s
        self._buffer = b""
        self.wire_s = 0.0
        """How long the line was busy or had to be silent so far: what no master can be faster than."""

    async def take(self, data: bytes, send: Callable[[bytes], None]) -> None:
        """Take bytes as they arrive; a pseudo-terminal brings them at once, the line would not."""
        loop = asyncio.get_running_loop()
        arrived = loop.time()
        before = len(self._buffer)
        self._buffer = (self._buffer + data)[-_LONGEST:]
        request, self._buffer = _take(self._framer, self._buffer)
        if request is None:
            return
        answer = await _answer(request, self._units)
        asked_s = (before + len(data) - len(self._buffer)) * self._byte_s
        if answer is None:
            self.wire_s += asked_s + self._gap_s
            return
        frame = self._framer.buildFrame(answer)
        taken_s = asked_s + max(_TURNAROUND_S, self._gap_s) + len(frame) * self._byte_s
        self.wire_s += taken_s + self._gap_s
        if late_s := self._units.slowness(request.dev_id):
            loop.call_later(taken_s + late_s, send, frame)  # others may speak in the meantime
            return
        while (left := arrived + taken_s - loop.time()) > 0:
            await asyncio.sleep(left - _COARSE_S if left > _COARSE_S else 0)
        send(frame)


def _take(framer: FramerRTU, buffer: bytes) -> tuple[ModbusPDU | None, bytes]:
    try:
        used, request = framer.handleFrame(buffer, 0, 0)
    except ModbusIOException:
        return None, b""
    return request, buffer[used:]


async def _answer(request: ModbusPDU, units: Units) -> ModbusPDU | None:
    try:
        answer: ModbusPDU | None = await request.datastore_update(units, request.dev_id)  # type: ignore[arg-type]
    except NoSuchIdException:
        return None
    if answer is None:
        answer = ExceptionResponse(request.function_code, ExcCodes.DEVICE_FAILURE)
    answer.transaction_id, answer.dev_id = request.transaction_id, request.dev_id
    return answer
