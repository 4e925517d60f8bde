"""Puts one agent together and takes it apart again in order: buses, gatherer, uplink, outbox."""

from __future__ import annotations

import asyncio
import contextlib
from importlib import metadata
from typing import TYPE_CHECKING

import msgspec
import structlog

from edge_agent import local
from edge_agent.budget import Budget
from edge_agent.buffer import Buffer
from edge_agent.bus import run_bus
from edge_agent.gather import Gatherer, shape_of
from edge_agent.learned import Learned
from edge_agent.remote import Chosen, Remote, Version, Wanted
from edge_agent.report import Reporter
from edge_agent.site import Site
from edge_agent.stamps import sane, watch_clock
from edge_agent.status import Board
from edge_agent.storage import Storage, disk_is_back
from edge_agent.tryout import try_out
from edge_agent.upkeep import keep_up
from edge_agent.uplink import Uplink
from edge_agent.watchdog import notify, watch
from telemetry import topics
from telemetry.clock import Clock, SystemClock
from telemetry.errors import Unavailable
from telemetry.keeper import Keeper
from telemetry.readings import ConfigState

if TYPE_CHECKING:
    from pathlib import Path

    from telemetry.readings import AgentStatus, Reading

_DRAIN_S = 5.0
_FINISH_S = 3.0  # that the buses are held for commands that are under way
log = structlog.get_logger()


async def run(path: Path, *, stop: asyncio.Event, clock: Clock | None = None) -> None:
    """Run the agent of this ``edge.toml`` until ``stop`` is set, then send what is left for at most five seconds."""
    clock, remote, again = clock or SystemClock(), Remote(path), True
    with Storage(clock) as storage:
        while again:
            again = await _one_life(remote.choose(), remote, stop, storage, clock)
    log.info("agent_down", config=str(path))


async def _one_life(
    chosen: Chosen, remote: Remote, stop: asyncio.Event, storage: Storage, clock: Clock
) -> bool:
    """Run with one configuration; return whether to go on with another."""
    config = chosen.config
    outbox, homeless = storage.open(config)
    async with Keeper(outbox) as keeper, contextlib.AsyncExitStack() as stack:
        agent = await _Agent.make(chosen, remote, keeper, clock)
        agent.homeless = homeless
        log.info(
            "agent_up", agent=config.agent, buses=len(config.buses), devices=sum(len(bus.devices) for bus in config.buses),
            boot=outbox.boot, waiting=(await keeper.counters()).messages, configuration=chosen.state.running,
        )  # fmt: skip
        answers = {"status": agent.answer, "ping": agent.pong, **agent.site.answers}
        try:
            await stack.enter_async_context(local.answering(config.socket, answers))
        except Unavailable as error:  # a read-only disk: nobody can ask, but it reads and sends
            log.warning("nobody_can_ask", problem=str(error))
        return await agent.live(stop)


