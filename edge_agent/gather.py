"""Readings gathered into uploads: few fsyncs and messages, and none older than a third of a second."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec
import structlog

from edge_agent.budget import upload_bytes
from telemetry import codecs
from telemetry.errors import Unavailable
from telemetry.readings import AgentId, Gap, Reading, Upload

if TYPE_CHECKING:
    from edge_agent.buffer import Buffer
    from edge_agent.config import AgentConfig
    from edge_agent.report import Reporter
    from edge_agent.stamps import Step
    from telemetry.clock import Clock
    from telemetry.codecs import Codec
    from telemetry.keeper import Keeper
    from telemetry.outbox import Outbox

LINGER_S = 0.25
MOST_READINGS = 200  # about 60 kB of JSON
HELD_READINGS = 20_000  # in memory while the disk takes nothing
_MOST_WHOLE = 1000
_RETRY_S = 1.0
_NOTE_S = 5.0  # what waits for a window's end is written down so often
NOTE = "held"
log = structlog.get_logger()


class Shape(msgspec.Struct, frozen=True):
    """What an upload has to look like on the way that is configured."""

    agent: str
    codec: str
    most_bytes: int


def shape_of(config: AgentConfig) -> Shape:
    """Return what the uploads of this agent look like."""
    way = config.uplink
    return Shape(
        config.agent, way.module.CODEC, upload_bytes(way.module.MOST_BYTES, way.budget_bytes_per_day)
    )


class Gatherer:
    """Takes readings from the buses and puts what the report policy lets through into the outbox.

    While the disk is full readings are held in memory and tried again; what does not fit there is
    counted and told of as a gap.
    """

    def __init__(
        self, shape: Shape, keeper: Keeper, clock: Clock, reporter: Reporter, buffer: Buffer
    ) -> None:
        self._shape, self._keeper, self._clock = shape, keeper, clock
        self._reporter, self._buffer = reporter, buffer
        self._codec: Codec = codecs.codec(shape.codec)
        self._readings: list[Reading] = []
        self._whole: dict[tuple[str, int, str], None] = {}  # the newest that the policy let pass as they were
        self._batch = MOST_READINGS  # as many as fitted into the last upload
        self._arrived = asyncio.Event()
        self._lost: Gap | None = None
        self._troubled = ""
        self._noted_at = -_NOTE_S
        self._note_is_old = False  # what it holds is being put
        self._written = "[]"  # the note, as it is on disk
        self._turn = asyncio.Lock()

    def take(self, reading: Reading) -> None:
        """Accept a reading; never waits."""
        passed = self._reporter.take(reading)
        if passed == [reading]:
            self._whole[_name(reading)] = None
            if len(self._whole) > _MOST_WHOLE:
                del self._whole[next(iter(self._whole))]
        self._readings += passed
        while len(self._readings) > HELD_READINGS:
            self._lose(self._readings.pop(MOST_READINGS))  # the first may be on their way to the disk
        self._arrived.set()

    def at_once(self, reading: Reading) -> None:
        """Accept a reading past the report policy: it has raised an alarm, and the cloud judges it too.

        One that the policy let pass is on its way already, and may have left memory.
        """
        if _name(reading) not in self._whole and reading not in self._readings:
            self._readings.append(reading)
        self._arrived.set()

    def restamp(self, step: Step) -> None:
        """Put right the times of what is not on disk yet."""
        self._readings = [step.restamped(reading) for reading in self._readings]
        self._reporter.restamp(step)

    async def restore(self) -> None:
        """Take up what waited for a window's end when the agent was killed."""
        note = await self._keeper.look(lambda box: box.note(NOTE))
        if note and note != "[]":
            self._readings += msgspec.json.decode(note, type=list[Reading])
            self._note_is_old, self._written = True, note
            self._arrived.set()

    async def run(self) -> None:
        """Put what was taken into the outbox, for ever."""
        while True:
            await self._arrived.wait()
            await self._clock.sleep(LINGER_S)
            try:
                await self.flush()
            except Unavailable as error:
                if not self._troubled:
                    log.error(
                        "cannot_keep_readings",
                        problem=str(error),
                        way_out="free disk space, or raise [outbox] max_bytes; readings wait in memory",
                    )
                self._troubled = str(error)
                await self._clock.sleep(_RETRY_S)
                self._arrived.set()  # what is held is tried again, though nothing else may come for a day

    @property
    def trouble(self) -> str:
        """Why readings wait in memory; empty while the disk takes them."""
        return self._troubled

    @property
    def in_memory(self) -> int:
        """Readings that are not on disk yet."""
        return len(self._readings)

    async def flush(self, *, ending: bool = False) -> None:
        """Put everything taken so far into the outbox; raise :class:`Unavailable` and keep the rest.

        At the end, also what waits for the end of a window.
        """
        async with self._turn:
            await self._flush(ending=ending)

    async def _flush(self, *, ending: bool) -> None:
        if ending:
            self._readings += self._reporter.flush()
            self._noted_at, self._note_is_old = -_NOTE_S, True
        self._arrived.clear()
        while self._readings:
            batch, withheld = tuple(self._readings[: self._batch]), dict(self._reporter.withheld)
            is_last = len(batch) == len(self._readings)
            rest = self._noted() if self._note_is_old and is_last else ""

            def put(
                box: Outbox,
                batch: tuple[Reading, ...] = batch,
                withheld: dict[str, int] = withheld,
                rest: str = rest,
            ) -> None:
                self._put(box, batch)
                _withhold(box, withheld)
                if rest:  # what is noted has been put now: a kill would double it
                    box.set_note(NOTE, rest)

            try:
                await self._keeper.transact(put)
            except _TooLargeError:
                self._shrink()
                continue
            self._reporter.is_written(withheld)
            self._written = rest or self._written
            del self._readings[: len(batch)]
            self._batch = min(MOST_READINGS, self._batch + 1)
        self._note_is_old = False
        if self._clock.monotonic() - self._noted_at >= _NOTE_S:
            await self._write_down()
        if (lost := self._lost) is not None:
            await self._keeper.lose(lost)
            self._lost = _since(lost, self._lost)
        if self._troubled:
            self._troubled = ""
            log.info("keeping_readings_again")

    def _put(self, box: Outbox, batch: tuple[Reading, ...]) -> None:
        def encode(seq: int) -> bytes:
            upload = Upload(AgentId(self._shape.agent), box.boot, seq, self._clock.now_ms(), batch)
            payload = self._codec.encode(upload)
            if len(payload) > self._shape.most_bytes and (len(batch) > 1 or len(batch[0].values) > 1):
                raise _TooLargeError
            return payload

        before = box.size
        box.put(encode, samples=sum(reading.sample_count for reading in batch))
        self._buffer.put(max(0, box.size - before))

    async def _write_down(self) -> None:
        """Make the count of what was withheld durable, and what waits for a window's end."""
        withheld, held = dict(self._reporter.withheld), self._noted()
        if not withheld and held == self._written:
            self._noted_at = self._clock.monotonic()
            return

        def write(box: Outbox) -> None:
            _withhold(box, withheld)
            box.set_note(NOTE, held)

        await self._keeper.transact(write)
        self._reporter.is_written(withheld)
        self._written, self._noted_at = held, self._clock.monotonic()

    def _noted(self) -> str:
        """Return the note of what waits for a window's end."""
        return msgspec.json.encode(self._reporter.held()).decode()

    def _shrink(self) -> None:
        """Let fewer readings into an upload; a single reading that is too large becomes two."""
        if self._batch > 1 and len(self._readings) > 1:
            self._batch = max(1, min(self._batch, len(self._readings)) // 2)
            return
        self._batch = 1
        self._readings[:1] = _halves(self._readings[0])

    def _lose(self, reading: Reading) -> None:
        before = self._lost or Gap("disk_full", 0, reading.time, reading.time)
        self._lost = Gap("disk_full", before.samples + reading.sample_count, before.start, reading.time)


class GapMessage:
    """Makes an upload that tells of a loss."""

    def __init__(self, agent: str, codec: str = "json") -> None:
        self._agent, self._codec = AgentId(agent), codecs.codec(codec)

    def __call__(self, seq: int, boot: str, gap: Gap) -> bytes:
        """Return the upload of the outbox ``boot``."""
        return self._codec.encode(Upload(self._agent, boot, seq, gap.end, gaps=(gap,)))


def _name(reading: Reading) -> tuple[str, int, str]:
    return reading.device, reading.time, next(iter(reading.values), "")


class _TooLargeError(Exception):
    pass


def _since(told: Gap, now: Gap | None) -> Gap | None:
    """Return what was lost while ``told`` was being told of."""
    if now is None or now.samples == told.samples:
        return None
    return Gap(now.cause, now.samples - told.samples, told.end, now.end)


def _withhold(box: Outbox, withheld: dict[str, int]) -> None:
    for policy, samples in withheld.items():
        box.withhold(policy, samples)


def _halves(reading: Reading) -> list[Reading]:
    names = list(reading.values)
    halves = []
    for part in (names[: len(names) // 2], names[len(names) // 2 :]):
        values = {name: reading.values[name] for name in part}
        quality = {name: q for name, q in reading.quality.items() if name in values}
        halves.append(msgspec.structs.replace(reading, values=values, quality=quality))
    halves[1] = msgspec.structs.replace(halves[1], attributes={})
    return halves


def merged(earlier: str, later: str) -> str:
    """Return one note of two that each hold what waited for the end of a window."""
    held = [reading for note in (earlier, later) for reading in msgspec.json.decode(note, type=list[Reading])]
    return msgspec.json.encode(held).decode()
