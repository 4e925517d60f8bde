"""The uplink: sends what the outbox holds, frees what the cloud's database has committed.

MQTT 3.1.1, QoS 1.  The broker's PUBACK frees nothing; only an :class:`~telemetry.readings.Ack` on the
agent's own topic does.  A lost link is tried again for ever.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import aiomqtt
import structlog
from tenacity import AsyncRetrying, retry_if_exception_type, wait_random_exponential

from telemetry import codecs, topics
from telemetry.codecs import json
from telemetry.errors import Malformed
from telemetry.readings import Ack, AgentId, AgentStatus
from telemetry.window import Window

if TYPE_CHECKING:
    from edge_agent.config import AgentConfig
    from telemetry.clock import Clock
    from telemetry.keeper import Keeper

_LONGEST_WAIT_S = 5.0
_MOST_ACK_BYTES = 64 * 1024
_TELL_TIME_S = 60.0
_PUBLISH_S = 10.0  # until the broker must have acknowledged
log = structlog.get_logger()


class Uplink:
    """Connects the agent's outbox with the cloud."""

    def __init__(self, config: AgentConfig, keeper: Keeper, clock: Clock) -> None:
        self._config, self._keeper, self._clock = config, keeper, clock
        self._window = Window()
        self._problem = ""

    async def run(self) -> None:
        """Keep the link up and the messages moving, for ever."""
        while True:  # each lost session begins the back-off anew
            async for attempt in AsyncRetrying(
                wait=wait_random_exponential(multiplier=0.25, max=_LONGEST_WAIT_S),
                retry=retry_if_exception_type(aiomqtt.MqttError),
                after=lambda state: self._note(str(state.outcome.exception()) if state.outcome else ""),
                sleep=self._clock.sleep,
            ):
                with attempt:
                    await self._session()

    async def _session(self) -> None:
        broker, status = self._config.broker, topics.status(self._config.area, self._config.agent)
        client = aiomqtt.Client(
            broker.host,
            broker.port,
            username=broker.username,
            password=broker.secret,
            identifier=f"{self._config.area}-{self._config.agent}",
            keepalive=broker.keepalive_s,
            timeout=_PUBLISH_S,
            will=aiomqtt.Will(status, self._status(), topics.QOS, retain=True),
            max_concurrent_outgoing_calls=2 * self._window.size,
        )
        client.pending_calls_threshold = 2 * self._window.size  # below it a window would be warned of
        async with client:
            self._window.link_lost()
            since = self._clock.now_ms()
            await client.subscribe(topics.ack(self._config.area, self._config.agent), topics.QOS)
            await client.publish(status, self._status(since), topics.QOS, retain=True)
            self._note("")
            try:
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(self._receive(client))
                    tasks.create_task(self._send(client))
                    tasks.create_task(self._tell_time(client, status, since))
            except* aiomqtt.MqttError as group:
                raise aiomqtt.MqttError(str(group.exceptions[0])) from None
            finally:
                self._window.link_lost()

    async def _send(self, client: aiomqtt.Client) -> None:
        topic = topics.up(self._config.area, self._config.agent)
        while True:
            self._keeper.changed.clear()
            messages = await self._keeper.due(self._window, self._clock.monotonic())
            async with asyncio.TaskGroup() as tasks:  # in this order on the wire, PUBACKs as they come
                for message in messages:
                    tasks.create_task(client.publish(topic, message.payload, topics.QOS))
            if len(messages) < self._window.size // 2:
                wait_s = max(0.05, self._window.next_due_s(self._clock.monotonic()))
                try:
                    async with asyncio.timeout(wait_s):
                        await self._keeper.changed.wait()
                except TimeoutError:
                    pass

    async def _tell_time(self, client: aiomqtt.Client, topic: str, since: int) -> None:
        """Let the cloud see this clock, so that it can correct one that is wrong."""
        while True:
            await self._clock.sleep(_TELL_TIME_S)
            await client.publish(topic, self._status(since), topics.QOS, retain=True)

    async def _receive(self, client: aiomqtt.Client) -> None:
        async for message in client.messages:
            try:
                ack = codecs.decode(bytes(message.payload), Ack, max_bytes=_MOST_ACK_BYTES)
            except Malformed as error:
                log.warning("unreadable_ack", problem=str(error))
                continue
            if ack.boot == self._keeper.boot:
                self._window.acknowledged(ack.ranges)
                await self._keeper.acknowledge(ack.boot, ack.ranges)

    def _status(self, since: int | None = None) -> bytes:
        """Return the status since a session began; without it, the last will."""
        agent, now = AgentId(self._config.agent), self._clock.now_ms()
        told = AgentStatus(agent, since is not None, self._keeper.boot, since or now, now if since else 0)
        return json.encode(told)

    def _note(self, problem: str) -> None:
        """Log the state of the link once, and again when it changes."""
        where = f"{self._config.broker.host}:{self._config.broker.port}"
        if problem and not self._problem:
            log.warning(
                "broker_lost",
                broker=where,
                problem=problem,
                readings="kept in the outbox, sent when it is back",
            )
        elif not problem:
            log.info("broker_found", broker=where)
        self._problem = problem
