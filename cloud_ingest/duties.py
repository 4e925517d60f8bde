"""Duties: what ingest does again and again beside its flow, each on its own; one that breaks is done the next time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cloud_ingest.patience import Patience

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from telemetry.clock import Clock
    from telemetry.faults import Faults


class Duties:
    """``committed`` is told of each work that was done, and whether there are new alarms."""

    def __init__(
        self, clock: Clock, on_ledger: Callable[..., Awaitable[Any]], committed: Callable[[bool], None], faults: Faults
    ) -> None:  # fmt: skip
        self._clock, self._on_ledger, self._committed, self._faults = clock, on_ledger, committed, faults

    async def every(
        self, seconds: float, name: str, work: Callable[[], bool], first: Callable[[], Awaitable[None]] | None = None
    ) -> None:  # fmt: skip
        """Do ``first`` and then ``work``, on the ledger's thread, for ever."""
        until_committed = Patience(self._clock, "cannot_commit", "commits_again", "tried again for ever")
        while True:
            await self._clock.sleep(seconds)
            if first is not None:
                with self._faults.spared(name):
                    await first()
            with self._faults.spared(name):
                news = await until_committed(self._on_ledger, work)
                self._committed(news)  # frames may wait though there are no new alarms
