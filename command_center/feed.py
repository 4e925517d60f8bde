"""Consumes the alarm feed: commit to the desk, then acknowledge to the producer."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import aiomqtt
import structlog
from tenacity import AsyncRetrying, retry_if_exception_type, wait_random_exponential

from command_center.subscribed import subscribe
from telemetry import codecs, topics
from telemetry.codecs import json
from telemetry.errors import Malformed, Unavailable
from telemetry.mqtt import Client
from telemetry.readings import Ack
from telemetry.transitions import HEARTBEAT, AlarmMessage

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from command_center.config import CenterConfig
    from command_center.desk import Desk
    from command_center.lifecycle import Alarm
    from telemetry.clock import Clock

_LONGEST_WAIT_S = 5.0
_MOST_BYTES = 256 * 1024
_BATCH = 200
_MOST_WAITING = 20_000
log = structlog.get_logger()


class Feed:
    """Keeps the desk fed; ``on_change`` is told of every alarm that changed."""

    def __init__(
        self, config: CenterConfig, desk: Desk, on_change: Callable[[Sequence[Alarm]], None], clock: Clock
    ) -> None:
        self._config, self._desk, self._on_change, self._clock = config, desk, on_change, clock
        self._ready, self._problem = False, ""
        self._waits = ""
        self._beats: dict[str, float] = {}  # by producer, on the monotonic clock
        self.heard_ms: int | None = None
        """When the feed last said anything, UTC ms."""

    @property
    def connected(self) -> bool:
        """Whether the broker is there."""
        return self._ready and not self._problem

    async def run(self) -> None:
        """Consume for ever."""
        while True:  # each lost session begins the back-off anew
            async for attempt in AsyncRetrying(
                wait=wait_random_exponential(multiplier=0.25, max=_LONGEST_WAIT_S),
                retry=retry_if_exception_type((aiomqtt.MqttError, Unavailable)),
                after=lambda state: self._note(str(state.outcome.exception()) if state.outcome else ""),
                sleep=self._clock.sleep,
            ):
                with attempt:
                    await self._session()

    async def _session(self) -> None:
        broker = self._config.broker
        client = Client(
            broker.host,
            broker.port,
            username=broker.username,
            password=broker.secret,
            identifier=f"{self._config.area}-{self._config.consumer}",
            clean_session=True,  # what is not acknowledged comes again from the producer, not from the broker
            keepalive=broker.keepalive_s,
            tls_context=broker.tls,
        )
        async with client:
            await subscribe(client, topics.alarm(self._config.area, "+"))
            self._note("")
            arrived: asyncio.Queue[bytes | Unavailable] = asyncio.Queue(_MOST_WAITING)
            try:
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(self._hear(client, arrived))
                    tasks.create_task(self._commit(client, arrived))
            except* (aiomqtt.MqttError, Unavailable) as group:
                raise Unavailable(str(group.exceptions[0])) from None

    async def _hear(self, client: aiomqtt.Client, arrived: asyncio.Queue[bytes | Unavailable]) -> None:
        """Hear until the link is lost; what has come until then is put on the desk all the same."""
        end = "the broker closed the connection"
        try:
            async for message in client.messages:
                if arrived.full():
                    end = "more comes than can be kept; it comes again"
                    break
                arrived.put_nowait(bytes(message.payload))
                self.heard_ms = self._clock.now_ms()
        except aiomqtt.MqttError as error:
            end = str(error)
        self._note(end)
        await arrived.put(Unavailable(end))

    async def _commit(self, client: aiomqtt.Client, arrived: asyncio.Queue[bytes | Unavailable]) -> None:
        lost: Exception | None = None
        while True:
            payloads = [await arrived.get()]
            while not arrived.empty() and len(payloads) < _BATCH:
                payloads.append(arrived.get_nowait())
            heard: list[tuple[bytes, AlarmMessage]] = []
            for payload in payloads:
                if isinstance(payload, Unavailable):  # the last of this link
                    lost = payload
                    continue
                try:
                    heard.append((payload, codecs.decode(payload, AlarmMessage, max_bytes=_MOST_BYTES)))
                except Malformed as error:
                    log.warning("unreadable_alarm", problem=str(error))
                    await self._desk.quarantine(payload, str(error))
            heard = [(payload, message) for payload, message in heard if not self._is_heartbeat(message)]
            if heard:
                changed = await self._take(heard)
                if self._waits:
                    log.info("feed_goes_on")
                    self._waits = ""
                if changed:  # before the receipt: it is news for the pages though the broker goes now
                    self._on_change(changed)
            if heard and lost is None:
                lost = await self._acknowledge(client, [message for _, message in heard])
            if lost is not None and arrived.empty():
                raise lost

    async def _acknowledge(
        self, client: aiomqtt.Client, messages: Sequence[AlarmMessage]
    ) -> aiomqtt.MqttError | None:
        """Return what kept it from the producer, who then sends it again."""
        topic = topics.alarm_ack(self._config.area, self._config.consumer)
        try:
            for boot, ranges in _ranges(messages).items():
                await client.publish(topic, json.encode(Ack(boot, ranges)), topics.QOS)
        except aiomqtt.MqttError as error:
            return error
        return None

    async def _take(self, heard: Sequence[tuple[bytes, AlarmMessage]]) -> list[Alarm]:
        """Commit messages; one that the desk breaks on costs itself alone, and is kept apart with the reason."""
        try:
            return await self._desk.take([message for _, message in heard])
        except Unavailable:
            raise
        except Exception as error:
            if len(heard) == 1:
                [(payload, message)] = heard
                log.exception("alarm_not_taken", alarm=message.transition.alarm, kept="in quarantine")
                await self._desk.quarantine(
                    payload, f"the desk broke on it: {type(error).__name__}: {error}"[:500]
                )
                return []
        return [alarm for one in heard for alarm in await self._take([one])]

    def _is_heartbeat(self, message: AlarmMessage) -> bool:
        if message.transition.rule != HEARTBEAT:
            return False
        self._beats[message.producer] = self._clock.monotonic()
        return True

    def silent_s(self) -> float | None:
        """Return for how many seconds the producer that was heard longest ago has sent no heartbeat; None before the first one."""
        if not self._beats:
            return None
        return self._clock.monotonic() - min(self._beats.values())

    def _note(self, problem: str) -> None:
        """Log the state of the link once, and again when it changes."""
        where = f"{self._config.broker.host}:{self._config.broker.port}"
        if problem.startswith("desk:"):
            if not self._waits:
                log.warning("feed_waits", problem=problem, alarms="wait in ingest's outbox")
            self._waits = problem
            return
        if problem and not self._problem:
            log.warning("feed_lost", broker=where, problem=problem, alarms="wait in ingest's outbox")
        elif not problem and not self._waits:
            log.info("feed_found", broker=where)
        self._ready, self._problem = True, problem


def _ranges(messages: Sequence[AlarmMessage]) -> dict[str, tuple[tuple[int, int], ...]]:
    """What to acknowledge, by boot; re-assertions have no seq and ask for nothing."""
    found: dict[str, list[tuple[int, int]]] = {}
    for boot, seq in sorted({(message.boot, message.seq) for message in messages if message.seq}):
        ranges = found.setdefault(boot, [])
        if ranges and ranges[-1][1] == seq - 1:
            ranges[-1] = (ranges[-1][0], seq)
        else:
            ranges.append((seq, seq))
    return {boot: tuple(ranges) for boot, ranges in found.items()}
