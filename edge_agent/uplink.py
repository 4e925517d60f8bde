"""The uplink: sends what the outbox holds, frees what the cloud's database has committed.

Whatever the way to the cloud is, nothing but an :class:`~telemetry.readings.Ack` on the agent's own topic frees a
message.  A lost way is tried again for ever.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import structlog
from tenacity import AsyncRetrying, retry_if_exception_type, wait_random_exponential

from edge_agent.link import Calling
from edge_agent.order import LiveFirst
from telemetry import codecs, topics
from telemetry.commands import ActionUpload
from telemetry.errors import Malformed, Unavailable
from telemetry.outbox import Priority
from telemetry.readings import MAX_UPLOAD_BYTES, Ack

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from edge_agent.budget import Budget
    from edge_agent.config import AgentConfig
    from edge_agent.link import Link
    from telemetry.clock import Clock
    from telemetry.keeper import Keeper
    from telemetry.readings import AgentStatus

    Hear = Callable[[bytes], Awaitable[None]]

_LONGEST_WAIT_S = 5.0
_MOST_ACK_BYTES = 64 * 1024
_TELL_S = 60.0
_FAREWELL_S = 2.0
_AGAIN_S = 1.0  # until a disk that has not let go what was acknowledged is asked once more
_MOST_HEARD = 256  # of one topic; then the way is not read on until one is done with
log = structlog.get_logger()


class Uplink:
    """Connects the agent's outbox with the cloud.

    :param status: makes the retained status; given the time since when the way is open, None for the last will.
    :param hears: what is done with messages on other topics of the agent than ``ack``.
    """

    def __init__(
        self,
        config: AgentConfig,
        keeper: Keeper,
        clock: Clock,
        budget: Budget,
        status: Callable[[int | None], AgentStatus],
        hears: Mapping[str, Hear],
    ) -> None:
        self._config, self._keeper, self._clock, self._status = config, keeper, clock, status
        self._hears = {topics.ack(config.area, config.agent): self._acknowledged, **hears}
        self._heard = {topic: asyncio.Queue[bytes](_MOST_HEARD) for topic in self._hears}
        way = config.uplink
        self.budget = budget
        self.window = LiveFirst(
            clock,
            way.module.WINDOW,
            way.module.PATIENCE_S,
            share=way.history_share,
            most_bytes=way.largest_bytes,
            admit=self.budget.allows,
            may_pass=self.budget.may_pass,
        )
        self._traffic = 0  # of the link in use, as far as the budget knows it
        self.link: Link | None = None
        self.up = asyncio.Event()
        """Set while the way is open and the cloud has been told of it."""
        self.tell = asyncio.Event()
        """To be set when the status has changed and the cloud should hear of it now."""
        self._owes = asyncio.Event()  # set when something was acknowledged that the disk has not let go
        self._freed = asyncio.Event()  # set when it has
        self.since = 0  # UTC ms of the way's opening
        self.problem = ""

    async def run(self) -> None:
        """Keep the way open and the messages moving, for ever."""
        async with asyncio.TaskGroup() as tasks:
            for topic, hear in self._hears.items():
                tasks.create_task(self._heed(self._heard[topic], hear))
            tasks.create_task(self._free())
            await self._keep_open()

    async def _heed(self, heard: asyncio.Queue[bytes], hear: Hear) -> None:
        """Do what messages of one topic ask for, in their order.

        Not in the session: what has come is done though the way is cut meanwhile (a command that is half accepted
        would be refused for ever), and no command waits until a configuration has been judged.
        """
        while True:
            await hear(await heard.get())

    async def emptied(self) -> None:
        """Return when nothing waits any more: the cloud has everything."""
        while True:
            self._freed.clear()  # an event of its own: the keeper's is the sender's, who would miss what was put
            if not (await self._keeper.counters()).messages:
                return
            await self._freed.wait()

    async def _keep_open(self) -> None:
        while True:  # each lost session begins the back-off anew
            async for attempt in AsyncRetrying(
                wait=wait_random_exponential(multiplier=0.25, max=_LONGEST_WAIT_S),
                retry=retry_if_exception_type(Unavailable),
                after=lambda state: self._note(str(state.outcome.exception()) if state.outcome else ""),
                sleep=self._clock.sleep,
            ):
                with attempt:
                    await self._call()

    async def farewell(self) -> None:
        """Say that the agent goes, if the way is open: a broker that is left politely publishes no last will."""
        if self.link is None or not self.up.is_set():
            return
        config, codec = self._config, codecs.codec(self._config.uplink.module.CODEC)
        topic = topics.status(config.area, config.agent)
        with contextlib.suppress(Unavailable, TimeoutError):
            async with asyncio.timeout(_FAREWELL_S):
                await self.link.send(topic, codec.encode(self._status(None)), retain=True)

    async def _call(self) -> None:
        """Run one session in a task of its own.

        A TaskGroup whose children fail while it is cancelled forgets the cancellation (CPython 3.11), and so does
        a client that cannot hang up: this task must not, or the agent would call again for ever while it ends.
        """
        session = asyncio.ensure_future(self._session())
        try:
            await asyncio.wait({session})
        finally:
            session.cancel()
            await asyncio.wait({session})
        session.result()

    async def _session(self) -> None:
        config, codec = self._config, codecs.codec(self._config.uplink.module.CODEC)
        calling = Calling(
            config.area, config.agent, config.broker, tuple(self._hears),
            topics.status(config.area, config.agent), codec.encode(self._status(None)), self.window.size,
        )  # fmt: skip
        try:
            async with config.uplink.module.connect(config.uplink.link, calling, self._clock) as link:
                self.window.link_lost()
                self._traffic, self.link, self.since = 0, link, self._clock.now_ms()
                await link.send(calling.status_topic, codec.encode(self._status(self.since)), retain=True)
                self._note("")
                self.up.set()
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(self._receive(link))
                    tasks.create_task(self._send(link))
                    tasks.create_task(self._tell(link, calling.status_topic))
        except (Unavailable, BaseExceptionGroup) as error:
            raise _cut(error) from None
        finally:
            self.up.clear()
            if self.link is not None:
                self._spend(self.link)
            self.link = None
            self.window.link_lost()

    async def _send(self, link: Link) -> None:
        topic = topics.up(self._config.area, self._config.agent)
        told = topics.cmd_result(self._config.area, self._config.agent)
        while True:
            self._keeper.changed.clear()
            messages = await self._keeper.due(self.window, self._clock.monotonic())
            async with (
                asyncio.TaskGroup() as tasks
            ):  # in this order on the wire, however they are acknowledged
                for message in messages:
                    tasks.create_task(link.send(topic, message.payload))
                    if message.priority == Priority.ALARM:
                        for result in self._results(message.payload):
                            tasks.create_task(link.send(told, result))
            self._spend(link)
            if len(messages) < self.window.size // 2:
                wait_s = max(0.05, self.window.next_due_s(self._clock.monotonic()))
                await self._changed(wait_s)

    def _results(self, payload: bytes) -> list[bytes]:
        """Return the command results in a message, for those who wait for them: sent as often as the message is."""
        codec = codecs.codec(self._config.uplink.module.CODEC)
        upload = codecs.decode(payload, ActionUpload, max_bytes=MAX_UPLOAD_BYTES)
        return [codec.encode(result) for result in upload.results]

    async def _changed(self, wait_s: float) -> None:
        try:
            async with asyncio.timeout(wait_s):
                await self._keeper.changed.wait()
        except TimeoutError:
            pass

    def _spend(self, link: Link) -> None:
        self.budget.spend(link.traffic - self._traffic)
        self._traffic = link.traffic

    async def _tell(self, link: Link, topic: str) -> None:
        """Let the cloud see this agent's state, and its clock, so that it can correct one that is wrong."""
        codec = codecs.codec(self._config.uplink.module.CODEC)
        while True:
            try:
                async with asyncio.timeout(_TELL_S):
                    await self.tell.wait()
            except TimeoutError:
                pass
            self.tell.clear()
            await link.send(topic, codec.encode(self._status(self.since)), retain=True)
            if self._config.uplink.budget_bytes_per_day is not None:
                note = self.budget.note()
                with contextlib.suppress(Unavailable):  # a full disk is told of elsewhere, and cuts no way
                    await self._keeper.transact(lambda box, note=note: box.set_note("budget", note))  # type: ignore[misc]

    async def _receive(self, link: Link) -> None:
        async for topic, payload in link.receive():
            if topic in self._heard:
                await self._heard[topic].put(payload)

    async def _acknowledged(self, payload: bytes) -> None:
        try:
            ack = codecs.decode(payload, Ack, max_bytes=_MOST_ACK_BYTES)
        except Malformed as error:
            log.warning("unreadable_ack", problem=str(error))
            return
        if ack.boot == self._keeper.boot:
            self.window.acknowledged(ack.ranges)
            self._owes.set()
            self._keeper.changed.set()

    async def _free(self) -> None:
        """Let the disk go of all that was acknowledged meanwhile, in one transaction, for ever.

        On a slow disk one for each acknowledgement would take longer than the window is patient.
        """
        has_refused = False
        while True:
            await self._owes.wait()
            self._owes.clear()
            owed = self.window.answered
            try:
                await self._keeper.acknowledge(self._keeper.boot, owed)
            except Unavailable as error:
                if not has_refused:
                    log.warning("cannot_free_messages", problem=str(error), sent_again="after a restart only")
                has_refused = True
                self._owes.set()
                await self._clock.sleep(_AGAIN_S)
            else:
                has_refused = False
                self.window.let_go(owed)
                self._freed.set()

    def _note(self, problem: str) -> None:
        """Log the state of the way once, and again when it changes."""
        where = self._config.uplink.where(self._config.broker)
        if problem and not self.problem:
            log.warning(
                "broker_lost",
                broker=where,
                problem=problem,
                readings="kept in the outbox, sent when it is back",
            )
        elif not problem:
            log.info("broker_found", broker=where)
        self.problem = problem


def _cut(error: BaseException) -> BaseException:
    """Return the one reason for which the way was cut; the group itself where something else was wrong."""
    if isinstance(error, BaseExceptionGroup):
        cuts, rest = error.split(Unavailable)
        if rest is not None or cuts is None:
            return error
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
    return error
