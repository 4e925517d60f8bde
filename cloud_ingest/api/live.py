"""New readings as they are committed: server-sent events, filtered, and bounded for each listener.

::

    event: reading   data: {"device": …, "class": …, "site": …, "time": …, "received": …, "values": {…}, "quality": {…}}
    event: lost      data: {"readings": 120}    the listener was too slow: the oldest were dropped, ask /history for them
    : still here     every 15 s without news
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import numpy as np
from fastapi import APIRouter, HTTPException, Query
from fastapi.responses import StreamingResponse

from cloud_ingest.api.errors import told
from cloud_ingest.api.parts import Parts, known
from telemetry.quality import ABSENT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping

    from cloud_ingest.registry.model import Registry
    from device_profiles.vocabulary import DeviceClass
    from rules.frame import Frame

MOST_LISTENERS = 100
MOST_WAITING = 20_000
"""Readings that wait for one listener."""
_SILENCE_S = 15.0
_TYPE = "text/event-stream"


class Wanted(msgspec.Struct, frozen=True):
    """What a listener wants to hear; an empty set is all."""

    classes: frozenset[str] = frozenset()
    sites: frozenset[str] = frozenset()
    devices: frozenset[str] = frozenset()
    metrics: frozenset[str] = frozenset()


class Live:
    """Hands committed frames on to listeners.  :meth:`publish` may be called from any thread."""

    def __init__(self, classes: Mapping[str, DeviceClass], loop: asyncio.AbstractEventLoop) -> None:
        self._classes, self._loop = classes, loop
        self._listeners: set[Listener] = set()

    def publish(self, frame: Frame, received_ms: int) -> None:
        """Tell all listeners of a frame."""
        if self._listeners:
            self._loop.call_soon_threadsafe(self._hand_out, frame, received_ms)

    @contextmanager
    def listening(self, wanted: Wanted, registry: Callable[[], Registry]) -> Iterator[Listener]:
        """Hear what is ``wanted`` while the block lasts."""
        listener = Listener(wanted, registry, self._classes)
        self._listeners.add(listener)
        try:
            yield listener
        finally:
            self._listeners.discard(listener)

    @property
    def is_full(self) -> bool:
        """Whether there is no room for another listener."""
        return len(self._listeners) >= MOST_LISTENERS

    def close(self) -> None:
        """Tell all listeners that it is over."""
        for listener in self._listeners:
            listener.end()

    def _hand_out(self, frame: Frame, received_ms: int) -> None:
        for listener in self._listeners:
            listener.put(frame, received_ms)


class Listener:
    """One listener's bounded queue of frames."""

    def __init__(
        self, wanted: Wanted, registry: Callable[[], Registry], classes: Mapping[str, DeviceClass]
    ) -> None:
        self._wanted, self._registry = wanted, registry
        self._metrics = {name: list(device_class.metrics) for name, device_class in classes.items()}
        self._queue: deque[tuple[Frame, int]] = deque()
        self._waiting = self._lost = 0
        self._news, self._over = asyncio.Event(), False

    def put(self, frame: Frame, received_ms: int) -> None:
        """Queue a frame; the oldest make room for it."""
        if self._wanted.classes and frame.device_class not in self._wanted.classes:
            return
        if self._wanted.devices and self._wanted.devices.isdisjoint(frame.devices):
            return
        self._queue.append((frame, received_ms))
        self._waiting += len(frame)
        while self._waiting > MOST_WAITING and len(self._queue) > 1:
            old, _ = self._queue.popleft()
            self._waiting -= len(old)
            self._lost += sum(1 for _ in self._rows(old, 0))
        self._news.set()

    def end(self) -> None:
        """Say that nothing comes any more."""
        self._over = True
        self._news.set()

    async def events(self) -> AsyncIterator[bytes]:
        """Return events for ever."""
        yield b": here\n\n"
        while not self._over:
            self._news.clear()
            while self._queue:
                if self._lost:
                    lost, self._lost = self._lost, 0
                    yield _event("lost", {"readings": lost})
                frame, received_ms = self._queue.popleft()
                self._waiting -= len(frame)
                if text := b"".join(_event("reading", row) for row in self._rows(frame, received_ms)):
                    yield text
            try:
                async with asyncio.timeout(_SILENCE_S):
                    await self._news.wait()
            except TimeoutError:
                yield b": still here\n\n"

    def _rows(self, frame: Frame, received_ms: int) -> Iterator[dict[str, Any]]:
        metrics, wanted, devices = self._metrics[frame.device_class], self._wanted, self._registry().devices
        columns = [n for n, name in enumerate(metrics) if not wanted.metrics or name in wanted.metrics]
        values, quality = frame.values[:, columns], frame.quality[:, columns]
        for row in np.flatnonzero((quality != ABSENT).any(axis=1)).tolist():
            name = frame.devices[frame.index[row]]
            site = devices[name].site if name in devices else ""
            if (wanted.devices and name not in wanted.devices) or (wanted.sites and site not in wanted.sites):
                continue
            grades, told_ = quality[row].tolist(), values[row].tolist()
            spoken = [n for n, grade in enumerate(grades) if grade != ABSENT]
            names = [metrics[columns[n]] for n in spoken]
            yield {
                "device": name, "class": frame.device_class, "site": site, "time": int(frame.time[row]),
                "received": received_ms,
                "values": {key: told_[n] if np.isfinite(told_[n]) else None for key, n in zip(names, spoken, strict=True)},
                "quality": {key: grades[n] for key, n in zip(names, spoken, strict=True) if grades[n]},
            }  # fmt: skip


def routes(parts: Parts) -> APIRouter:
    """Return the route."""
    router = APIRouter(prefix="/api/data", tags=["readings"])

    @router.get(
        "/stream", summary="New readings as server-sent events", response_class=StreamingResponse,
        description=__doc__, responses={200: {"content": {_TYPE: {"schema": {"type": "string"}}}}, **told(503)},
    )  # fmt: skip
    async def get_stream(
        classes: Annotated[list[str], Query(alias="class", max_length=100)] = [],  # noqa: B006 - FastAPI copies it
        site: Annotated[list[str], Query(max_length=1000)] = [],  # noqa: B006
        device: Annotated[list[str], Query(max_length=1000)] = [],  # noqa: B006
        metric: Annotated[list[str], Query(max_length=1000)] = [],  # noqa: B006
    ) -> StreamingResponse:
        for name in classes:
            known("class", name, parts.classes)
        for name in device:
            parts.device(name)
        for name in site:
            known("site", name, parts.registry.sites)
        for name in metric:
            known("metric", name, {key for told_ in parts.classes.values() for key in told_.metrics})
        if parts.live.is_full:
            raise HTTPException(503, f"{MOST_LISTENERS} listen already; close one", {"Retry-After": "5"})
        wanted = Wanted(frozenset(classes), frozenset(site), frozenset(device), frozenset(metric))

        async def events() -> AsyncIterator[bytes]:
            with parts.live.listening(wanted, lambda: parts.registry) as listener:
                async for text in listener.events():
                    yield text

        return StreamingResponse(
            events(), media_type=_TYPE, headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
        )

    return router


def _event(kind: str, data: object) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), msgspec.json.encode(data))
