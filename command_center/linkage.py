"""Sends a plan's actions to the agents and follows what becomes of them, until the device reads back as ordered.

Only rows of mode ``live`` are ever read for sending, and :func:`command_of` refuses any other: a drill reaches nothing.
A command's id is good for one execution; after a crash it is sent again and the agent says that it knows it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import aiomqtt
import msgspec
import sqlalchemy as sa
import structlog
from tenacity import AsyncRetrying, retry_if_exception_type, wait_random_exponential

from command_center.runs import OPEN, Order
from command_center.subscribed import subscribe
from command_center.tables import actions as _actions
from telemetry import codecs, topics
from telemetry.codecs import json
from telemetry.commands import Command, CommandResult, CommandState, mac_of
from telemetry.errors import Malformed, Refused, Unavailable
from telemetry.mqtt import Client
from telemetry.readings import DeviceId, MetricName

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from command_center.config import CenterConfig
    from command_center.store import Store
    from telemetry.clock import Clock

_POLL_S = 0.3
_LATE_MS = 10_000
"""How long after ``not_after`` an agent's last word may still arrive."""
_MOST_BYTES = 64 * 1024
_ORDER = ("requested", "sent", "accepted", "executed")
log = structlog.get_logger()


def command_of(row: Any, by: str, key: str | None) -> Command:
    """Return the command of an action; raise :class:`Refused` for one that is not to be carried out."""
    if row.mode != "live" or row.state != "requested":
        raise Refused(f"an action that is {row.state} ({row.mode}) reaches no device")
    order = msgspec.json.decode(row.body, type=Order)
    command = Command(
        row.id, DeviceId(row.device), row.not_after, MetricName(row.metric), order.value,
        expect=order.value, tolerance=order.tolerance, by=by, text=order.text,
    )  # fmt: skip
    return msgspec.structs.replace(command, mac=mac_of(command, key)) if key else command


def advance(state: str, result: CommandResult) -> str:
    """Return an action's state after a result: never back, and the first final one counts.

    An agent that is asked twice refuses the second time and says how far the first has come.
    """
    if state not in OPEN:
        return state
    told = result.state
    if told is CommandState.REFUSED and result.problem.startswith("repeated:"):
        word = result.problem.rsplit(" ", 1)[-1]
        told = CommandState(word) if word in set(CommandState) else CommandState.ACCEPTED
        if told is CommandState.REFUSED:
            return "refused"
    if told.is_final:
        return told.value
    return told.value if _ORDER.index(told.value) > _ORDER.index(state) else state


def _ended(how: str) -> Callable[[str], str]:
    """Return how an action goes that ends so, unless it has come to its end meanwhile."""
    return lambda state: how if state in OPEN else state


class Linkage:
    """``agent_of`` tells which agent serves a device, or raises :class:`Unavailable` while nobody knows; ``on_action`` hears which runs changed."""

    def __init__(
        self, config: CenterConfig, store: Store, clock: Clock, agent_of: Callable[[str], str | None],
        on_action: Callable[[set[str]], None],
    ) -> None:  # fmt: skip
        self._config, self._store, self._clock = config, store, clock
        self._agent_of, self._on_action = agent_of, on_action
        self._problem = ""

    async def run(self) -> None:
        """Send and follow for ever."""
        while True:
            async for attempt in AsyncRetrying(
                wait=wait_random_exponential(multiplier=0.25, max=5),
                retry=retry_if_exception_type((aiomqtt.MqttError, Unavailable)),
                sleep=self._clock.sleep,
            ):
                with attempt:
                    await self._session()

    async def _session(self) -> None:
        broker, config = self._config.broker, self._config
        client = Client(
            broker.host, broker.port, username=broker.username, password=broker.secret, tls_context=broker.tls,
            identifier=f"{config.area}-{config.consumer}-linkage", clean_session=False, keepalive=broker.keepalive_s,
        )  # fmt: skip
        async with client:
            await subscribe(client, topics.cmd_result(config.area, "+"))
            try:
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(self._hear(client))
                    tasks.create_task(self._send(client))
            except* (aiomqtt.MqttError, Unavailable) as group:
                raise Unavailable(str(group.exceptions[0])) from None

    async def _send(self, client: aiomqtt.Client) -> None:
        while True:
            await self._patiently(self._turn, client)
            await self._clock.sleep(_POLL_S)

    async def _turn(self, client: aiomqtt.Client) -> None:
        """Send what is due."""
        await self._expire()
        async with self._store.read() as db:
            due = (_actions.c.state == "requested") & (_actions.c.mode == "live")
            query = sa.select(_actions).where(due).order_by(_actions.c.created_ms).limit(50)
            rows = (await db.execute(query)).all()
        key = self._config.linkage.key
        for row in rows:
            agent = self._agent_of(row.device)
            if agent is None:
                await self._note(row.id, _ended("failed"), problem=f"no agent serves '{row.device}'")
                continue
            command = command_of(row, self._config.consumer, key.reveal() if key else None)
            await client.publish(
                topics.cmd(self._config.area, agent), json.encode(command), topics.QOS, timeout=5
            )
            await self._note(row.id, lambda state: "sent" if state == "requested" else state)

    async def _patiently(self, work: Callable[[Any], Awaitable[None]], of: Any) -> None:
        """Do something once, when the database lets us: the link stays meanwhile, and with it what agents say on it."""
        while True:
            try:
                await work(of)
            except Unavailable as error:
                if not self._problem:
                    log.warning("linkage_waits", problem=str(error))
                self._problem = str(error)
                await self._clock.sleep(_POLL_S)
            else:
                self._problem = ""
                return

    async def _hear(self, client: aiomqtt.Client) -> None:
        async for message in client.messages:
            try:
                result = codecs.decode(bytes(message.payload), CommandResult, max_bytes=_MOST_BYTES)
            except Malformed as error:
                log.warning("unreadable_result", topic=str(message.topic), problem=str(error))
                continue
            await self._patiently(self.take, result)
        raise Unavailable("the broker closed the connection")

    async def take(self, result: CommandResult) -> None:
        """Take an agent's word on one action."""
        await self._note(result.id, lambda state: advance(state, result), result)

    async def _expire(self) -> None:
        now = self._clock.now_ms()
        late = _actions.c.state.in_(OPEN) & (_actions.c.not_after < now - _LATE_MS)
        async with self._store.read() as db:
            rows = (await db.execute(sa.select(_actions.c.id).where(late))).all()
        for row in rows:
            await self._note(row.id, _ended("expired"), problem="no last word from the agent in time")

    async def _note(
        self, key: str, then: Callable[[str], str], told: CommandResult | None = None, problem: str = ""
    ) -> None:
        async with self._store.change() as db:
            row = (await db.execute(sa.select(_actions).where(_actions.c.id == key))).first()
            if row is None or (state := then(row.state)) == row.state:
                return
            order = msgspec.json.decode(row.body, type=Order)
            order = msgspec.structs.replace(
                order, steps=(*order.steps, (state, self._clock.now_ms())), problem=told.problem if told else problem,
                read_back=told.read_back if told and told.read_back is not None else order.read_back,
                text_back=told.text_back if told and told.text_back is not None else order.text_back,
            )  # fmt: skip
            values = {"state": state, "body": msgspec.json.encode(order)}
            await db.execute(_actions.update().where(_actions.c.id == key).values(**values))
        log.info("action", id=key, device=row.device, metric=row.metric, state=state)
        self._on_action({row.run})
