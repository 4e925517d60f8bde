"""Health: alive, ready, and every part with its threshold."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import msgspec
from fastapi import APIRouter
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import Response

from cloud_ingest.api import models
from cloud_ingest.api.answers import answer, of
from cloud_ingest.api.errors import told
from telemetry.errors import YemaiError

if TYPE_CHECKING:
    from collections.abc import Callable

    from cloud_ingest.api.access import Access
    from cloud_ingest.api.parts import Parts

STORE_LAG_S = (60.0, 900.0)
"""Degraded and down from: age of the oldest committed frame that the store has not."""
DISK_FREE = (0.10, 0.02)
"""Degraded and down below: share of the ledger's disk that is free."""
QUEUE = (1_000.0, 20_000.0)
"""Degraded and down from: uploads received and not yet committed."""
_WORSE = ("ok", "degraded", "down")


class Part(msgspec.Struct, frozen=True):
    """One part: ``value`` is what the thresholds look at."""

    status: str
    told: str
    value: float | None = None
    degraded_from: float | None = None
    down_from: float | None = None


def routes(parts: Parts, access: Access) -> APIRouter:
    """Return the routes."""
    router = APIRouter(prefix="/api/health", tags=["health"])

    @router.get("/live", summary="The process runs", responses=of(models.Health), response_model=None)
    async def live() -> Response:
        return answer({"status": "live"})

    @router.get(
        "/ready",
        summary="The store answers",
        responses={**of(models.Health), **told(503)},
        response_model=None,
    )
    async def ready() -> Response:
        await run_in_threadpool(parts.store.check)
        return answer({"status": "ready"})

    @router.get(
        "/deep", summary="Broker, ledger, store, registry and lag, each with its thresholds", response_model=None,
        responses={**of(models.DeepHealth), 503: {"model": models.DeepHealth, "description": "Something is down"}},
        dependencies=[access.needs("read")],
    )  # fmt: skip
    async def deep() -> Response:
        found = await run_in_threadpool(examine, parts)
        worst = max((part.status for part in found.values()), key=_WORSE.index)
        return answer({"status": worst, "parts": found}, 503 if worst == "down" else 200)

    return router


def examine(parts: Parts) -> dict[str, Part]:
    """Ask every part how it is."""
    return {
        "broker": _sound(parts.source.problem, "connected"),
        "queue": _above(float(parts.source.waiting()), QUEUE, "uploads wait to be committed"),
        "ledger": _ledger(parts),
        "store": _sound(lambda: _store(parts), "answers"),
        "store_lag": _lag(parts),
        "registry": _sound(lambda: _registry(parts), "answers"),
    }


def _store(parts: Parts) -> str:
    parts.store.check()
    return parts.store_problem()


def _registry(parts: Parts) -> str:
    parts.keeper.database.revision()
    return parts.keeper.problem


def _sound(ask: Callable[[], str], told_: str) -> Part:
    try:
        problem = ask()
    except YemaiError as error:
        problem = str(error)
    return Part("down", problem) if problem else Part("ok", told_)


def _above(value: float, limits: tuple[float, float], told_: str) -> Part:
    status = "down" if value >= limits[1] else "degraded" if value >= limits[0] else "ok"
    return Part(status, told_, value, *limits)


def _ledger(parts: Parts) -> Part:
    try:
        disk = shutil.disk_usage(parts.ledger_path.parent)
    except OSError as error:
        return Part("down", f"{parts.ledger_path}: {error.strerror}")
    free = disk.free / disk.total
    status = "down" if free <= DISK_FREE[1] else "degraded" if free <= DISK_FREE[0] else "ok"
    return Part(status, "share of its disk that is free", round(free, 4), *DISK_FREE)


def _lag(parts: Parts) -> Part:
    try:
        oldest = parts.ledger.oldest_waiting()
    except YemaiError as error:
        return Part("down", str(error))
    behind_s = 0.0 if oldest is None else max(0.0, (parts.clock.now_ms() - oldest) / 1000)
    return _above(behind_s, STORE_LAG_S, "seconds that the store is behind")
