"""The store writer: brings committed frames to the store, in their order, for as long as it takes."""

from __future__ import annotations

import asyncio
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import structlog

from cloud_ingest.isolation import is_the_machines
from cloud_ingest.ledger import Quarantined
from cloud_ingest.patience import Patience
from rules.frame import Frame
from telemetry.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from cloud_ingest.framelog import Waiting
    from cloud_ingest.ledger import Ledger
    from cloud_ingest.metrics import Metrics
    from cloud_ingest.registry import Registry
    from cloud_ingest.store import Store, Written
    from telemetry.clock import Clock

_EVERY_S = 0.5
_MOST_BYTES = 4 << 20
_TOGETHER_MS = 2000  # what was committed within this is written as received at once
_HOUR_MS = 3_600_000
log = structlog.get_logger()


class Part(NamedTuple):
    """What is written at once."""

    upto: int
    received_ms: int
    frames: list[Frame]
    uploads: list[Any]
    counts: dict[tuple[str, int], int]
    more: bool  # there is as much again, or nearly so
    replaces: dict[str, int] | None  # device → samples, None: not yet asked, or nothing


class StoreWriter:
    """Reads from the ledger on its thread, writes to the store on another."""

    def __init__(
        self, ledger: Ledger, store: Store, registry: Callable[[], Registry], clock: Clock, metrics: Metrics
    ) -> None:
        self._ledger, self._store, self._registry = ledger, store, registry
        self._clock, self._metrics = clock, metrics
        self._news = asyncio.Event()
        self._until_written = Patience(
            clock,
            "store_away",
            "store_back",
            "tried again for ever; readings wait in the ledger, alarms go on",
        )
        self._until_noted = Patience(
            clock, "ledger_away", "ledger_back", "tried again for ever; readings wait in the ledger"
        )

    @property
    def problem(self) -> str:
        """What keeps anything from the store, ``""`` when nothing does."""
        return self._until_written.problem or self._until_noted.problem

    def changed(self) -> None:
        """Say that there are new frames."""
        self._news.set()

    async def run(
        self, on_ledger: Callable[..., Awaitable[Any]], on_store: Callable[..., Awaitable[Any]]
    ) -> None:
        """Write for ever; at most every half second unless much waits, so that the store gets few and large writes."""
        while True:
            self._news.clear()
            part: Part | None = await self._until_noted(on_ledger, self._sound, self.next)
            if part is None:
                await self._news.wait()
                await self._clock.sleep(_EVERY_S)
                continue
            if part.replaces is None:
                replaces = await self._until_written(on_store, self._replaces, part)
                if replaces is not None:
                    part = await self._until_noted(on_ledger, self._sound, self.begin, part, replaces)
            written: Written = await self._until_written(on_store, self._write, part)
            await self._until_noted(on_ledger, self._sound, self.done, part, written)
            if not part.more:
                await self._clock.sleep(_EVERY_S)

    def flush(self) -> None:
        """Write everything that waits, here and now."""
        while (part := self.next()) is not None:
            if part.replaces is None:
                replaces = self._replaces(part)
                part = part if replaces is None else self.begin(part, replaces)
            self.done(part, self._write(part))

    def next(self) -> Part | None:
        """Return what is to be written next: what a crash interrupted, exactly as it was to be."""
        upto, replaces = self._ledger.begun_write() or (None, None)
        waiting = self._ledger.frames.waiting(_MOST_BYTES, upto)
        together = [item for item in waiting if upto or item.at_ms - waiting[0].at_ms <= _TOGETHER_MS]
        if not together:
            return None
        by_class: dict[str, list[Waiting]] = {}
        counts: dict[tuple[str, int], int] = {}
        for item in together:
            by_class.setdefault(item.frame.device_class, []).append(item)
            for key, samples in item.counts.items():
                counts[key] = counts.get(key, 0) + samples
        return Part(
            together[-1].id,
            together[-1].at_ms,
            [Frame.joined([item.frame for item in items]) for items in by_class.values()],
            [np.concatenate([item.uploads for item in items]) for items in by_class.values()],
            counts,
            more=len(waiting) > len(together) or self._ledger.frames.waiting_bytes > _MOST_BYTES,
            replaces=replaces,
        )

    def begin(self, part: Part, replaces: dict[str, int]) -> Part:
        """Keep what a write will replace before it does."""
        with self._ledger.transaction():
            self._ledger.begin_write(part.upto, replaces)
        return part._replace(replaces=replaces)

    def done(self, part: Part, written: Written) -> None:
        """Note in the ledger that the store has it."""
        now = self._clock.now_ms()
        counts = {(*key, "stored"): samples for key, samples in part.counts.items()}
        devices = self._registry().devices
        refused = []
        for item in written.rejected:
            agent = devices[item.device].agent if item.device in devices else "?"
            refused.append(
                Quarantined(
                    agent, "store", "refused by the store", item.reason, item.samples, item.payload, now
                )
            )
            _add(counts, (agent, now - now % _HOUR_MS, "stored"), -item.samples)
            _add(counts, (agent, now - now % _HOUR_MS, "quarantined:refused by the store"), item.samples)
        for device, samples in (part.replaces or {}).items():
            agent = devices[device].agent if device in devices else "?"
            _add(counts, (agent, now - now % _HOUR_MS, "overwritten"), samples)
        with self._ledger.transaction():
            self._ledger.frames.stored(part.upto)
            self._ledger.end_write()
            self._ledger.quarantine(refused, now)
            self._ledger.account(counts)
        self._metrics.store_samples.inc(written.samples)
        self._metrics.waiting.set(self._ledger.frames.waiting_bytes)

    # -- inside ----------------------------------------------------------------------------------------

    def _replaces(self, part: Part) -> dict[str, int] | None:
        with self._counted():
            return self._store.replaces(part.frames, part.uploads)

    def _write(self, part: Part) -> Written:
        began = time.perf_counter()
        with self._counted():
            written = self._store.write(part.frames, part.uploads, part.received_ms)
        self._metrics.store_write.observe(time.perf_counter() - began)
        return written

    @contextmanager
    def _counted(self) -> Iterator[None]:
        try:
            with self._mapped():
                yield
        except Unavailable:
            self._metrics.store_errors.inc()
            raise

    def _sound(self, work: Callable[..., Any], *arguments: object) -> Any:
        """Do what is done at the ledger: a fault of ours there ends neither ingest nor its alarms."""
        with self._mapped():
            return work(*arguments)

    @contextmanager
    def _mapped(self) -> Iterator[None]:
        """Tell a fault of this program as what is tried again."""
        try:
            yield
        except Unavailable:
            raise
        except Exception as error:
            if is_the_machines(error):
                raise Unavailable(f"{type(error).__name__}: {error}") from error
            problem = f"a fault of this program: {error!r}"
            if problem != self.problem:
                log.exception(
                    "store_fault", way_out="report this and update; readings wait in the ledger, alarms go on"
                )
            raise Unavailable(problem) from error


def _add(counts: dict[tuple[str, int, str], int], key: tuple[str, int, str], samples: int) -> None:
    counts[key] = counts.get(key, 0) + samples
