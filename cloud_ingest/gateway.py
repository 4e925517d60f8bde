"""``yemai ingest gateway``: the other end of agents that send datagrams, beside the broker.

What an agent sends is published on its topics; ``status`` is retained and confirmed.  Acknowledgements, commands and
configurations go to the address from which the agent was last heard, and the configuration again with each status,
because a modem that slept has missed it.

Nothing rests on the gateway: what is lost here is sent again end to end.  It remembers one thing, in a file that
outlives it: which messages of each agent it has taken, so that a captured datagram that is sent again is counted,
dropped and answered by nothing.
"""

from __future__ import annotations

import asyncio
import sqlite3
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Self

import aiomqtt
import msgspec
import structlog

from telemetry import topics
from telemetry.broker import BrokerConfig
from telemetry.clock import SystemClock
from telemetry.config import Secret, load_toml
from telemetry.errors import ConfigError, Malformed, Refused, Unavailable
from telemetry.mqtt import Client, refusals
from telemetry.process import run_with_config
from telemetry.wire.datagram import UP, Assembler, Message, Replayed, Window, pack

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from telemetry.clock import Clock

_WAITING = 1000
_DOWN = ("ack", "cmd", "config")
_AGAIN_S = 2.0  # until a broker that went away is tried again
_ASK_AGAIN_S = 10.0  # for what it does not let us hear
_TELL_S = 60.0
_SAID = 9  # topics in one line of the log
_ANSWER_S = 10.0
_SHORTEST_KEY = 16
_SCHEMA = """CREATE TABLE IF NOT EXISTS agents (
    name TEXT PRIMARY KEY, session INTEGER NOT NULL, top INTEGER NOT NULL, taken BLOB NOT NULL, down INTEGER NOT NULL
) WITHOUT ROWID"""
log = structlog.get_logger()


class AgentEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``[[agents]]``: whose datagrams are taken."""

    area: str
    agent: str
    key: Secret


class GatewayConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``gateway.toml``."""

    broker: BrokerConfig
    state: Path
    agents: tuple[AgentEntry, ...]
    host: str = "0.0.0.0"  # noqa: S104 - modems send from the operator's network
    port: Annotated[int, msgspec.Meta(ge=0, le=65_535)] = 5685


def load_config(path: Path) -> GatewayConfig:
    """Read and check ``gateway.toml``; raise :class:`ConfigError`."""
    config = load_toml(path, GatewayConfig)
    seen: set[str] = set()
    for index, entry in enumerate(config.agents):
        at = f"$.agents[{index}]"
        name = f"{entry.area}/{entry.agent}"
        try:
            topics.level(entry.area, what="area")
            topics.level(entry.agent, what="agent")
        except Refused as error:
            raise ConfigError(path, at, str(error)) from None
        if name in seen:
            raise ConfigError(path, at, f"'{name}' is given twice", hint="each agent has one key")
        if len(entry.key.reveal()) < _SHORTEST_KEY:
            raise ConfigError(
                path, f"{at}.key", f"is shorter than {_SHORTEST_KEY} letters", hint="openssl rand -hex 32"
            )
        seen.add(name)
    return config


