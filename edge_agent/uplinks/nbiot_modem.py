"""NB-IoT by a modem on a serial line: MessagePack in datagrams of at most 512 bytes, to a gateway beside the broker.

Or by the modem's own MQTT to the broker itself (``over = "mqtt"``, see :mod:`edge_agent.session`), where the network
keeps a TCP connection alive for as long as the modem sleeps.

Nothing rests on UDP: an upload leaves the outbox when the cloud's own acknowledgement has come back the same way.  The
status is confirmed by the gateway (``ok``), so that the agent knows that the way is open in both directions.  The
gateway passes on what the cloud sends down; a modem that sleeps hears it when it next sends.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import structlog

from edge_agent.modem import Modem, Refusal
from edge_agent.modems._radio import Datagram
from edge_agent.session import Session
from telemetry import plugins, topics
from telemetry.config import Secret
from telemetry.errors import Malformed, Refused, Unavailable
from telemetry.wire.datagram import DOWN, Assembler, Message, Replayed, pack

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from edge_agent.link import Calling
    from telemetry.clock import Clock

MOST_BYTES = (
    440  # an upload and its head fit into one datagram, whatever area and agent are called up to 40 letters
)
LARGEST_BYTES = 8 * 1024  # in several datagrams: an alarm in two languages, what was put for another way
LARGEST_PUBLICATION = 1024
CODEC = "msgpack"
WINDOW = 4
PATIENCE_S = 20.0
_NUMBERS = re.compile(r"\d{1,3}(\.\d{1,3}){3}")
_UDP_IP = 28  # bytes that UDP and IP add
_CONFIRM_S, _TRIES = 15.0, 3
_SIGNAL_S = 60.0
_WAITING = 64
_SOCKETS = 7  # that a modem has at most: one left open is one less for ever
log = structlog.get_logger()


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The ``link`` table."""

    port: str  # the serial port, best a stable name under /dev/serial/by-id/
    modem: str  # a file of edge_agent/modems
    host: str  # the gateway's or the broker's address: modems want numbers
    over: Literal["udp", "mqtt"] = "udp"
    udp_port: int = 0
    key: Secret | None = None  # of datagrams: the agent's own, as the gateway knows it
    mqtt_port: int = 1883
    username: str = ""
    password: Secret | None = None
    baud: int = 9600
    attach_s: float = 180.0

    def __post_init__(self) -> None:
        try:
            dialect = plugins.load("edge_agent.modems", self.modem)
        except Refused as error:
            raise ValueError(str(error)) from None
        if self.over == "udp" and (not self.udp_port or self.key is None):
            raise ValueError(
                "datagrams need 'udp_port' and 'key', as the gateway knows them; or over = 'mqtt'"
            )
        if self.over == "udp" and not _NUMBERS.fullmatch(self.host):
            raise ValueError(
                f"a modem asks no name server for '{self.host}': give 'host' as an address, 203.0.113.7"
            )
        if self.over == "mqtt" and not hasattr(dialect, "mqtt"):
            raise ValueError(f"the MQTT of a {self.modem} is not known here; over = 'udp' needs none")
        words = (self.username, self.password.reveal() if self.password else "")
        if self.over == "mqtt" and any('"' in word or not word.isprintable() for word in words):
            raise ValueError(
                "a quotation mark or control character in 'username' or 'password' cannot be told a modem"
            )

    @property
    def where(self) -> str:
        """The other end, for people."""
        return f"{self.host}:{self.udp_port if self.over == 'udp' else self.mqtt_port} by {self.modem}"

    @property
    def largest_bytes(self) -> int:
        """What the way can carry at all: datagrams come in parts, a publication does not."""
        return LARGEST_BYTES if self.over == "udp" else LARGEST_PUBLICATION

    @property
    def login(self) -> tuple[str, str] | None:
        """Who we are to the broker."""
        return (self.username, self.password.reveal() if self.password else "") if self.username else None


