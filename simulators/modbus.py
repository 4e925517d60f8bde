"""Modbus servers: pymodbus frames and answers, the city says what the registers hold.

Over TCP it is pymodbus's own server; on a serial line, which here is a pseudo-terminal, requests are read
from the master side and take as long as their bytes would at the line's speed.
"""

from __future__ import annotations

import asyncio
import os
import tty
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from pymodbus.constants import ExcCodes
from pymodbus.exceptions import ModbusIOException, NoSuchIdException
from pymodbus.framer import FramerRTU
from pymodbus.pdu import DecodePDU, ExceptionResponse, ModbusPDU
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import SimData, SimDevice

from device_profiles.profile import Space

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from simulators.city import Thing
    from telemetry.clock import Clock

_SPACES = {1: Space.COIL, 5: Space.COIL, 15: Space.COIL, 2: Space.DISCRETE, 4: Space.INPUT,
           3: Space.HOLDING, 6: Space.HOLDING, 16: Space.HOLDING}  # fmt: skip
_TURNAROUND_S = 0.004  # what a small controller takes to answer
_BITS_PER_BYTE = 11


class Units:
    """The devices of one bus, in the form that pymodbus's requests ask of."""

    def __init__(self, things: Sequence[Thing], clock: Clock) -> None:
        self._clock = clock
        self._units: dict[int, list[Thing]] = {}
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

    def _answering(self, unit: int) -> list[Thing] | ExcCodes:
        now = self._clock.now_ms()
        states = {thing.id: thing.state(now) for thing in self._units.get(unit, ())}
        things = [thing for thing in self._units.get(unit, ()) if states[thing.id] != "offline"]
        if not things:
            raise NoSuchIdException
        return ExcCodes.DEVICE_FAILURE if "refuse" in states.values() else things


class _TcpServer(ModbusTcpServer):
    def __init__(self, units: Units, port: int) -> None:
        nobody = SimDevice(1, [SimData(0, values=0)])
        super().__init__(nobody, address=("127.0.0.1", port), ignore_missing_devices=True)
        self.context = units  # type: ignore[assignment]


@asynccontextmanager
async def serve_tcp(things: Sequence[Thing], port: int, clock: Clock) -> AsyncIterator[None]:
    """Serve the units on 127.0.0.1:``port`` while the block lasts."""
    server = _TcpServer(Units(things, clock), port)
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


async def serve_rtu(things: Sequence[Thing], link: Path, baud: int, clock: Clock) -> None:
    """Answer requests on a serial line named ``link``, until cancelled."""
    units, framer, line = Units(things, clock), FramerRTU(DecodePDU(True)), Pty(link)
    buffer = b""
    try:
        while True:
            buffer = (buffer + await line.read())[-512:]
            request, buffer = _take(framer, buffer)
            if request is None:
                continue
            answer = await _answer(request, units)
            if answer is None:
                continue
            frame = framer.buildFrame(answer)
            await clock.sleep(_TURNAROUND_S + (len(frame) + 8) * _BITS_PER_BYTE / baud)
            line.write(frame)
    finally:
        line.close()


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