class Memory:
    """What was taken of each agent, and the number of the last message that went down to it, in a small database."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path, isolation_level=None)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute(_SCHEMA)
            rows = self._db.execute("SELECT name, session, top, taken, down FROM agents").fetchall()
        except (OSError, sqlite3.Error) as error:
            raise Unavailable(f"{path}: {error}") from None
        self.windows = {
            name: Window(session, top, int.from_bytes(taken, "big")) for name, session, top, taken, _ in rows
        }
        self._down: dict[str, int] = {name: down for name, _, _, _, down in rows}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._db.close()

    def keep(self, name: str) -> None:
        """Write down what was taken of an agent."""
        window = self.windows[name]
        row = (name, window.session, window.top, window.taken.to_bytes(8, "big"), self._down.get(name, 0))
        try:
            self._db.execute("INSERT OR REPLACE INTO agents VALUES (?, ?, ?, ?, ?)", row)
        except sqlite3.Error as error:
            raise Unavailable(f"{self._path}: {error}") from None

    def next_down(self, name: str) -> int:
        """Return the number of the next message to an agent; none is given twice, also after a restart."""
        self._down[name] = self._down.get(name, 0) + 1
        self.keep(name)
        return self._down[name]


class _Receiver(asyncio.DatagramProtocol):
    def __init__(self, counts: Counter[str]) -> None:
        self.arrived: asyncio.Queue[tuple[bytes, tuple[str, int]]] = asyncio.Queue(_WAITING)
        self._counts = counts

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if self.arrived.full():
            self._counts["overrun"] += 1
        else:
            self.arrived.put_nowait((data, addr))


class Gateway:
    """Serves the agents of a configuration; ``counts`` tells of ``taken``, ``replayed``, ``refused``, ``overrun``."""

    def __init__(self, config: GatewayConfig, memory: Memory, clock: Clock) -> None:
        self._config, self._memory, self._clock = config, memory, clock
        self._keys = {f"{entry.area}/{entry.agent}": entry.key.reveal().encode() for entry in config.agents}
        self._assembler = Assembler(lambda area, agent: self._keys.get(f"{area}/{agent}"), memory.windows)
        self._addresses: dict[str, tuple[str, int]] = {}
        self._configs: dict[str, bytes] = {}
        self._refused: frozenset[str] = frozenset()
        self.counts: Counter[str] = Counter()
        self.listens = asyncio.Event()

    async def run(self) -> None:
        """Serve until cancelled; a broker that is away is tried again for ever."""
        loop = asyncio.get_running_loop()
        where = (self._config.host, self._config.port)
        try:
            transport, receiver = await loop.create_datagram_endpoint(
                lambda: _Receiver(self.counts), local_addr=where
            )
        except OSError as error:
            raise Unavailable(f"UDP {where[0]}:{where[1]}: {error.strerror}") from None
        self.listens.set()
        log.info("gateway_up", host=where[0], port=where[1], agents=len(self._keys))
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._tell())
                while True:
                    try:
                        await self._session(receiver, transport)
                    except* aiomqtt.MqttError as errors:
                        log.warning("broker_away", problem=str(errors.exceptions[0]))
                    await self._clock.sleep(_AGAIN_S)
        finally:
            transport.close()

    async def _session(self, receiver: _Receiver, transport: asyncio.DatagramTransport) -> None:
        broker = self._config.broker
        client = Client(
            broker.host, broker.port, username=broker.username, password=broker.secret, tls_context=broker.tls,
            keepalive=broker.keepalive_s, timeout=_ANSWER_S,
        )  # fmt: skip
        async with client:
            wanted = [f"{topics.ROOT}/{name}/{kind}" for name in self._keys for kind in _DOWN]
            refused = await self._subscribe(client, wanted)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._until_granted(client, refused))
                tasks.create_task(self._up(receiver, client, transport))
                tasks.create_task(self._down(client, transport))

    async def _until_granted(self, client: aiomqtt.Client, refused: Sequence[str]) -> None:
        """Ask again for what the broker did not let us hear; what agents send goes up meanwhile."""
        while refused:
            await self._clock.sleep(_ASK_AGAIN_S)
            refused = await self._subscribe(client, refused)

    async def _subscribe(self, client: aiomqtt.Client, wanted: Sequence[str]) -> list[str]:
        """Return which of ``wanted`` the broker refuses; said when that has changed."""
        problems = refusals(wanted, await client.subscribe([(topic, topics.QOS) for topic in wanted]))
        if problems and problems.keys() != self._refused:
            first = list(problems)[:_SAID]
            log.warning(
                "subscriptions_refused", problem=problems[first[0]], topics=first, count=len(problems)
            )
        elif self._refused and not problems:
            log.info("subscriptions_granted", topics=len(wanted))
        self._refused = frozenset(problems)
        return list(problems)

    async def _up(
        self, receiver: _Receiver, client: aiomqtt.Client, transport: asyncio.DatagramTransport
    ) -> None:
        while True:
            data, address = await receiver.arrived.get()
            try:
                message = self._assembler.feed(data)
            except Replayed as error:
                self.counts["replayed"] += 1
                self._set_right(error.message, address, transport)
                continue
            except Malformed:
                self.counts["refused"] += 1
                continue
            if message is None:
                continue
            name = f"{message.area}/{message.agent}"
            self._memory.keep(name)
            if message.kind not in UP:
                self.counts["refused"] += 1
                continue
            self.counts["taken"] += 1
            self._addresses[name] = address
            is_status = message.kind == "status"
            topic = f"{topics.ROOT}/{name}/{message.kind}"
            await client.publish(topic, message.payload, topics.QOS, retain=is_status)
            if is_status:
                self._send(name, "ok", message.number.to_bytes(4, "big"), transport)
                if name in self._configs:
                    self._send(name, "config", self._configs[name], transport)

    async def _down(self, client: aiomqtt.Client, transport: asyncio.DatagramTransport) -> None:
        async for message in client.messages:
            _, _, area, agent, kind = str(message.topic).split("/", 4)
            if kind == "config":
                self._configs[f"{area}/{agent}"] = bytes(message.payload)
            self._send(f"{area}/{agent}", kind, bytes(message.payload), transport)

    def _send(self, name: str, kind: str, payload: bytes, transport: asyncio.DatagramTransport) -> None:
        if (address := self._addresses.get(name)) is None:
            return
        area, _, agent = name.partition("/")
        session = self._memory.windows[name].session
        message = Message(area, agent, session, self._memory.next_down(name), kind, payload)
        for data in pack(message, self._keys[name]):
            transport.sendto(data, address)

    def _set_right(
        self, message: Message, address: tuple[str, int], transport: asyncio.DatagramTransport
    ) -> None:
        """Tell an agent whose clock has gone back where to begin; whoever replays an old session learns nothing by it."""
        name = f"{message.area}/{message.agent}"
        known = self._memory.windows[name].session
        if message.session < known:
            number = self._memory.next_down(name)
            told = Message(
                message.area, message.agent, message.session, number, "stale", known.to_bytes(8, "big")
            )
            for data in pack(told, self._keys[name]):
                transport.sendto(data, address)

    async def _tell(self) -> None:
        """Say how many datagrams were not taken, when that has changed."""
        before: Counter[str] = Counter()
        while True:
            await self._clock.sleep(_TELL_S)
            bad = Counter({what: count for what, count in self.counts.items() if what != "taken"})
            if bad != before:
                log.warning("datagrams_not_taken", **bad)
                before = bad


async def run(config: GatewayConfig, clock: Clock, stop: asyncio.Event) -> None:
    """Run a gateway until ``stop`` is set; raise :class:`Unavailable` without its port or its memory."""
    with Memory(config.state) as memory:
        serving = asyncio.ensure_future(Gateway(config, memory, clock).run())
        stopped = asyncio.ensure_future(stop.wait())
        try:
            await asyncio.wait({serving, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if serving.done():
                serving.result()
        except BaseExceptionGroup as group:
            first: BaseException = group
            while isinstance(first, BaseExceptionGroup):
                first = first.exceptions[0]
            raise first from None
        finally:
            for task in (serving, stopped):
                task.cancel()
            await asyncio.wait({serving, stopped})


async def _run(path: Path, stop: asyncio.Event) -> None:
    await run(load_config(path), SystemClock(), stop)


if __name__ == "__main__":
    sys.exit(run_with_config("cloud_ingest.gateway", "Yemai datagram gateway · 叶脉数据报网关", _run))
