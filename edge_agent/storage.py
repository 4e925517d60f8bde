"""Where an agent keeps what it has read: on its disk, and in memory while the disk takes nothing.

A disk that is full or read-only is no reason not to read: the agent says so, keeps what fits into memory, sends it as
ever, and goes back to the disk when there is one again and the cloud has what was kept.  What it remembers beside the
messages goes with it (:mod:`edge_agent.carried`); what is in memory outlives the configurations that come and go.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from typing import TYPE_CHECKING, Self

import structlog

from edge_agent.carried import carry_over
from edge_agent.gather import GapMessage, shape_of
from edge_agent.record import Recorder
from telemetry.errors import Unavailable
from telemetry.outbox import Outbox

if TYPE_CHECKING:
    from types import TracebackType

    from edge_agent.config import AgentConfig
    from telemetry.clock import Clock

MEMORY_BYTES = 16 * 1024 * 1024
_LOOK_S = 60.0
log = structlog.get_logger()


class Storage:
    """The outbox of one process, from one configuration to the next; at the end, what is in memory is carried over."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._memory: sqlite3.Connection | None = None
        self._config: AgentConfig | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._memory is None or self._config is None:
            return
        try:
            self._carried(self._memory, self._config).close()
        except Unavailable as problem:
            log.error("memory_lost_at_stop", problem=str(problem))
        self._memory.close()

    def open(self, config: AgentConfig) -> tuple[Outbox, str]:
        """Return the outbox, and why it is in memory, empty when it is on disk; a corrupt file is moved aside.

        What was in memory stays there while messages wait in it, and while the disk does not take what is remembered.
        """
        self._config = config
        try:
            outbox = self._on_disk(config)
        except Unavailable as error:
            log.error(
                "outbox_is_in_memory", problem=str(error), way_out="a power cut loses it: mend the disk"
            )
            if self._memory is None:
                self._memory = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
            return self._in_memory(self._memory, config), str(error)
        if aside := outbox.note("moved_aside"):
            log.error("outbox_was_corrupt", moved_to=aside)
        for older in outbox.migrated:
            log.info(
                "schema_migrated",
                path=str(config.outbox.path),
                part=older.part,
                version=older.newest,
                was=older.version,
            )
        return outbox, ""

    def _on_disk(self, config: AgentConfig) -> Outbox:
        if self._memory is None:
            return on_disk(config, self._clock)
        if waiting := self._in_memory(self._memory, config).counters().messages:
            raise Unavailable(f"{waiting} messages wait in memory until the cloud has them")
        outbox = self._carried(self._memory, config)
        self._memory.close()
        self._memory = None
        return outbox

    def _carried(self, memory: sqlite3.Connection, config: AgentConfig) -> Outbox:
        """Return the outbox on disk, with what the one in memory remembers."""
        outbox = on_disk(config, self._clock)
        try:
            with outbox.transaction():
                ended = carry_over(self._in_memory(memory, config), outbox, self._clock.now_ms())
                if ended:
                    Recorder(shape_of(config), self._clock)(outbox, transitions=ended)
        except BaseException:
            outbox.close()
            raise
        return outbox

    def _in_memory(self, memory: sqlite3.Connection, config: AgentConfig) -> Outbox:
        most = min(config.outbox.max_bytes, MEMORY_BYTES)
        gap_message = GapMessage(config.agent, config.uplink.module.CODEC)
        return _InMemory(memory, max_bytes=most, gap_message=gap_message, now_ms=self._clock.now_ms)


class _InMemory(Outbox):
    """An outbox that outlives its owner: with its connection, all that is in it would go."""

    def close(self) -> None:
        """Keep it; :class:`Storage` lets it go."""


async def disk_is_back(config: AgentConfig, clock: Clock) -> None:
    """Return when the outbox can be opened on disk, and written to; not at once, so that it may be asked again."""
    while True:
        await clock.sleep(_LOOK_S)
        try:  # a disk that is dying may take seconds: no bus and no alarm waits for it
            await asyncio.to_thread(_write_to_disk, config, clock)
        except Unavailable:
            continue
        return


def _write_to_disk(config: AgentConfig, clock: Clock) -> None:
    box = on_disk(config, clock)
    with contextlib.closing(box), box.transaction():
        box.set_note("opened", str(clock.now_ms()))


def on_disk(config: AgentConfig, clock: Clock) -> Outbox:
    """Open the outbox on its file; raise :class:`Unavailable`."""
    return Outbox.open(
        config.outbox.path,
        max_bytes=config.outbox.max_bytes,
        gap_message=GapMessage(config.agent, config.uplink.module.CODEC),
        now_ms=clock.now_ms,
    )