class _Agent:
    """One life of an agent, from its configuration to its end or the next configuration."""

    def __init__(
        self, chosen: Chosen, remote: Remote, keeper: Keeper, clock: Clock, buffer: Buffer, budget: Budget
    ) -> None:
        self._chosen, self._remote, self._config = chosen, remote, chosen.config
        self._keeper, self._clock = keeper, clock
        config = self._config
        classes = {d.id: d.profile.device_class for bus in config.buses for d in bus.devices}
        shape = shape_of(config)
        self._gatherer = Gatherer(shape, keeper, clock, Reporter(config.report, classes), buffer)
        self._learned = Learned(config.outbox.path.with_suffix(".learned.json"))
        self.site = Site(config, keeper, shape, clock, self._gatherer.at_once, self._learned)
        self._buffer = buffer
        self._board = Board(config, clock, metadata.version("yemai"))
        self._board.config_state = chosen.state
        hears = {topics.config(config.area, config.agent): self._configured, **self.site.hears}
        self._uplink = Uplink(config, keeper, clock, budget, self._status, hears)
        self._board.knows(keeper, self._gatherer, self._uplink, buffer)
        self._wanted: Wanted | None = None
        self._turn = asyncio.Event()
        """Set when the buses are to be let go: to stop, to try a configuration, or to take one back."""
        self._over = self._may_go_home = False
        self.homeless = ""
        """Why the outbox is in memory; empty when it is on disk."""

    @classmethod
    async def make(cls, chosen: Chosen, remote: Remote, keeper: Keeper, clock: Clock) -> _Agent:
        """Take up what an earlier process has left in the outbox."""
        config = chosen.config
        notes = await keeper.look(lambda box: {key: box.note(key) for key in ("buffer", "budget")})
        buffer = Buffer(config.outbox, clock, notes["buffer"])
        budget = Budget(config.uplink.budget_bytes_per_day, clock, notes["budget"])
        agent = cls(chosen, remote, keeper, clock, buffer, budget)
        await agent._gatherer.restore()
        await agent.site.restore()
        return agent

    async def live(self, stop: asyncio.Event) -> bool:
        """Read and send until ``stop`` is set or another configuration is to run; return whether it is."""
        config, clock = self._config, self._clock
        async with asyncio.TaskGroup() as links:
            tasks = [
                links.create_task(self._uplink.run()),
                links.create_task(self._gatherer.run()),
                links.create_task(self.site.run()),
                links.create_task(keep_up(self._keeper, self._buffer, config.outbox.max_bytes, clock)),
                links.create_task(watch(clock, self._lives)),
                links.create_task(self._stopped(stop)),
            ]
            codec = config.uplink.module.CODEC
            tasks.append(
                links.create_task(
                    watch_clock(clock, self._keeper, self._gatherer, codec, self._uplink.tell.set)
                )
            )
            if self.homeless:
                tasks.append(links.create_task(self._come_home()))
            if self._chosen.trial is not None:
                tasks.append(links.create_task(self._dead_man(self._chosen.trial)))
            notify("READY=1")
            while not self._over:
                await self._read_buses()
                if self._may_go_home and not self._over:
                    await self._go_home()
                if (wanted := self._to_be_tried()) is not None:
                    await self._try_out(wanted)
            if stop.is_set():
                notify("STOPPING=1")
            if stop.is_set() or self.homeless:
                await self._drain(stopping=stop.is_set())
            else:
                await self._flush()
            if stop.is_set():
                await self._uplink.farewell()
            for task in tasks:
                task.cancel()
        return not stop.is_set()

    async def _read_buses(self) -> None:
        self._turn.clear()
        if (
            self._over or self._may_go_home or self._wanted is not None
        ):  # it came while a configuration was tried
            return
        async with asyncio.TaskGroup() as readers:
            tasks = {
                bus.id: readers.create_task(
                    run_bus(bus, self._take, self._clock, self._learned, self.site.serves)
                )
                for bus in self._config.buses
            }
            await self._turn.wait()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_FINISH_S):  # a siren that is half commanded is commanded
                    await self.site.at_rest()
            if (wanted := self._to_be_tried()) is not None:
                await self._let_go(tasks, wanted)
                await self._try_out(wanted)
            for task in tasks.values():
                task.cancel()

    def _to_be_tried(self) -> Wanted | None:
        return None if self._over or self._may_go_home else self._wanted

    async def _let_go(self, tasks: dict[str, asyncio.Task[None]], wanted: Wanted) -> None:
        """Free the ports of the buses that are to be tried; the others are read on: who sleeps speaks once a day."""
        leave = [tasks[bus.id] for bus in self._config.buses if bus not in wanted.config.buses]
        for task in leave:
            task.cancel()
        if leave:
            await asyncio.wait(leave)

    async def _stopped(self, stop: asyncio.Event) -> None:
        await stop.wait()
        self._end()

    async def _come_home(self) -> None:
        while True:
            await disk_is_back(self._config, self._clock)
            if self._uplink.up.is_set():
                self._may_go_home = True
                self._turn.set()

    async def _go_home(self) -> None:
        """Leave memory for the disk if nothing is lost by that: the buses rest for as long as the cloud takes it."""
        self._may_go_home = False
        with contextlib.suppress(Unavailable):
            if not await self._sent():
                log.info("disk_is_back", path=str(self._config.outbox.path))
                self._end()

    def _end(self) -> None:
        self._over = True
        self._turn.set()

    async def _configured(self, payload: bytes) -> None:
        """Hear what the cloud wants."""
        judged = await asyncio.to_thread(self._remote.judge, payload)
        if isinstance(judged, Wanted):
            self._wanted = judged
            self._turn.set()
        elif judged is not None:
            self._tell(judged)

    async def _try_out(self, wanted: Wanted) -> None:
        self._wanted, problem = None, ""
        if not wanted.force:
            try:
                problem = await try_out(wanted.config, self._config, self._board.answering())
            except Exception as error:  # likewise: see Remote.judge
                log.exception("configuration_cannot_be_tried", version=wanted.version.version)
                problem = f"cannot be tried: {error!r}"
        if problem:
            self._tell(self._remote.refuse(wanted, problem))
            return
        try:
            self._remote.begin_trial(wanted)
        except Unavailable as error:
            running, version = self._chosen.state.running, wanted.version.version
            self._tell(ConfigState(running, version, "refused", str(error)))
        else:
            self._end()

    async def _dead_man(self, trial: Version) -> None:
        """Take the trial back unless the way to the cloud opens in time."""
        try:
            async with asyncio.timeout(trial.confirm_s):
                await self._uplink.up.wait()
        except TimeoutError:
            self._remote.roll_back(
                f"the uplink did not come back within {trial.confirm_s:g} s: {self._uplink.problem or 'no answer'}"
            )
            self._end()
            return
        try:
            self._tell(self._remote.confirm())
        except Unavailable as error:  # the next start will confirm it
            log.error("configuration_not_confirmed", problem=str(error))

    def _tell(self, state: ConfigState) -> None:
        self._board.config_state = state
        self._uplink.tell.set()

    async def answer(self) -> bytes:
        """Return what ``yemai edge status`` shows."""
        now = await self._board.snapshot()
        if self.homeless:
            trouble = f"outbox in memory: {self.homeless}"
            now = msgspec.structs.replace(now, outbox=msgspec.structs.replace(now.outbox, trouble=trouble))
        return msgspec.json.encode(now)

    async def pong(self) -> bytes:
        """Return that this agent lives."""
        return b"{}"

    def _take(self, reading: Reading) -> None:
        reading = sane(reading)
        self._board.take(reading)
        self._gatherer.take(reading)
        self.site.take(reading)

    def _status(self, since: int | None) -> AgentStatus:
        told = self._board.telling(self._keeper.boot, self._keeper.size, since)
        return msgspec.structs.replace(told, metrics={**told.metrics, **self.site.metrics}) if since else told

    async def _lives(self) -> str:
        used = await self._keeper.look(lambda box: box.size)
        way = "up" if self._uplink.up.is_set() else f"down: {self._uplink.problem or 'connecting'}"
        return f"uplink {way}; {used} bytes wait"

    async def _flush(self) -> None:
        await self.site.settle()
        try:
            async with asyncio.timeout(_DRAIN_S):
                await self._gatherer.flush(ending=True)
        except (TimeoutError, Unavailable) as error:
            log.error("readings_lost_at_stop", problem=str(error))

    async def _drain(self, *, stopping: bool) -> None:
        try:
            if not (left := await self._sent()):
                return
            if self.homeless and stopping:
                log.error("readings_lost_at_stop", problem=self.homeless, messages=left)
            else:
                log.info("uploads_wait_for_the_next_start", messages=left)
        except Unavailable as error:
            log.error("readings_lost_at_stop", problem=str(error))

    async def _sent(self) -> int:
        """Wait until the cloud has everything, for at most five seconds; return how many messages it has not."""
        await self.site.settle()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_DRAIN_S):
                await self._gatherer.flush(ending=True)
                await self._uplink.emptied()
        await self.site.settle()  # an outbox that was full may have room only now
        return (await self._keeper.counters()).messages
