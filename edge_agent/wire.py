"""Modbus frames on a line: a serial port or a TCP connection, RTU or MBAP framing, one exchange at a time.

::

    RTU    address  function  data …  CRC-16 low high        silence of 3.5 characters ends a frame
    MBAP   transaction  0 0  length  unit  function  data …

MODBUS over Serial Line V1.02 §2.5.1, MODBUS Messaging on TCP/IP Implementation Guide V1.0b §3.1.3.  What
arrives when nothing is asked, or from another unit, is thrown away; after a time-out on a serial line the line is
left to fall silent, so that a late answer is never taken for the next one's.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Protocol

import serial
import serial_asyncio_fast
from pymodbus.framer import FramerRTU

from edge_agent.driver import LinkDown
from edge_agent.ports import reason
from telemetry.errors import Malformed, Unavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

_OPEN_S = 2.0
_LATEST_S = 0.001  # below it, the event loop's own clock is too coarse to wait by
_EXCEPTION = 0x80
_MOST_BYTES = 260  # MODBUS Messaging on TCP/IP §4.1: no frame is longer
_DEAF = 3  # requests in a row without one byte, until a connection is taken for dead


class Framing(Protocol):
    """How a PDU is wrapped; it remembers what was asked last, to know its answer."""

    def wrap(self, unit: int, pdu: bytes) -> bytes:
        """Return the frame of a request."""

    def answer(self, data: bytes) -> tuple[bytes | None, int]:
        """Return the PDU of the answer, or None while there is none, and how many bytes are done with.

        Raises :class:`Malformed`.
        """


class Rtu:
    """RTU framing: the length of an answer is known from its first bytes."""

    def __init__(self) -> None:
        self._unit, self._pdu = 0, b""

    def wrap(self, unit: int, pdu: bytes) -> bytes:
        """See :class:`Framing`."""
        self._unit, self._pdu = unit, pdu
        frame = bytes((unit,)) + pdu
        return frame + FramerRTU.compute_CRC(frame).to_bytes(2, "big")

    def answer(self, data: bytes) -> tuple[bytes | None, int]:
        """See :class:`Framing`.  Noise before the frame, and what another unit said late, is skipped."""
        broken, unfinished = -1, False
        for begin in range(len(data) - 4):
            if data[begin] != self._unit or data[begin + 1] & 0x7F != self._pdu[0]:
                continue
            end = begin + self._length(data[begin:])
            if end > len(data):
                unfinished = True
            elif int.from_bytes(data[end - 2 : end], "big") == FramerRTU.compute_CRC(data[begin : end - 2]):
                return data[begin + 1 : end - 2], end
            else:
                broken = begin if broken < 0 else broken
        if (broken >= 0 and not unfinished) or len(data) > _MOST_BYTES:
            raise Malformed("answer: checksum does not match", data, offset=max(broken, 0))
        return None, 0

    def _length(self, data: bytes) -> int:
        if data[1] & _EXCEPTION:
            return 5
        return 5 + data[2] if data[1] <= 4 else 8  # reads carry a count; writes echo address and value


class Mbap:
    """TCP framing: a transaction number tells an answer from a late one."""

    def __init__(self) -> None:
        self._number, self._unit = 0, 0

    def wrap(self, unit: int, pdu: bytes) -> bytes:
        """See :class:`Framing`."""
        self._number, self._unit = self._number % 0xFFFF + 1, unit
        return (
            self._number.to_bytes(2, "big")
            + b"\0\0"
            + (len(pdu) + 1).to_bytes(2, "big")
            + bytes((unit,))
            + pdu
        )

    def answer(self, data: bytes) -> tuple[bytes | None, int]:
        """See :class:`Framing`."""
        begin = 0
        while begin + 8 <= len(data):
            if data[begin + 2 : begin + 4] != b"\0\0":
                raise Malformed("answer: no Modbus protocol id", data, offset=begin + 2)
            end = begin + 6 + int.from_bytes(data[begin + 4 : begin + 6], "big")
            if not begin + 8 <= end <= begin + _MOST_BYTES:
                raise Malformed("answer: its length makes no sense", data, offset=begin + 4)
            if end > len(data):
                break
            if int.from_bytes(data[begin : begin + 2], "big") == self._number:
                return data[begin + 7 : end], end
            begin = end
        return None, begin


class Port(asyncio.Protocol):
    """Collects what arrives and wakes the one who waits."""

    def __init__(self) -> None:
        self.buffer = bytearray()
        self.heard = 0.0  # when a byte came last, on the loop's clock
        self.waiter: asyncio.Future[None] | None = None
        self.lost: str | None = None
        self.gone = asyncio.get_running_loop().create_future()

    def data_received(self, data: bytes) -> None:
        """See :class:`asyncio.Protocol`."""
        self.buffer += data
        self.heard = asyncio.get_running_loop().time()
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """See :class:`asyncio.Protocol`."""
        self.lost = str(exc) if exc else "closed by the other end"
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)
        if not self.gone.done():
            self.gone.set_result(None)


class Line:
    """One line to one or more units.  Opened on first use; after an error it is opened anew."""

    def __init__(
        self,
        connect: Callable[[], Awaitable[tuple[asyncio.Transport, Port]]],
        framing: Framing,
        gap_s: float,
        where: str,
    ) -> None:
        self._connect, self._framing, self._gap_s, self._where = connect, framing, gap_s, where
        self._transport: asyncio.Transport | None = None
        self._port: Port | None = None
        self._leaving: Port | None = None
        self._quiet_after, self._deaf = 0.0, 0
        self._over = False
        self.opened = 0
        """How often it was opened: another number may mean another device at its end."""

    async def ask(self, unit: int, pdu: bytes, timeout_s: float) -> bytes:
        """Send a request and return the PDU that answers it.

        Raises :class:`LinkDown`, :class:`Unavailable` after ``timeout_s``, or :class:`Malformed`.
        """
        port = await self._opened()
        loop = asyncio.get_running_loop()
        await self._silence(port)
        port.buffer.clear()
        assert self._transport is not None
        self._transport.write(self._framing.wrap(unit, pdu))
        deadline = loop.time() + timeout_s
        try:
            while True:
                answer, used = self._framing.answer(bytes(port.buffer))
                del port.buffer[:used]
                if answer is not None:
                    self._deaf = 0
                    return answer
                if port.lost is not None:
                    raise LinkDown(f"{self._where}: {port.lost}")
                await self._wait(port, deadline)
        except TimeoutError:
            self._quiet_after, self._deaf = loop.time(), self._deaf + 1 if not port.buffer else 0
            if self._deaf >= _DEAF and not self._gap_s:
                self.close()  # a peer that vanished without a word is found only so
            raise Unavailable(f"unit {unit} did not answer in {timeout_s:g} s") from None
        except Malformed:
            self._quiet_after = loop.time()
            if not self._gap_s:
                self.close()  # where in the stream the next frame begins, nobody knows
            raise
        except (LinkDown, asyncio.CancelledError):
            self.close()
            raise

    async def _wait(self, port: Port, deadline: float) -> None:
        """Wait for a byte; raise TimeoutError at the deadline.  One timer, no task: this runs for each frame."""
        loop = asyncio.get_running_loop()
        port.waiter = loop.create_future()
        timer = loop.call_at(deadline, _overdue, port.waiter)
        try:
            await port.waiter
        finally:
            timer.cancel()
            port.waiter = None

    async def _silence(self, port: Port) -> None:
        """Let the silence pass that ends a frame."""
        loop = asyncio.get_running_loop()
        while (left := max(port.heard, self._quiet_after) + self._gap_s - loop.time()) > 0:
            # the loop's timer is a millisecond coarse: the last of them passes turn by turn
            await asyncio.sleep(left - _LATEST_S if left > _LATEST_S else 0)

    async def _opened(self) -> Port:
        if self._port is not None and self._port.lost is None:
            return self._port
        if (
            self._over
        ):  # a command that has waited for its turn would hold the port against whoever comes next
            raise LinkDown(f"{self._where}: the bus is let go")
        self.close()
        try:
            async with asyncio.timeout(_OPEN_S):
                self._transport, self._port = await self._connect()
        except TimeoutError:
            raise LinkDown(f"{self._where}: no connection in {_OPEN_S:g} s") from None
        except (OSError, serial.SerialException) as error:
            raise LinkDown(f"{self._where}: {reason(error)}") from None
        self.opened += 1
        return self._port

    def close(self) -> None:
        """Let go of the port; the next request opens it again."""
        if self._transport is not None:
            self._transport.abort()
        self._leaving, self._transport, self._port = self._port or self._leaving, None, None

    async def closed(self) -> None:
        """Let go of the port for good, and wait until it is gone."""
        self._over = True
        self.close()
        if self._leaving is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_OPEN_S):
                    await self._leaving.gone


def _overdue(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_exception(TimeoutError())


async def open_tcp(host: str, port: int) -> tuple[asyncio.Transport, Port]:
    """Connect to a Modbus TCP device, a gateway or a serial server."""
    return await asyncio.get_running_loop().create_connection(Port, host, port)


async def open_serial(port: str, baud: int, form: str) -> tuple[asyncio.Transport, Port]:
    """Open a serial port for this process alone."""
    line = Port()
    transport, _ = await serial_asyncio_fast.create_serial_connection(
        asyncio.get_running_loop(), lambda: line, url=port, baudrate=baud, bytesize=int(form[0]), parity=form[1],
        stopbits=int(form[2]), exclusive=True,
    )  # fmt: skip
    return transport, line
