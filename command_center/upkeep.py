"""The parts of a running centre: one that breaks is begun again by itself, and an alarm of our own says so (``wellbeing.py``)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from telemetry.clock import Clock

AGAIN_S = 5.0
LATELY_S = 600.0
log = structlog.get_logger()


class Upkeep:
    """Keeps parts at work."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._broken: dict[str, float] = {}  # when last, on the monotonic clock

    async def keep(self, part: str, run: Callable[[], Awaitable[None]]) -> None:
        """Let a part run, and again when it breaks: the others go on meanwhile."""
        while True:
            try:
                await run()
            except Exception:
                log.exception("part_broken", part=part, again_in_s=AGAIN_S)
                self.note(part)
            else:
                return
            await self._clock.sleep(AGAIN_S)

    def note(self, part: str) -> None:
        """A part has just broken."""
        self._broken[part] = self._clock.monotonic()

    def broken(self) -> int:
        """Return how many parts broke lately."""
        since = self._clock.monotonic() - LATELY_S
        self._broken = {part: at for part, at in self._broken.items() if at > since}
        return len(self._broken)
