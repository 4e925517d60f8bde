"""What a commander has done: which ids it has taken, when its actuators acted, and what goes on record of it.

All of it is one note of the outbox, which is written in the transaction that puts a step's result there.  While the
disk takes nothing, results wait here.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec
import structlog

from edge_agent.interlock import Interlocks
from edge_agent.orders import LONGEST_LIFE_MS
from telemetry.commands import Command, CommandResult, CommandState
from telemetry.errors import Refused, Unavailable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge_agent.record import Recorder
    from telemetry.clock import Clock
    from telemetry.keeper import Keeper
    from telemetry.outbox import Outbox

NOTE = "commands"
_MOST_KNOWN = 2000  # ids; they are written down with each step
_KEPT_MS = 3_600_000  # after its id has expired anyway
_AGAIN_S = 5.0  # between two tries to put on record what the disk did not take
_MOST_UNSAID = 1000
log = structlog.get_logger()


class NoRoomError(Refused):
    """A command is refused because too many are remembered; this one is not."""


class Known(msgspec.Struct, omit_defaults=True):
    """How far the command of an id has come."""

    state: CommandState
    device: str
    not_after: int  # when the id may be forgotten, but for an hour
    command: Command | None = None  # a set-point that waits for its device to wake: it outlives a restart
    cause: str = ""
    is_told: bool = False  # it is executed, and nothing reads it back

    @property
    def is_over(self) -> bool:
        """Whether nothing will follow."""
        return self.is_told or self.state.is_final


class _Note(msgspec.Struct):
    ids: dict[str, Known] = {}
    acted: dict[str, list[int]] = {}


class Memory:
    """The memory of one commander."""

    def __init__(self, keeper: Keeper, recorder: Recorder, clock: Clock) -> None:
        self._keeper, self._record, self._clock = keeper, recorder, clock
        self.ids: dict[str, Known] = {}
        self.interlocks = Interlocks()
        self._unsaid: list[CommandResult] = []  # what the disk has not taken yet
        self._left_out = 0  # how many of them were too many
        self._writing = asyncio.Lock()

    async def restore(self) -> None:
        """Remember what was written down before the restart."""
        note = await self._keeper.look(lambda box: box.note(NOTE))
        if note:
            known = msgspec.json.decode(note, type=_Note)
            self.ids, self.interlocks = known.ids, Interlocks(known.acted)

    def check_room(self) -> None:
        """Raise :class:`NoRoomError` where one more id is one too many."""
        if len(self.ids) >= _MOST_KNOWN:
            self._forget()
        if len(self.ids) >= _MOST_KNOWN:
            # nothing was done for a refused one: it is judged anew if it comes again
            refused = [name for name, known in self.ids.items() if known.state is CommandState.REFUSED]
            for name in refused[: _MOST_KNOWN // 10]:
                del self.ids[name]
        if len(self.ids) >= _MOST_KNOWN:
            raise NoRoomError(
                f"{_MOST_KNOWN} commands are remembered until they have expired; give not_after a nearer time"
            )

    def note(self, command: Command, state: CommandState, cause: str, *, waits: bool) -> None:
        """Remember how far a command has come; one that ``waits`` for its device to wake, as a whole."""
        until = min(
            command.not_after, self._clock.now_ms() + LONGEST_LIFE_MS
        )  # it may be refused for being longer
        is_told = state is CommandState.EXECUTED and bool(command.command)
        self.ids[command.id] = Known(
            state, command.device, until, command if waits else None, cause if waits else "", is_told
        )

    async def write_down(self, *results: CommandResult, must: bool = False) -> None:
        """Put results on record, behind those that the disk did not take, together with what is remembered.

        Raises :class:`Unavailable` for what ``must`` be on disk; everything else is tried again later.
        """
        async with self._writing:
            self._forget()
            note = msgspec.json.encode(_Note(self.ids, self.interlocks.acted)).decode()
            if not (results := (*self._unsaid, *results)):
                return

            def write(box: Outbox) -> None:
                box.set_note(NOTE, note)
                self._record(box, results=results)

            try:
                await self._keeper.transact(write)
            except Unavailable as error:
                if must:
                    raise
                if len(results) > len(self._unsaid):
                    log.error("not_on_record_yet", id=results[-1].id, problem=str(error))
                self._leave_unsaid(results)
            else:
                if self._left_out:
                    log.error("on_record_again", results_lost=self._left_out)
                self._unsaid, self._left_out = [], 0

    def _leave_unsaid(self, results: Sequence[CommandResult]) -> None:
        """Keep the newest of what the disk did not take; say so when the first is lost, and how many were in the end."""
        over = max(0, len(results) - _MOST_UNSAID)
        if over and not self._left_out:
            log.error(
                "results_lost", oldest=results[0].id, most=_MOST_UNSAID,
                way_out="free disk space or mend the disk: until then each result costs the oldest that waits",
            )  # fmt: skip
        self._left_out += over
        self._unsaid = list(results[over:])

    async def catch_up(self) -> None:
        """Put on record, for ever, what the disk did not take."""
        while True:
            await self._clock.sleep(_AGAIN_S)
            await self.settle()

    async def settle(self) -> None:
        """Put on record what the disk did not take, if it takes it now."""
        if self._unsaid:
            await self.write_down()

    def _forget(self) -> None:
        """Forget what cannot come again and has come to its end."""
        now = self._clock.now_ms()
        for name, known in list(self.ids.items()):
            if known.is_over and known.not_after + _KEPT_MS <= now:
                del self.ids[name]


def merged(earlier: str, later: str) -> str:
    """Return one note of two: every id, as far as either knows it to have come, and whenever an actuator acted."""
    was, now = (msgspec.json.decode(note, type=_Note) for note in (earlier, later))
    ids = dict(was.ids)
    for name, known in now.ids.items():
        ids[name] = max(known, was.ids.get(name, known), key=_how_far)
    acted = {
        actuator: sorted({*was.acted.get(actuator, ()), *now.acted.get(actuator, ())})
        for actuator in was.acted.keys() | now.acted.keys()
    }
    return msgspec.json.encode(_Note(ids, acted)).decode()


def _how_far(known: Known) -> int:
    return 2 if known.is_over else int(known.state is CommandState.EXECUTED)
