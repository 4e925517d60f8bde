"""The alarm feed: news until the consumer has it, standing alarms again and again."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec

from cloud_ingest.patience import Patience
from telemetry.codecs import json
from telemetry.transitions import AlarmMessage, heartbeat
from telemetry.window import Window

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import Any

    from cloud_ingest.ledger import Ledger
    from cloud_ingest.pipeline import Pipeline
    from cloud_ingest.source import Source
    from telemetry.clock import Clock

_RESEND_S = 3.0
_LINK_S = 0.3  # until a link that was away is tried again


class AlarmFeed:
    """Sends what the ledger's outbox holds, frees what the consumer's database has committed."""

    def __init__(
        self,
        ledger: Ledger,
        pipeline: Pipeline,
        source: Source,
        on_thread: Callable[..., Awaitable[Any]],
        clock: Clock,
        producer: str,
    ) -> None:
        self._ledger, self._pipeline, self._source = ledger, pipeline, source
        self._on_thread, self._clock, self._producer = on_thread, clock, producer
        self._until_known = Patience(
            clock, "alarm_feed_waits", "alarm_feed_goes_on", "tried again for ever; alarms wait in the ledger"
        )
        self._window = Window(64, _RESEND_S)
        self._changed = asyncio.Event()

    def changed(self) -> None:
        """Say that there is news in the outbox."""
        self._changed.set()

    async def send(self) -> None:
        """Send news, and again what is not acknowledged, for ever."""
        while True:
            self._changed.clear()
            messages = await self._until_known(
                self._on_thread, self._window.due, self._ledger.outbox, self._clock.monotonic()
            )
            longest_s = _RESEND_S
            for message in messages:
                told = msgspec.json.decode(message.payload, type=AlarmMessage)
                if not self._source.announce(told.transition.alarm, message.payload):
                    self._window.link_lost()
                    longest_s = _LINK_S
                    break
            wait_s = max(0.2, min(longest_s, self._window.next_due_s(self._clock.monotonic())))
            try:
                async with asyncio.timeout(wait_s):
                    await self._changed.wait()
            except TimeoutError:
                continue

    async def receive(self) -> None:
        """Take the consumer's receipts, for ever."""
        while True:
            acks = await self._source.alarm_acks()

            def free(acks: list[Any] = acks) -> None:
                with self._ledger.transaction():
                    for ack in acks:
                        self._ledger.outbox.acknowledge(ack.boot, ack.ranges)

            await self._until_known(self._on_thread, free)
            for ack in acks:
                if ack.boot == self._ledger.outbox.boot:
                    self._window.acknowledged(ack.ranges)
            self._changed.set()

    async def assert_again(self, every_s: float) -> None:
        """Say which alarms stand, and that one would hear of them, for ever."""
        while True:
            await self._clock.sleep(every_s)
            standing: list[AlarmMessage] = []
            with self._pipeline.faults.spared("standing"):
                standing = await self._on_thread(self._pipeline.standing)
            beat = heartbeat(self._producer, self._ledger.outbox.boot, self._clock.now_ms())
            for message in (*standing, beat):
                self._source.announce(message.transition.alarm, json.encode(message))
