"""Patience: what is unavailable is tried again for as long as it takes, and said once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import structlog

from telemetry.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from telemetry.clock import Clock

_PAUSE_S = (0.5, 5.0)
log = structlog.get_logger()


class Patience:
    """Waits for one resource.  ``trouble`` and ``relief`` are the names of the events that are logged."""

    def __init__(self, clock: Clock, trouble: str, relief: str, way_out: str) -> None:
        self._clock, self._trouble, self._relief, self._way_out = clock, trouble, relief, way_out
        self.problem = ""
        """What is in the way, ``""`` when nothing is."""

    async def __call__(self, work: Callable[..., Awaitable[Any]], *arguments: object) -> Any:
        """Return what ``work(*arguments)`` returns, however often it has to be tried."""
        pause = _PAUSE_S[0]
        while True:
            try:
                done = await work(*arguments)
            except Unavailable as error:
                self._say(str(error))
                await self._clock.sleep(pause)
                pause = min(2 * pause, _PAUSE_S[1])
            else:
                if self.problem:
                    log.info(self._relief)
                    self.problem = ""
                return done

    def _say(self, problem: str) -> None:
        if problem != self.problem:
            log.error(self._trouble, problem=problem, way_out=self._way_out)
        self.problem = problem
