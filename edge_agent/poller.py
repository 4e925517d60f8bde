"""Asks the devices of one bus by its plan, a frame at a time; whoever has a command takes the line between two.

Every device is told of in every period: fresh values, or that there are none and why, never its last values
again.  A silent device is probed on a budget (:mod:`edge_agent.breaker`); what it refuses it teaches
(:mod:`edge_agent.learned`); where its serial number is known, nothing is believed until it has been read.
"""

from __future__ import annotations

import asyncio
import math
import random
from typing import TYPE_CHECKING

import structlog

from device_profiles.profile import Space
from device_profiles.registers import Block, Write
from edge_agent.breaker import LONGEST_PAUSE_S, MOST_REST_S, Breaker
from edge_agent.driver import Exceptional, LinkDown
from edge_agent.identity import Identities
from edge_agent.learned import ILLEGAL_ADDRESS, ILLEGAL_VALUE, Learned
from edge_agent.schedule import plan_bus
from edge_agent.turns import Turn, no_values
from telemetry.errors import Malformed, Refused, Unavailable, YemaiError
from telemetry.quality import Quality

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge_agent.config import Bus
    from edge_agent.driver import Device, Polled
    from edge_agent.schedule import Plan
    from telemetry.clock import Clock
    from telemetry.readings import Reading

_FIRST_PAUSE_S = 0.5  # until a lost line is tried again
_HEART = -1.0  # the part of a device's troubles that is its heartbeat's
_BEAT_EARLY = 0.8  # of its period: a heartbeat that waits for a poll is still in time
log = structlog.get_logger()


class Trouble:
    """Logs what a device's trouble is once, and again when it changes or is over."""

    def __init__(self, bus: str) -> None:
        self._bus = bus
        self._now: dict[str, dict[float, str]] = {}

    def note(self, device: str, problem: str, part: float = 0.0) -> None:
        """Note a problem, or that there is none, of a device, or of the part of it that is read together."""
        parts = self._now.setdefault(device, {})
        before = parts.get(part, "")
        if before == problem:
            return
        parts[part] = problem
        if problem:
            log.warning("device_trouble", bus=self._bus, device=device, problem=problem)
        elif not any(parts.values()):
            log.info("device_well_again", bus=self._bus, device=device)


