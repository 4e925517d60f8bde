"""Where an agent keeps what it has read: on its disk, and in memory while the disk takes nothing.

A disk that is full or read-only is no reason not to read: the agent says so, keeps what fits into memory, sends it as
ever, and goes back to the disk when there is one again and the cloud has what was kept.
"""

from __future__ import annotations

import contextlib
import sqlite3
from typing import TYPE_CHECKING

import structlog

from edge_agent.gather import GapMessage
from telemetry.errors import Unavailable
from telemetry.outbox import Outbox

if TYPE_CHECKING:
    from edge_agent.config import AgentConfig
    from telemetry.clock import Clock

MEMORY_BYTES = 16 * 1024 * 1024
_LOOK_S = 60.0
log = structlog.get_logger()


def open_outbox(config: AgentConfig, clock: Clock) -> tuple[Outbox, str]:
    """Return the outbox, and why it is in memory, empty when it is on disk; a corrupt file is moved aside."""
    gap_message = GapMessage(config.agent, config.uplink.module.CODEC)
    try:
        outbox = on_disk(config, clock)
    except Unavailable as error:
        log.error("outbox_is_in_memory", problem=str(error), way_out="a power cut loses it: mend the disk")
        memory = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        most = min(config.outbox.max_bytes, MEMORY_BYTES)
        return Outbox(memory, max_bytes=most, gap_message=gap_message, now_ms=clock.now_ms), str(error)
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


async def disk_is_back(config: AgentConfig, clock: Clock) -> None:
    """Return when the outbox can be opened on disk, and written to; not at once, so that it may be asked again."""
    while True:
        await clock.sleep(_LOOK_S)
        try:
            box = on_disk(config, clock)
            with contextlib.closing(box), box.transaction():
                box.set_note("opened", str(clock.now_ms()))
        except Unavailable:
            continue
        return


def on_disk(config: AgentConfig, clock: Clock) -> Outbox:
    """Open the outbox on its file; raise :class:`Unavailable`."""
    return Outbox.open(
        config.outbox.path,
        max_bytes=config.outbox.max_bytes,
        gap_message=GapMessage(config.agent, config.uplink.module.CODEC),
        now_ms=clock.now_ms,
    )