class ModemLink:
    """A socket in the modem, and the gateway at its other end."""

    def __init__(self, modem: Modem, config: Config, calling: Calling, clock: Clock) -> None:
        self._modem, self._config, self._calling, self._clock = modem, config, calling, clock
        assert config.key is not None, "the configuration sees to it"
        self._key = config.key.reveal().encode()
        self._assembler = Assembler(self._key_of, session=lambda: self._session)
        self._session: int = clock.now_ms()
        self._number = 0
        self._confirmed: dict[int, asyncio.Future[bool]] = {}
        self._down: asyncio.Queue[tuple[str, bytes] | Unavailable] = asyncio.Queue(_WAITING)
        self._signal: dict[str, float] = {}
        self._signal_at = -_SIGNAL_S
        self.socket = -1
        self.traffic = 0
        self.replayed = 0
        """Datagrams that were captured and sent again, by whomever; they are dropped."""

    async def open(self) -> None:
        """Open the socket; raise :class:`Unavailable`."""
        dialect = plugins.load("edge_agent.modems", self._config.modem)
        lines: tuple[str, ...] = ()
        for number in range(_SOCKETS):  # left open by an agent that was killed; the others are refused
            with contextlib.suppress(Refusal):
                await self._modem.do(dialect.close(number))
        for command in dialect.open_socket(self._config.host, self._config.udp_port):
            lines = await self._modem.do(command) or lines
        self.socket = dialect.socket_of(lines)
        if self.socket < 0:
            raise Unavailable(f"{self._config.port}: the modem opened no socket: {' '.join(lines)}")

    async def send(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """See the seam; what is to be retained is confirmed by the gateway."""
        kind = topic.split("/", 4)[4]
        if retain:
            await self._send_until_confirmed(kind, payload)
        else:
            await self._send(kind, payload)
        if (
            self._clock.monotonic() - self._signal_at >= _SIGNAL_S
        ):  # behind the message, which may be an alarm
            self._signal_at = self._clock.monotonic()
            self._signal = await self._modem.signal()

    async def _send_until_confirmed(self, kind: str, payload: bytes) -> None:
        for _ in range(_TRIES):  # each try under a number of its own: what comes twice is taken for a replay
            confirmed: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
            number = await self._send(kind, payload, confirmed)
            try:
                async with asyncio.timeout(_CONFIRM_S):
                    if await confirmed:
                        return
            except TimeoutError:
                continue
            finally:
                self._confirmed.pop(number, None)
        raise Unavailable(f"{self._config.where}: no answer in {_TRIES} times {_CONFIRM_S:g} s")

    async def receive(self) -> AsyncIterator[tuple[str, bytes]]:
        """See the seam."""
        while True:
            item = await self._down.get()
            if isinstance(item, Unavailable):
                raise item
            yield item

    def metrics(self) -> Mapping[str, float]:
        """Return signal_dbm, and rsrp_dbm, rsrq_db, snr_db and ecl where the modem tells them."""
        lost = {"replayed_datagrams": self.replayed, "overrun_datagrams": self._modem.overrun}
        return self._signal | {name: float(count) for name, count in lost.items() if count}

    async def pump(self) -> None:
        """Take what arrives, until the network is lost."""
        while True:
            try:
                news = await self._modem.arrived()
            except Unavailable as error:
                await self._down.put(error)
                return
            if not isinstance(news, Datagram):
                continue
            data = news.data
            self.traffic += len(data) + _UDP_IP
            try:
                message = self._assembler.feed(data)
            except Replayed:
                self.replayed += 1
                continue
            except Malformed as error:
                log.warning("unreadable_datagram", problem=str(error))
                continue
            if message is not None:
                await self._take(message)

    async def _take(self, message: Message) -> None:
        if message.kind not in DOWN:  # its own, sent back to it
            self.replayed += 1
        elif message.kind == "ok":
            self._confirm(int.from_bytes(message.payload, "big"), well=True)
        elif message.kind == "stale":  # this clock has gone back: the gateway knows a later session
            self._session = max(self._session, int.from_bytes(message.payload, "big")) + 1
            self._number = 0
            log.warning("session_set_right", session=self._session)
            for number in list(self._confirmed):
                self._confirm(number, well=False)
        else:
            await self._down.put(
                (f"{topics.ROOT}/{message.area}/{message.agent}/{message.kind}", message.payload)
            )

    def _confirm(self, number: int, *, well: bool) -> None:
        confirmed = self._confirmed.get(number)
        if confirmed is not None and not confirmed.done():
            confirmed.set_result(well)

    async def _send(self, kind: str, payload: bytes, confirmed: asyncio.Future[bool] | None = None) -> int:
        """Send a message and return its number; ``confirmed`` is done when the gateway has it, False for: again."""
        self._number += 1
        number = self._number
        if confirmed is not None:
            self._confirmed[number] = confirmed
        message = Message(self._calling.area, self._calling.agent, self._session, number, kind, payload)
        for data in pack(message, self._key):
            await self._modem.send(self.socket, self._config.host, self._config.udp_port, data)
            self.traffic += len(data) + _UDP_IP
        return number

    def _key_of(self, area: str, agent: str) -> bytes | None:
        return self._key if (area, agent) == (self._calling.area, self._calling.agent) else None


@contextlib.asynccontextmanager
async def connect(config: Config, calling: Calling, clock: Clock) -> AsyncIterator[ModemLink | Session]:
    """Attach, and open a socket or a session; raise :class:`Unavailable`."""
    dialect: Any = plugins.load("edge_agent.modems", config.modem)
    async with Modem(config.port, config.baud, dialect, clock) as modem:
        await modem.attach(config.attach_s)
        link: ModemLink | Session
        if config.over == "mqtt":
            link = Session(modem, dialect.mqtt, config.where, clock)
            client = f"{calling.area}-{calling.agent}"
            await link.open(config.host, config.mqtt_port, client, config.login, calling.hears)
        else:
            link = ModemLink(modem, config, calling, clock)
            await link.open()
        pump = asyncio.ensure_future(link.pump())
        try:
            yield link
        finally:
            pump.cancel()
            await asyncio.wait({pump})
