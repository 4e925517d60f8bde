"""A modem on a serial line: one command at a time, and whatever it says unasked."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, Self

import serial
import serial_asyncio_fast
import structlog

from edge_agent.modems._radio import CEREG, Asleep, Datagram, Fetch, Lost, Published, is_registered
from edge_agent.ports import reason
from telemetry.errors import Unavailable
from telemetry.wire.at import Command, Dialog, Done, Unsolicited, Wants

if TYPE_CHECKING:
    from types import TracebackType

    from telemetry.clock import Clock

_CHUNK = 512
_WAITING = 64  # datagrams and news
_WAKES, _WAKE_S = 5, 1.0  # a modem that sleeps loses the first command
_POLL_S = 2.0
_BUSY = (1.0, 2.0, 4.0)  # pauses while its buffers are full
log = structlog.get_logger()


class Modem:
    """``async with`` owns the port; ``dialect`` is a module of :mod:`edge_agent.modems`."""

    def __init__(self, port: str, baud: int, dialect: Any, clock: Clock) -> None:
        self._port, self._baud, self._dialect, self._clock = port, baud, dialect, clock
        self._dialog, self._turn = Dialog(), asyncio.Lock()
        self._done: asyncio.Future[Done] | None = None
        self._news: asyncio.Queue[Datagram | Published | Fetch | Lost] = asyncio.Queue(_WAITING)
        self._asleep = self._attached = False
        self.overrun = 0
        """Datagrams that came faster than they were taken."""

    async def __aenter__(self) -> Self:
        try:
            self._reader, self._writer = await serial_asyncio_fast.open_serial_connection(
                url=self._port, baudrate=self._baud
            )
        except (serial.SerialException, OSError) as error:
            raise Unavailable(f"{self._port}: {reason(error)}") from None
        self._reading = asyncio.ensure_future(self._read())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._reading.cancel()
        await asyncio.wait({self._reading})
        self._writer.close()
        with contextlib.suppress(serial.SerialException, OSError):  # the port may be gone already
            await self._writer.wait_closed()

    async def attach(self, within_s: float) -> None:
        """Bring the modem into the network; raise :class:`Unavailable`."""
        await self._wake()
        for command in self._dialect.PREPARE:
            try:
                await self.do(command)
            except Refusal as error:
                log.debug("modem_does_not_know", command=command.text, problem=str(error))
        deadline = self._clock.monotonic() + within_s
        while not is_registered(await self.do(Command("AT+CEREG?", info=CEREG))):
            if self._clock.monotonic() >= deadline:
                raise Unavailable(f"{self._port}: no network within {within_s:g} s")
            await self._clock.sleep(_POLL_S)
        self._attached = True

    async def do(self, command: Command) -> tuple[str, ...]:
        """Carry out a command; return its lines.

        Raises :class:`Refusal` when the modem answers with an error, and :class:`Unavailable` when it does not answer.
        """
        async with self._turn:
            if self._asleep:
                await self._wake()
            done = await self._one(command)
        if done is None:
            self._asleep = True  # or dead: the next command will tell
            raise Unavailable(f"{self._port}: no answer to {command.text[:24]} in {command.timeout_s:g} s")
        if done.error:
            raise Refusal(f"{self._port}: {command.text[:24]}: {done.error}")
        return done.lines

    async def send(self, socket: int, host: str, port: int, data: bytes) -> None:
        """Send a datagram; wait a little where the modem's buffers are full."""
        await self.patiently(self._dialect.send(socket, host, port, data))

    async def patiently(self, command: Command) -> tuple[str, ...]:
        """Carry out a command that the modem refuses while its buffers are full."""
        for pause in _BUSY:
            try:
                return await self.do(command)
            except Refusal:
                await self._clock.sleep(pause)
        return await self.do(command)

    async def signal(self) -> dict[str, float]:
        """Return what the radio tells."""
        lines: list[str] = []
        for command in self._dialect.SIGNAL:
            with contextlib.suppress(Refusal):
                lines += await self.do(command)
        told: dict[str, float] = self._dialect.signal(lines)
        return told

    async def arrived(self) -> Datagram | Published:
        """Return what arrives next; raise :class:`Unavailable` when the network, the session or the port is lost."""
        while True:
            news = await self._news.get()
            if isinstance(news, Lost):
                raise Unavailable(f"{self._port}: {news.why}")
            if isinstance(news, Datagram | Published):
                return news
            try:
                lines = await self.do(news.command)
            except Refusal as error:  # nothing waits any more: that is no reason to call again
                log.debug("modem_has_nothing", command=news.command.text, problem=str(error))
                continue
            datagrams, more = self._dialect.arrived(lines)
            for item in (*datagrams, *([more] if more else [])):
                self._tell(item)

    async def _one(self, command: Command) -> Done | None:
        self._done = asyncio.get_running_loop().create_future()
        try:
            self._writer.write(self._dialog.ask(command))
            async with asyncio.timeout(command.timeout_s):
                return await self._done
        except TimeoutError:
            return None
        finally:
            self._dialog.give_up()
            self._done = None

    async def _wake(self) -> None:
        for _ in range(_WAKES):
            if await self._one(Command("AT", timeout_s=_WAKE_S)) is not None:
                self._asleep = False
                return
        raise Unavailable(f"{self._port}: no modem answers")

    async def _read(self) -> None:
        try:
            while data := await self._reader.read(_CHUNK):
                for event in self._dialog.feed(data):
                    self._handle(event)
        except (serial.SerialException, OSError) as error:
            self._tell(Lost(reason(error)))
        else:
            self._tell(Lost("the port was closed"))

    def _handle(self, event: Done | Unsolicited | Wants) -> None:
        if isinstance(event, Done):
            if self._done is not None and not self._done.done():
                self._done.set_result(event)
        elif isinstance(event, Wants):
            self._writer.write(event.data)
        else:
            heard = self._dialect.heard(event.line)
            if isinstance(heard, Asleep):
                self._asleep = True
            elif heard is not None and (self._attached or not isinstance(heard, Lost)):
                self._tell(heard)

    def _tell(self, news: Datagram | Published | Fetch | Lost) -> None:
        if self._news.full():
            if isinstance(self._news.get_nowait(), Lost):
                news = Lost(
                    "the network was lost while much was heard"
                )  # which matters more than what came since
            self.overrun += 1
        self._news.put_nowait(news)


class Refusal(Unavailable):
    """The modem answered with an error."""
