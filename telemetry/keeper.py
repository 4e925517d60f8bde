"""Group commit: many callers put into one outbox, one fsync serves them all."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Self, TypeVar

from telemetry.errors import Unavailable
from telemetry.outbox import Counters, Outbox, Priority, Queued

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import TracebackType

    from telemetry.readings import Gap
    from telemetry.window import Window

T = TypeVar("T")


class Keeper:
    """Serves an :class:`Outbox` to asyncio tasks from one thread of its own.

    ``async with Keeper(outbox) as keeper`` owns the outbox and closes it.  :meth:`put` returns when
    the message is on disk.  Puts that arrive while a commit runs share the next one.
    """

    def __init__(self, outbox: Outbox) -> None:
        self.boot = outbox.boot
        self.changed = asyncio.Event()
        """Set when something was put or freed; the sender clears it."""
        self._outbox = outbox
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="outbox")
        self._batch: list[tuple[Callable[[int], bytes], int, Priority]] = []
        self._committed: asyncio.Future[list[int]] | None = None
        self._turn = asyncio.Lock()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        async with self._turn:
            await self._run(self._outbox.close)
            self._thread.shutdown()

    @property
    def size(self) -> int:
        """Bytes that wait, as of the last commit or the one under way."""
        return self._outbox.size

    async def put(
        self, encode: Callable[[int], bytes], *, samples: int, priority: Priority = Priority.LIVE
    ) -> int:
        """Keep a message; return its seq once it is durable.  Raises :class:`Unavailable`.

        Cancelling the caller does not undo a put: the message may or may not be kept.
        """
        place = len(self._batch)
        self._batch.append((encode, samples, priority))
        if self._committed is None:
            self._committed = asyncio.ensure_future(self._commit())
        return (await asyncio.shield(self._committed))[place]

    async def transact(self, work: Callable[[Outbox], T]) -> T:
        """Do ``work`` on the outbox in a transaction of its own; raises :class:`Unavailable`."""

        def write() -> T:
            with self._outbox.transaction():
                return work(self._outbox)

        async with self._turn:
            done = await self._run(write)
        self.changed.set()
        return done

    async def look(self, at: Callable[[Outbox], T]) -> T:
        """Return what ``at`` reads from the outbox; it must change nothing."""
        async with self._turn:
            return await self._run(lambda: at(self._outbox))

    async def lose(self, gap: Gap) -> None:
        """Record samples that could not be kept."""
        await self.transact(lambda box: box.lose(gap))

    async def acknowledge(self, boot: str, ranges: Iterable[tuple[int, int]]) -> int:
        """Free what is committed at the other end; return the number of messages."""
        return await self.transact(lambda box: box.acknowledge(boot, ranges))

    async def due(self, window: Window, now: float) -> list[Queued]:
        """Return what ``window`` says is to be sent now, noted on disk as sent."""
        async with self._turn:
            return await self._run(lambda: window.due(self._outbox, now))

    async def counters(self) -> Counters:
        """Return what became of every sample so far."""
        return await self.look(lambda box: box.counters())

    async def _commit(self) -> list[int]:
        async with self._turn:
            batch, self._batch, self._committed = self._batch, [], None

            def write() -> list[int]:
                with self._outbox.transaction():
                    return [self._outbox.put(encode, samples=n, priority=p) for encode, n, p in batch]

            seqs = await self._run(write)
        self.changed.set()
        return seqs

    async def _run(self, call: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, call)
        except RuntimeError as error:  # the executor was shut down under a late caller
            raise Unavailable(f"outbox is closed: {error}") from error
