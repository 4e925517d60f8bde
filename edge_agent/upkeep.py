"""What an agent looks after from time to time: how much the disk still gives, and what a restart must know."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import structlog

from telemetry.errors import Unavailable

if TYPE_CHECKING:
    from edge_agent.buffer import Buffer
    from telemetry.clock import Clock
    from telemetry.keeper import Keeper
    from telemetry.outbox import Outbox

_LOOK_S = 10.0
_WRITE_S = 600.0
log = structlog.get_logger()


async def keep_up(keeper: Keeper, buffer: Buffer, max_bytes: int, clock: Clock) -> None:
    """Look after the outbox for ever."""
    written, short = clock.monotonic(), False
    while True:
        limit = await keeper.look(lambda box: _limit(box, buffer, max_bytes))
        if (limit < max_bytes) != short:
            short = not short
            tell = log.warning if short else log.info
            tell(
                "outbox_has_less_room" if short else "outbox_has_its_room_again",
                bytes=limit,
                configured=max_bytes,
            )
        if clock.monotonic() - written >= _WRITE_S and (note := buffer.note()) is not None:
            written = clock.monotonic()
            with contextlib.suppress(
                Unavailable
            ):  # a full disk is told of elsewhere; the rate is measured again
                await keeper.transact(lambda box, note=note: box.set_note("buffer", note))  # type: ignore[misc]
        await clock.sleep(_LOOK_S)


def _limit(box: Outbox, buffer: Buffer, max_bytes: int) -> int:
    limit = buffer.limit(box.size)
    box.set_limit(limit, "outbox_full" if limit >= max_bytes else "disk_full")
    return limit
