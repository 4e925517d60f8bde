"""The flow: whose turn it is between what arrives and what waits, batch after batch, for ever."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from cloud_ingest.patience import Patience

if TYPE_CHECKING:
    from collections.abc import Callable

    from cloud_ingest.metrics import Metrics
    from cloud_ingest.pipeline import Pipeline
    from cloud_ingest.source import Delivery, Source
    from telemetry.clock import Clock

MOST_MESSAGES = 1000
LINGER_S = 0.05
_BETWEEN_S = 0.6 * LINGER_S
"""What has waited may take so long: it ends before the next live uploads would have begun, even when it takes longer than foreseen."""
_ROOM_S = 1.0
_PASSED_OVER_MOST = 8
"""So many turns in a row may go to live uploads alone, when those come faster than they are committed."""


class Flow:
    """Takes from the source, and acknowledges what the pipeline has committed."""

    def __init__(self, pipeline: Pipeline, source: Source, clock: Clock, metrics: Metrics) -> None:
        self._pipeline, self._source, self._clock, self._metrics = pipeline, source, clock, metrics

    async def run(self, on_thread: Callable[..., Any], committed: Callable[[bool], None]) -> None:
        """Process micro-batches for ever; ``committed`` is told of each, and whether there are new alarms."""
        until_committed = Patience(
            self._clock, "cannot_commit", "commits_again", "tried again for ever; agents keep their readings"
        )
        source, pipeline = self._source, self._pipeline
        passed_over, gathering_since = 0, self._clock.monotonic()
        while True:
            if pipeline.can_go_on:
                arrived = source.at_hand(MOST_MESSAGES)
            else:
                gathered_s = self._clock.monotonic() - gathering_since  # while something else had its turn
                arrived = await self._take(max(0.0, LINGER_S - gathered_s))
            if arrived:
                # What comes during the commit need not wait longer for it.
                gathering_since = self._clock.monotonic()
                acks, news = await until_committed(on_thread, pipeline.process, arrived)
                source.done(arrived)
                source.acknowledge(acks)
                self._metrics.ack_latency.observe((self._clock.now_ms() - arrived[0].received_ms) / 1000)
                self._metrics.queue.set(source.waiting())
                committed(news)
            passed_over += source.waiting() >= MOST_MESSAGES
            if pipeline.can_go_on and (source.waiting() < MOST_MESSAGES or passed_over >= _PASSED_OVER_MOST):
                passed_over = 0
                acks, news = await until_committed(on_thread, pipeline.process_held, _BETWEEN_S)
                source.acknowledge(acks)
                committed(news)

    async def _take(self, linger_s: float) -> list[Delivery]:
        """Wait for uploads, but not for ever while others wait for room: nobody says when there is some."""
        try:
            async with asyncio.timeout(_ROOM_S if self._pipeline.waits else None):
                return await self._source.take(MOST_MESSAGES, linger_s)
        except TimeoutError:
            return []