class Poller:
    """Runs one polled bus; ``line`` is held for the length of one exchange."""

    def __init__(
        self,
        bus: Bus,
        driver: Polled,
        emit: Callable[[Reading], None],
        clock: Clock,
        learned: Learned | None = None,
    ) -> None:
        self.bus, self.driver = bus, driver
        self.line = asyncio.Lock()
        """Whoever holds it may use the driver.  It is fair: a command waits for one frame at most."""
        self.is_live = True
        """Whether the bus is still served; its driver is closed when it is not."""
        self._emit, self._clock = emit, clock
        self._learned = learned or Learned()
        self._trouble = Trouble(bus.id)
        self._identities = Identities()
        self._hearts = [device for device in bus.devices if device.profile.heartbeat is not None]
        self._beats = {device.id: 0.0 for device in self._hearts}  # when each wants its next heartbeat
        self._link_lost, self._link_tries, self._try_link_at = "", 0, 0.0
        self._soon = asyncio.Event()
        self._dice = random.Random()  # noqa: S311 - only spreads reconnections
        self.plan: Plan = plan_bus(bus.devices, bus.period_s, driver.wire, self._learned.reach)
        shortest_s = min((poll.group.period_s for poll in self.plan.polls), default=0.0)
        self._breaker = Breaker(rest_s=min(shortest_s, MOST_REST_S))
        begun = clock.monotonic() + bus.phase * shortest_s
        self._turns = [Turn(poll, begun + poll.start_s) for poll in self.plan.polls]

    async def run(self) -> None:
        """Poll for ever."""
        try:
            await self._run()
        finally:
            self.is_live = False

    async def _run(self) -> None:
        while True:
            await self._beat()
            turn = self._next()
            if turn is not None:
                await self._step(turn)
                continue
            self._soon.clear()
            now = self._clock.monotonic()
            times = [max(t.due, t.ready) for t in self._turns]
            times += [self._beats[d.id] for d in self._hearts if not self._breaker.is_suspect(d.id)]
            await self._rest(max(0.0005, min(times) - now))

    @property
    def silent_devices(self) -> int:
        """How many devices did not answer when they were asked last."""
        return sum(self._breaker.is_suspect(device.id) for device in self.bus.devices)

    async def assure(self, device: Device) -> None:
        """Raise :class:`Refused` for the wrong device on the port, before it is written to; the line is held."""
        question = self._identities.question(device, self.driver.opened)
        if question is None:
            return
        words = await self.driver.read(device, question)
        if problem := self._identities.answer(device, self.driver.opened, question, words):
            raise Refused(problem)

    def refresh(self, device: str) -> None:
        """Read a device as soon as its turns can be had: something was written to it."""
        for turn in self._turns:
            if turn.device.id == device and not turn.begun:
                turn.due = min(turn.due, self._clock.monotonic())
        self._soon.set()

    async def _rest(self, seconds: float) -> None:
        """Wait, or until :meth:`refresh`."""
        waits = {asyncio.ensure_future(self._clock.sleep(seconds)), asyncio.ensure_future(self._soon.wait())}
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waits:
                task.cancel()

    def _next(self) -> Turn | None:
        """Choose: a turn under way, then the most overdue of the well, then a probe if there is a budget for it."""
        now = self._clock.monotonic()
        is_lost = self._link_lost and now < self._try_link_at
        probe = None if is_lost else self._probe(now)
        if probe is not None and self._breaker.is_starved(probe.device.id, now):
            return probe
        for turn in sorted(self._turns, key=lambda t: (not t.begun, t.due)):
            if max(turn.due, turn.ready) > now:
                continue
            if is_lost:
                self._give_up(turn, Quality.LINK_DOWN, self._link_lost)
            elif not self._breaker.is_suspect(turn.device.id):
                return turn
            elif turn is not probe or now >= turn.due + turn.poll.group.period_s:
                self._give_up(turn, Quality.NO_ANSWER, "silent")
        return probe

    def _probe(self, now: float) -> Turn | None:
        """Choose whom of the silent to ask, due or not: who has waited for longest."""
        if not self._breaker.has_suspects:
            return None
        allowed = [
            turn
            for turn in self._turns
            if self._breaker.is_suspect(turn.device.id)
            and turn.ready <= now
            and self._breaker.may_ask(turn.device.id, now, turn.device.timeout_s)
        ]
        return min(allowed, key=lambda turn: self._breaker.asked_at(turn.device.id), default=None)

    async def _step(self, turn: Turn) -> None:
        """Make one exchange for a turn."""
        question = self._identities.question(turn.device, self.driver.opened)
        if question is not None:
            await self._prove(turn, question)
            return
        block, device = turn.queue.popleft(), turn.device
        if not self._breaker.may_ask((device.id, block), self._clock.monotonic(), device.timeout_s):
            turn.missed(block, Quality.NO_ANSWER, "silent on a part of its registers")
        else:
            answer = await self._ask(device, block)
            if isinstance(answer, Unavailable):
                turn.queue.appendleft(block)
                self._silence(turn, answer)
                return
            if not isinstance(answer, YemaiError):
                self._breaker.well((device.id, block))
                turn.took(block, answer)
            elif not (
                isinstance(answer, Exceptional)
                and answer.code in (ILLEGAL_ADDRESS, ILLEGAL_VALUE)
                and turn.split(block, answer.code)
            ):
                turn.missed(block, _quality(answer), str(answer))
        turn.ready = self._clock.monotonic() + device.profile.timing.gap_s
        if not turn.queue:
            self._finish(turn)

    async def _ask(self, device: Device, block: Block) -> list[int] | YemaiError:
        try:
            async with self.line:
                words = await self.driver.read(device, block)
        except LinkDown as error:
            self._lost(error)
            return error
        except Unavailable as error:
            self._link_lost, self._link_tries = "", 0
            return error
        except (Refused, Malformed) as error:
            self._well(device)
            return error
        self._well(device)
        return words

    def _lost(self, error: LinkDown) -> None:
        """Try the line again after a pause, a longer one each time."""
        self._link_tries += 1
        pause = min(_FIRST_PAUSE_S * 2 ** min(self._link_tries - 1, 10), LONGEST_PAUSE_S)
        self._link_lost = str(error)
        self._try_link_at = self._clock.monotonic() + pause * self._dice.uniform(0.5, 1.0)

    async def _prove(self, turn: Turn, question: Block) -> None:
        """Read the serial number; nothing of a device is believed that does not have the right one."""
        device = turn.device
        answer = await self._ask(device, question)
        if isinstance(answer, YemaiError):
            turn.begin()
        if isinstance(answer, Unavailable):
            self._silence(turn, answer)
        elif isinstance(answer, YemaiError):
            self._give_up(turn, _quality(answer), str(answer))
        elif problem := self._identities.answer(device, self.driver.opened, question, answer):
            turn.begin()
            self._give_up(turn, Quality.DEVICE_FAULT, problem)

    def _well(self, device: Device) -> None:
        self._link_lost, self._link_tries = "", 0
        self._breaker.well(device.id)

    def _silence(self, turn: Turn, error: Unavailable) -> None:
        """The next request of a turn met silence: the device's, or, where it answered others just now, its alone."""
        device, now, period_s = turn.device, self._clock.monotonic(), turn.poll.group.period_s
        if isinstance(error, LinkDown):
            self._give_up(turn, Quality.LINK_DOWN, str(error))
            return
        if turn.answered:
            block = turn.queue.popleft()
            self._breaker.silent((device.id, block), now, device.timeout_s, period_s)
            turn.missed(block, Quality.NO_ANSWER, str(error))
            self._let_it_pass(device)
            if not turn.queue:
                self._finish(turn)
            return
        self._breaker.silent(device.id, now, device.timeout_s, period_s)
        self._identities.forget(device.id)
        turn.first = (turn.first + 1) % len(turn.poll.group.blocks)
        self._give_up(turn, Quality.NO_ANSWER, str(error))

    def _let_it_pass(self, device: Device) -> None:
        """Ask a device nothing until what it says too late has passed: no RTU frame tells which request it answers."""
        if not self.driver.wire.gap_s:
            return
        until = self._clock.monotonic() + device.timeout_s
        for turn in self._turns:
            if turn.device.id == device.id:
                turn.ready = max(turn.ready, until)

    def _give_up(self, turn: Turn, why: Quality, problem: str) -> None:
        while turn.queue:
            turn.missed(turn.queue.popleft(), why, problem)
        self._finish(turn)

    def _finish(self, turn: Turn) -> None:
        """Tell what the turn brought, and put it in its place in the next round."""
        device, now_ms = turn.device, self._clock.now_ms()
        reading = turn.reading(now_ms)
        if problem := self._identities.problem(device, reading.attributes):
            turn.problem = problem
            reading = no_values(device, turn.poll.group.metrics, now_ms, Quality.DEVICE_FAULT)
        self._trouble.note(device.id, turn.problem, turn.poll.group.period_s)
        taught = turn.teach(self._learned)
        period_s, now = turn.poll.group.period_s, self._clock.monotonic()
        if now >= turn.due:  # a probe may come before; nothing missed is made up for
            turn.due += period_s * (math.floor((now - turn.due) / period_s) + 1)
        turn.begin()
        if reading.values or reading.attributes:
            self._emit(reading)
        if taught:
            self._replan()

    def _replan(self) -> None:
        """Ask by what was learned from now on."""
        due = {(turn.device.id, turn.poll.group.period_s): turn.due for turn in self._turns}
        self.plan = plan_bus(self.bus.devices, self.bus.period_s, self.driver.wire, self._learned.reach)
        now = self._clock.monotonic()
        self._turns = [Turn(p, due.get((p.device.id, p.group.period_s), now)) for p in self.plan.polls]

    async def _beat(self) -> None:
        """Send the heartbeats that are due; without them a device falls back to its own settings."""
        now = self._clock.monotonic()
        for device in self._hearts:
            beat = device.profile.heartbeat
            if beat is None or now < self._beats[device.id] or self._breaker.is_suspect(device.id):
                continue
            if self._link_lost and self._clock.monotonic() < self._try_link_at:
                self._beats[device.id] = self._try_link_at  # each try may take seconds, which the others wait
                continue
            self._beats[device.id] = now + beat.every_s * _BEAT_EARLY
            try:
                async with self.line:
                    await self.driver.write(
                        device, Write(Space.HOLDING, beat.address, (beat.value,), beat.function_code)
                    )
            except YemaiError as error:
                self._trouble.note(device.id, f"heartbeat: {error}", _HEART)
                if isinstance(error, LinkDown):
                    self._lost(error)
            else:
                self._trouble.note(device.id, "", _HEART)


def _quality(error: YemaiError) -> Quality:
    return Quality.MALFORMED if isinstance(error, Malformed) else Quality.REFUSED
