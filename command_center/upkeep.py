"""The parts of a running centre: one that breaks is begun again by itself, and an alarm of our own says so (``wellbeing.py``)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from telemetry.clock import Clock
    from telemetry.faults import Faults

AGAIN_S = 5.0


async def keep(part: str, run: Callable[[], Awaitable[None]], faults: Faults, clock: Clock) -> None:
    """Let a part run, and again when it breaks: the others go on meanwhile."""
    while True:
        try:
            return await run()
        except Exception as error:  # noqa: BLE001 - whatever it is, the others go on
            faults.note(part, error)
        await clock.sleep(AGAIN_S)
