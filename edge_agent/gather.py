"""Readings gathered into uploads: few fsyncs and messages, and none older than a fifth of a second."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from telemetry.codecs import json
from telemetry.errors import Unavailable
from telemetry.readings import AgentId, Gap, Reading, Upload

if TYPE_CHECKING:
    from telemetry.clock import Clock
    from telemetry.keeper import Keeper

LINGER_S = 0.1
MOST_READINGS = 200  # about 60 kB of JSON, well under MAX_UPLOAD_BYTES
HELD_READINGS = 20_000  # in memory while the disk takes nothing
_RETRY_S = 1.0
log = structlog.get_logger()


class Gatherer:
    """Takes readings from the buses and puts uploads into the outbox.

    While the disk is full readings are held in memory and tried again; what does not fit there is
    counted and told of as a gap.
    """

    def __init__(self, agent: str, keeper: Keeper, clock: Clock) -> None:
        self._agent, self._keeper, self._clock = AgentId(agent), keeper, clock
        self._readings: list[Reading] = []
        self._arrived = asyncio.Event()
        self._lost: Gap | None = None
        self._troubled = False

    def take(self, reading: Reading) -> None:
        """Accept a reading; never waits."""
        self._readings.append(reading)
        if len(self._readings) > HELD_READINGS:
            self._lose(self._readings.pop(MOST_READINGS))  # the first may be on their way to the disk
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
                    self._troubled = True
                    log.error(
                        "cannot_keep_readings",
                        problem=str(error),
                        way_out="free disk space; readings wait in memory",
                    )
                await self._clock.sleep(_RETRY_S)

    async def flush(self) -> None:
        """Put everything taken so far into the outbox; raise :class:`Unavailable` and keep the rest."""
        while self._readings:
            batch = tuple(self._readings[:MOST_READINGS])
            await self._keeper.put(
                lambda seq, batch=batch: json.encode(  # type: ignore[misc]
                    Upload(self._agent, self._keeper.boot, seq, self._clock.now_ms(), batch)
                ),
                samples=sum(reading.sample_count for reading in batch),
            )
            del self._readings[: len(batch)]
        self._arrived.clear()
        if self._lost is not None:
            await self._keeper.lose(self._lost)
            self._lost = None
        if self._troubled:
            self._troubled = False
            log.info("keeping_readings_again")

    def _lose(self, reading: Reading) -> None:
        before = self._lost or Gap("disk_full", 0, reading.time, reading.time)
        self._lost = Gap("disk_full", before.samples + reading.sample_count, before.start, reading.time)


class GapMessage:
    """Makes an upload that tells of a loss."""

    def __init__(self, agent: str) -> None:
        self._agent = AgentId(agent)

    def __call__(self, seq: int, boot: str, gap: Gap) -> bytes:
        """Return the upload of the outbox ``boot``."""
        return json.encode(Upload(self._agent, boot, seq, gap.end, gaps=(gap,)))
