"""A wall clock that is set: what was stamped before is stamped again from the monotonic clock, and marked.

A box without a battery starts in 1970 and reads for hours before it hears the time.  The step between the wall clock
and the monotonic clock tells by how much everything it has stamped since its start is wrong; what has not been handed
to the cloud yet is moved by that and becomes ``CLOCK_SUSPECT``: near enough to draw, not to judge by.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import msgspec
import structlog

from telemetry import codecs
from telemetry.errors import Unavailable
from telemetry.quality import Quality
from telemetry.readings import Reading, Upload

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge_agent.gather import Gatherer
    from telemetry.clock import Clock
    from telemetry.keeper import Keeper
    from telemetry.outbox import Outbox

TICK_S = 0.5
STEP_MS = 2_000
"""More than this within a tick is a clock that was set; less is slewed, as NTP does it."""
SANE_MS = 1_735_689_600_000
"""2025-01-01: a clock before it has not been set."""
log = structlog.get_logger()


class Step(msgspec.Struct, frozen=True):
    """The wall clock was moved by ``by_ms`` and now says ``now_ms``; ``seq`` is the last message put before."""

    by_ms: int
    now_ms: int
    seq: int

    def is_old(self, time_ms: int, seq: int | None = None) -> bool:
        """Whether a stamp was given before the step; ``seq`` is that of its message, None while it has none."""
        if self.by_ms > 0:
            return time_ms <= self.now_ms - self.by_ms
        return time_ms > self.now_ms or (seq is not None and seq <= self.seq)

    def restamped(self, reading: Reading, seq: int | None = None) -> Reading:
        """Return the reading with the time it was really taken at, and marked."""
        if not self.is_old(reading.time, seq):
            return reading
        return suspect(msgspec.structs.replace(reading, time=reading.time + self.by_ms))


def suspect(reading: Reading) -> Reading:
    """Return the reading with its good samples marked ``CLOCK_SUSPECT``."""
    marks = {name: reading.quality.get(name, Quality.CLOCK_SUSPECT) for name in reading.values}
    return msgspec.structs.replace(reading, quality=marks)


def sane(reading: Reading) -> Reading:
    """Mark a reading stamped by a clock that was never set."""
    return suspect(reading) if reading.time < SANE_MS else reading


async def watch_clock(
    clock: Clock, keeper: Keeper, gatherer: Gatherer, codec_name: str, told: Callable[[], None]
) -> None:
    """Put right for ever what the clock has made wrong; ``told`` is called after each step."""
    offset, seq = _offset(clock), 0
    in_memory = offset  # ahead of the other while the disk takes nothing
    while True:
        await clock.sleep(TICK_S)
        new = _offset(clock)
        step = Step(new - offset, clock.now_ms(), seq)
        if abs(step.by_ms) >= STEP_MS:
            if abs(new - in_memory) >= STEP_MS:  # less is no step there either, and marks nothing
                gatherer.restamp(Step(new - in_memory, clock.now_ms(), seq))
            in_memory = new
            try:
                changed = await keeper.transact(lambda box, step=step: _rewrite(box, step, codec_name))  # type: ignore[misc]
            except Unavailable as error:
                log.error("clock_step_not_put_right", step_s=step.by_ms / 1000, problem=str(error))
                continue  # with the old offset: it is tried again
            log.warning("clock_was_set", step_s=step.by_ms / 1000, uploads_stamped_again=changed)
            told()
        offset = in_memory = new
        with contextlib.suppress(Unavailable):  # a broken disk is told of elsewhere
            seq = await keeper.look(lambda box: box.last_seq())


def _rewrite(box: Outbox, step: Step, codec_name: str) -> int:
    codec = codecs.codec(codec_name)

    def change(payload: bytes) -> bytes:
        upload = codecs.codec_of(payload).decode(payload, Upload)
        readings = tuple(step.restamped(reading, upload.seq) for reading in upload.readings)
        return codec.encode(msgspec.structs.replace(upload, readings=readings))

    return box.rewrite(box.opened_at + 1, change, step.by_ms)


def _offset(clock: Clock) -> int:
    return clock.now_ms() - round(clock.monotonic() * 1000)
