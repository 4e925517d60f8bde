"""Carries out commands: between two frames of the bus, once for ever, read back, and told of.

An id is on disk before anything is written, so that neither a repeated message nor a restart carries it out twice;
each step's result is in the outbox before the next begins.  A write that meets silence is never repeated: what the
device then reads back decides.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec
import structlog

from edge_agent.interlock import Interlocks
from edge_agent.orders import LONGEST_LIFE_MS, CommandsConfig, Order, order_for
from telemetry import codecs
from telemetry.commands import Command, CommandResult, CommandState
from telemetry.errors import Malformed, Refused, Unavailable, YemaiError

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge_agent.driver import Device
    from edge_agent.poller import Poller
    from edge_agent.record import Recorder
    from telemetry.clock import Clock
    from telemetry.keeper import Keeper
    from telemetry.outbox import Outbox

_NOTE = "commands"
_MOST_BYTES = 16 * 1024
_MOST_WAITING = 64
_SETTLE_S = 0.2  # between two looks at what a device has made of a write
_LOOKS = 6
_KEPT_MS = 3_600_000  # after its id has expired anyway
LOCAL = "local"
log = structlog.get_logger()


class _Known(msgspec.Struct):
    state: CommandState
    device: str
    not_after: int


class _Memory(msgspec.Struct):
    ids: dict[str, _Known] = {}
    acted: dict[str, list[int]] = {}


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
        self._config, self._devices, self._keeper = config, devices, keeper
        self._record, self._clock = recorder, clock
        self._pollers: dict[str, Poller] = {}
        self._memory, self._interlocks = _Memory(), Interlocks()
        self._waiting: asyncio.Queue[tuple[Command, Order, asyncio.Future[CommandResult]]] = asyncio.Queue()
        self._under_way = 0
        self._causes: dict[str, str] = {}

    def serves(self, poller: Poller) -> None:
        """Send commands for the devices of a bus through its poller from now on."""
        self._pollers |= {device.id: poller for device in poller.bus.devices}

    async def restore(self) -> None:
        """Remember what was done before the restart; what was under way then may or may not have been done."""
        note = await self._keeper.look(lambda box: box.note(_NOTE))
        if not note:
            return
        self._memory = msgspec.json.decode(note, type=_Memory)
        self._interlocks = Interlocks(self._memory.acted)
        cut = {name: known for name, known in self._memory.ids.items() if not known.state.is_final}
        for name, known in cut.items():
            bare = Command(name, known.device, known.not_after)  # type: ignore[arg-type]
            await self._tell(
                bare, CommandState.FAILED, "the agent was restarted; whether it was carried out is not known"
            )

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
            if now > command.not_after:
                return await self._tell(command, CommandState.EXPIRED, _late(command, now), cause)
            if command.not_after > now + LONGEST_LIFE_MS:
                raise Refused("not_after is more than a day ahead")
            if allowed is not None:
                allowed(command)
            order = self._order(command)
            if not cause:  # what answers an alarm spares nothing
                self._interlocks.check(order.actuator, order.interlock, now)
            if self._under_way >= _MOST_WAITING:
                raise Refused(f"{_MOST_WAITING} commands wait already")
        except Refused as error:
            return await self._tell(command, CommandState.REFUSED, str(error), cause, remember=known is None)
        self._interlocks.note(order.actuator, now)
        self._under_way += 1
        try:
            await self._tell(command, CommandState.ACCEPTED, "", cause)
        except BaseException:
            self._under_way -= 1
            raise
        done: asyncio.Future[CommandResult] = asyncio.get_running_loop().create_future()
        self._causes[command.id] = cause
        self._waiting.put_nowait((command, order, done))
        return done

    async def run(self) -> None:
        """Carry out what was accepted, for ever; each bus does one at a time, in the order they came."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                tasks.create_task(self._finish(*await self._waiting.get()))

    async def _finish(self, command: Command, order: Order, done: asyncio.Future[CommandResult]) -> None:
        cause = self._causes.pop(command.id, "")
        try:
            result = await self._carry_out(command, order, cause)
        except Unavailable as error:  # the disk does not take the result; the line has done its part
            log.error("result_not_kept", id=command.id, problem=str(error))
            result = self._result(command, CommandState.FAILED, str(error), cause)
        finally:
            self._under_way -= 1
        if not done.done():
            done.set_result(result)
        poller = self._pollers.get(command.device)
        if poller is not None:
            poller.refresh(command.device)

    async def _carry_out(self, command: Command, order: Order, cause: str) -> CommandResult:
        poller = self._pollers[command.device]
        async with poller.line:
            if self._clock.now_ms() > command.not_after:
                return await self._tell(
                    command, CommandState.EXPIRED, _late(command, self._clock.now_ms()), cause
                )
            unanswered = ""
            try:
                await poller.assure(order.device)
                await self._write(poller, order)
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
        said, problem = await self._look(poller, command, order)
        state = CommandState.FAILED if problem else CommandState.VERIFIED
        if problem and unanswered:
            problem = f"{unanswered}; then {problem}"
        return await self._tell(command, state, problem, cause, read_back=said)

    async def _write(self, poller: Poller, order: Order) -> None:
        began = self._clock.monotonic()
        for write in order.writes:
            if write.within_s is not None and self._clock.monotonic() - began > write.within_s:
                raise Refused(f"the step before took longer than {write.within_s:g} s; not operated")
            began = self._clock.monotonic()
            await poller.driver.write(order.device, write)

    async def _look(self, poller: Poller, command: Command, order: Order) -> tuple[float | None, str]:
        """Return what the device reads back and, where that is not what it should, the problem."""
        wanted = command.expect if command.expect is not None else command.value
        said, problem = None, ""
        for look in range(_LOOKS):
            if look:
                await self._clock.sleep(_SETTLE_S)
            try:
                assert order.back is not None
                async with poller.line:
                    words = await poller.driver.read(order.device, order.back)
                said, problem = order.value_in(words), ""
            except YemaiError as error:
                problem = f"not read back: {error}"
                continue
            if said is not None and wanted is not None and abs(said - wanted) <= command.tolerance + 1e-6:
                return said, ""
            problem = f"reads back {'nothing' if said is None else f'{said:g}'} instead of {wanted:g}"
        return said, problem

    def _order(self, command: Command) -> Order:
        device = self._devices.get(command.device)
        if device is None:
            raise Refused(f"this agent has no device '{command.device}'")
        if command.device not in self._pollers:
            raise Refused(f"'{command.device}' is not on a bus that can be written to")
        if not self._pollers[command.device].is_live:
            raise Refused(f"the bus of '{command.device}' is not served at the moment")
        return order_for(command, device)

    async def _tell(
        self, command: Command, state: CommandState, problem: str, cause: str = "", *,
        read_back: float | None = None, remember: bool = True,
    ) -> CommandResult:  # fmt: skip
        """Put a step's result into the outbox and remember the id, together."""
        result = self._result(command, state, problem, cause, read_back)
        now = self._clock.now_ms()
        if remember:
            self._memory.ids[command.id] = _Known(state, command.device, command.not_after)
        ids = {
            name: k
            for name, k in self._memory.ids.items()
            if k.not_after + _KEPT_MS > now or not k.state.is_final
        }
        self._memory = _Memory(ids, self._interlocks.acted)
        note = msgspec.json.encode(self._memory).decode()

        def write(box: Outbox) -> None:
            box.set_note(_NOTE, note)
            self._record(box, results=(result,))

        await self._keeper.transact(write)
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
        self, command: Command, state: CommandState, problem: str, cause: str, read_back: float | None = None
    ) -> CommandResult:
        return CommandResult(
            command.id, command.device, state, self._clock.now_ms(), command.metric, command.value, command.command,
            read_back, problem, command.by, cause,
        )  # fmt: skip


def _late(command: Command, now_ms: int) -> str:
    return f"{(now_ms - command.not_after) / 1000:.1f} s too late"
