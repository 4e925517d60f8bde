"""Carries out commands: between two frames of the bus, once for ever, read back, and told of.

An id is on disk before anything is written, so that neither a repeated message nor a restart carries it out twice;
each step's result is in the outbox before the next begins.  A write that meets silence is never repeated: what the
device then reads back decides.

While the disk takes nothing, nothing is begun but what answers an alarm.  What is done then, and what has been begun
before, goes on record when the disk is back.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple, Protocol

import structlog

from edge_agent.allowance import Allowance
from edge_agent.bus import Listener
from edge_agent.driver import Telling
from edge_agent.memory import Known, Memory, NoRoomError
from edge_agent.orders import LONGEST_LIFE_MS, CommandsConfig, Order, order_for
from edge_agent.sleepers import Sleepers
from telemetry import codecs
from telemetry.commands import Command, CommandResult, CommandState
from telemetry.errors import Malformed, Refused, Unavailable, YemaiError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from edge_agent.config import Bus
    from edge_agent.driver import Device, Polled
    from edge_agent.record import Recorder
    from telemetry.clock import Clock
    from telemetry.keeper import Keeper
    from telemetry.readings import Reading

_MOST_BYTES = 16 * 1024
_MOST_WAITING = 64
_MOST_ASLEEP = 1000
_SETTLE_S = 0.2  # between two looks at what a device has made of a write
_LOOKS = 6
_MOST_TURNED_AWAY, _SPAN_S = 500, 3600.0
"""Commands of which the record tells that they were refused or late: it is never given up, and must not fill the disk."""
log = structlog.get_logger()


class Lane(Protocol):
    """A bus that commands can be carried out on; ``line`` is held for the length of one exchange."""

    bus: Bus
    driver: Polled
    line: asyncio.Lock
    is_live: bool

    async def assure(self, device: Device) -> None:
        """Raise :class:`Refused` for the wrong device on the port; the line is held."""

    def refresh(self, device: str) -> None:
        """Something was written to the device."""


class _Errand(NamedTuple):
    command: Command
    order: Order
    done: asyncio.Future[CommandResult]
    cause: str
    sent: bool


class Commander:
    """Takes the commands of one agent."""

    def __init__(
        self,
        config: CommandsConfig,
        devices: dict[str, Device],
        keeper: Keeper,
        recorder: Recorder,
        clock: Clock,
    ) -> None:
        self._config, self._devices, self._clock = config, devices, clock
        self._lanes: dict[str, Lane] = {}
        self._sleepers = Sleepers(clock)
        self._asleep = 0
        self._written: dict[str, str] = {}  # actuator → the id of the command that was written last
        self._memory = Memory(keeper, recorder, clock)
        self._waiting: asyncio.Queue[_Errand] = asyncio.Queue()
        self._under_way = 0
        self._at_rest = asyncio.Event()
        self._at_rest.set()
        self._turned_away = Allowance(clock, _MOST_TURNED_AWAY, _SPAN_S)

    def serves(self, reader: Lane | Listener) -> None:
        """Send commands for the devices of a bus through who reads it from now on."""
        if isinstance(reader, Listener):
            if isinstance(reader.driver, Telling):
                self._sleepers.serves(reader.driver, reader.bus)
        else:
            self._lanes |= {device.id: reader for device in reader.bus.devices}

    def heard(self, reading: Reading) -> None:
        """Take what a device said of itself: one that sleeps verifies its commands by it."""
        self._sleepers.heard(reading)

    async def restore(self) -> None:
        """Remember what was done before the restart; what was under way then may or may not have been done."""
        await self._memory.restore()
        cut = {name: known for name, known in self._memory.ids.items() if not known.is_over}
        for name, known in cut.items():
            if known.command is not None and self._resume(known):
                continue
            bare = Command(name, known.device, known.not_after)  # type: ignore[arg-type]
            await self._tell(
                bare, CommandState.FAILED, "the agent was restarted; whether it was carried out is not known"
            )

    def _resume(self, known: Known) -> bool:
        """Go on with an order that waits for its device to wake; return whether it can be gone on with."""
        assert known.command is not None
        try:
            order = order_for(known.command, self._devices[known.device])
        except (KeyError, Refused):  # another configuration
            return False
        self._enqueue(known.command, order, known.cause, sent=known.state is CommandState.EXECUTED)
        return True

    async def hear(self, payload: bytes) -> None:
        """Take a message of the agent's ``cmd`` topic."""
        try:
            command = codecs.decode(payload, Command, max_bytes=_MOST_BYTES)
        except Malformed as error:
            log.warning("unreadable_command", problem=str(error))
            return
        try:
            await self.take(command, self._config.check)
        except Unavailable as error:
            log.error("command_not_taken", id=command.id, problem=str(error))

    async def take(
        self, command: Command, allowed: Callable[[Command], None] | None = None, cause: str = ""
    ) -> asyncio.Future[CommandResult] | CommandResult:
        """Accept a command, and return the future of its last result; or what speaks against it at once."""
        now = self._clock.now_ms()
        known = self._memory.ids.get(command.id)
        try:
            if known is not None:
                raise Refused(f"repeated: '{command.id}' was taken before and is {known.state}")
            if not cause:
                self._memory.check_room()
            if now > command.not_after:
                return await self._turn_away(command, CommandState.EXPIRED, _late(command, now), cause)
            if command.not_after > now + LONGEST_LIFE_MS:
                raise Refused("not_after is more than a day ahead")
            if allowed is not None:
                allowed(command)
            self._config.check_text(command)
            order = self._order(command)
            if not cause:  # what answers an alarm spares nothing
                self._memory.interlocks.check(order.actuator, order.interlock, now)
            if self._under_way >= _MOST_WAITING or self._asleep >= _MOST_ASLEEP:
                raise Refused(f"{max(self._under_way, self._asleep)} commands wait already")
        except Refused as error:
            remember = known is None and not isinstance(error, NoRoomError)
            return await self._turn_away(command, CommandState.REFUSED, str(error), cause, remember=remember)
        self._memory.interlocks.note(order.actuator, now)
        if cause:  # a slow disk delays no answer to an alarm: it goes on record meanwhile, in its order
            done = self._enqueue(command, order, cause)
            await self._tell(command, CommandState.ACCEPTED, "", cause)
            return done
        try:
            await self._tell(command, CommandState.ACCEPTED, "")
        except Unavailable:
            self._memory.ids.pop(command.id, None)  # it was not begun, and may be given again
            self._memory.interlocks.forget(order.actuator, now)
            raise
        return self._enqueue(command, order, "")

    async def _turn_away(
        self, command: Command, state: CommandState, problem: str, cause: str, *, remember: bool = True
    ) -> CommandResult:
        """Tell that a command is not begun; beyond the allowance only who asked here is told."""
        if cause or self._turned_away.takes():
            return await self._tell(command, state, problem, cause, remember=remember)
        if self._turned_away.denied == 1:
            log.error(
                "commands_turned_away_untold", id=command.id, by=command.by, problem=problem,
                most_an_hour=_MOST_TURNED_AWAY, way_out="stop who sends them; untold_refusals of the status counts them",
            )  # fmt: skip
        return self._result(command, state, problem, cause)

    @property
    def untold(self) -> int:
        """How many commands were refused or late without a word on record, since the start."""
        return self._turned_away.denied

    @property
    def waiting(self) -> int:
        """How many commands are accepted and not at their end."""
        return self._under_way + self._asleep

    async def at_rest(self) -> None:
        """Return when no command for a polled bus is under way."""
        await self._at_rest.wait()

    def sleeps(self, device: str) -> bool:
        """Whether a device can only be told something when it wakes."""
        return device in self._devices and self._devices[device].profile.frame is not None

    def _enqueue(
        self, command: Command, order: Order, cause: str, *, sent: bool = False
    ) -> asyncio.Future[CommandResult]:
        errand = _Errand(command, order, asyncio.get_running_loop().create_future(), cause, sent)
        if order.downlink:
            self._asleep += 1
        else:
            self._under_way += 1
            self._at_rest.clear()
        self._waiting.put_nowait(errand)
        return errand.done

    async def settle(self) -> None:
        """Put on record what the disk has not taken yet, if it takes it now."""
        await self._memory.settle()

    async def run(self) -> None:
        """Carry out what was accepted, for ever; each bus does one at a time, in the order they came."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._memory.catch_up())
            while True:
                tasks.create_task(self._finish(await self._waiting.get()))

    async def _finish(self, errand: _Errand) -> None:
        command, order, done, cause, sent = errand
        try:
            if order.downlink:
                result = await self._sleepers.carry_out(
                    command, order, self._teller(command, cause), sent=sent
                )
            else:
                result = await self._carry_out(command, order, cause)
        finally:
            if order.downlink:
                self._asleep -= 1
            else:
                self._under_way -= 1
                if not self._under_way:
                    self._at_rest.set()
        if not done.done():
            done.set_result(result)
        lane = self._lanes.get(command.device)
        if lane is not None:
            lane.refresh(command.device)

    async def _carry_out(self, command: Command, order: Order, cause: str) -> CommandResult:
        lane = self._lanes[command.device]
        async with lane.line:
            if self._clock.now_ms() > command.not_after:
                return await self._tell(
                    command, CommandState.EXPIRED, _late(command, self._clock.now_ms()), cause
                )
            unanswered = ""
            try:
                await lane.assure(order.device)
                self._written[order.actuator] = command.id
                await self._write(lane, order)
            except Unavailable as error:
                unanswered = str(error)
            except (Refused, Malformed) as error:
                return await self._tell(command, CommandState.FAILED, str(error), cause)
        if not unanswered:
            executed = await self._tell(command, CommandState.EXECUTED, "", cause)
            if order.back is None:
                return executed
        elif order.back is None:
            return await self._tell(command, CommandState.FAILED, unanswered, cause)
        said, problem = await self._look(lane, order)
        state = CommandState.FAILED if problem else CommandState.VERIFIED
        if problem and (by := self._written[order.actuator]) != command.id:
            problem = f"overtaken by '{by}'; {problem}"
        if problem and unanswered:
            problem = f"{unanswered}; then {problem}"
        return await self._tell(command, state, problem, cause, read_back=said)

    def _teller(self, command: Command, cause: str) -> Callable[..., Awaitable[CommandResult]]:
        async def tell(state: CommandState, problem: str, read_back: float | None) -> CommandResult:
            return await self._tell(command, state, problem, cause, read_back=read_back)

        return tell

    async def _write(self, lane: Lane, order: Order) -> None:
        began = self._clock.monotonic()
        for write in order.writes:
            if write.within_s is not None and self._clock.monotonic() - began > write.within_s:
                raise Refused(f"the step before took longer than {write.within_s:g} s; not operated")
            began = self._clock.monotonic()
            await lane.driver.write(order.device, write)

    async def _look(self, lane: Lane, order: Order) -> tuple[float | str | None, str]:
        """Return what the device reads back and, where that is not what it should, the problem."""
        said, problem = None, ""
        for look in range(_LOOKS):
            if look:
                await self._clock.sleep(_SETTLE_S)
            try:
                assert order.back is not None
                async with lane.line:
                    words = await lane.driver.read(order.device, order.back)
                said, problem = order.said_in(words), ""
            except YemaiError as error:
                problem = f"not read back: {error}"
                continue
            if not (problem := order.problem(said)):
                return said, ""
        return said, problem

    def _order(self, command: Command) -> Order:
        device = self._devices.get(command.device)
        if device is None:
            raise Refused(f"this agent has no device '{command.device}'")
        if device.profile.frame is not None:
            return order_for(command, device)
        if command.device not in self._lanes:
            raise Refused(f"'{command.device}' is not on a bus that can be written to")
        if not self._lanes[command.device].is_live:
            raise Refused(f"the bus of '{command.device}' is not served at the moment")
        return order_for(command, device)

    async def _tell(
        self, command: Command, state: CommandState, problem: str, cause: str = "", *,
        read_back: float | str | None = None, remember: bool = True,
    ) -> CommandResult:  # fmt: skip
        """Put a step's result into the outbox and remember the id, together."""
        result = self._result(command, state, problem, cause, read_back)
        if remember:
            waits = not state.is_final and command.value is not None and self.sleeps(command.device)
            self._memory.note(command, state, cause, waits=waits)
        await self._memory.write_down(result, must=state is CommandState.ACCEPTED and not cause)
        log.info(
            "command",
            id=command.id,
            device=command.device,
            state=state.value,
            problem=problem or None,
            by=command.by,
        )
        return result

    def _result(
        self, command: Command, state: CommandState, problem: str, cause: str, said: float | str | None = None
    ) -> CommandResult:
        number, text = (None, said) if isinstance(said, str) else (said, None)
        return CommandResult(
            command.id, command.device, state, self._clock.now_ms(), command.metric, command.value, command.command,
            number, problem, command.by, cause, text=command.text, text_back=text,
        )  # fmt: skip


def _late(command: Command, now_ms: int) -> str:
    return f"{(now_ms - command.not_after) / 1000:.1f} s too late"
