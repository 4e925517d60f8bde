"""The data API: what the district's devices are and say, for the city's other systems."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from fastapi import FastAPI, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse, Response

from cloud_ingest.metrics import CONTENT_TYPE
from cloud_ingest.store import Aggregate
from telemetry.errors import Refused, Unavailable, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cloud_ingest.metrics import Metrics
    from cloud_ingest.pipeline import Pipeline
    from cloud_ingest.reader import LedgerReader
    from cloud_ingest.registry import Device, Registry
    from cloud_ingest.source import Source
    from cloud_ingest.store import Store
    from device_profiles.vocabulary import DeviceClass
    from telemetry.clock import Clock

_MOST_POINTS = 20_000
_HOUR_MS = 3_600_000


def make_api(
    *, registry: Registry, classes: Mapping[str, DeviceClass], store: Store, ledger: LedgerReader, pipeline: Pipeline,
    source: Source, clock: Clock, metrics: Metrics,
) -> FastAPI:  # fmt: skip
    """Return the application."""
    api = FastAPI(title="Yemai data API · 叶脉数据接口", version="1", description=__doc__ or "")

    @api.exception_handler(Refused)
    async def refused(_: Request, error: Exception) -> Response:
        return JSONResponse({"error": str(error)}, status_code=404)

    @api.exception_handler(Unavailable)
    async def unavailable(_: Request, error: Exception) -> Response:
        return JSONResponse({"error": str(error)}, status_code=503, headers={"Retry-After": "5"})

    def device_of(name: str) -> Device:
        device = registry.devices.get(name)
        if device is None:
            raise Refused(f"no device '{name}'; {did_you_mean(name, registry.devices)}")
        return device

    def span(from_ms: int | None, to_ms: int | None) -> tuple[int, int]:
        end = clock.now_ms() if to_ms is None else to_ms
        return (end - _HOUR_MS if from_ms is None else from_ms), end

    @api.get("/api/data/classes", summary="Device classes with their metrics: the data dictionary")
    async def get_classes() -> Response:
        return _json(dict(classes))

    @api.get("/api/data/devices", summary="Registered devices")
    async def get_devices(
        device_class: Annotated[str | None, Query(alias="class")] = None,
        site: str | None = None,
        agent: str | None = None,
    ) -> Response:
        wanted = {"device_class": device_class, "site": site, "agent": agent}
        return _json(
            [
                d
                for d in registry.devices.values()
                if all(v is None or getattr(d, k) == v for k, v in wanted.items())
            ]
        )

    @api.get("/api/data/sites", summary="Sites, WGS-84")
    async def get_sites() -> Response:
        return _json(list(registry.sites.values()))

    @api.get("/api/data/agents", summary="Edge agents and whether they are connected")
    async def get_agents() -> Response:
        return _json(
            [
                {
                    "id": a.agent,
                    "online": a.online,
                    "since": a.since,
                    "boot": a.boot,
                    "version": a.version,
                    "config": a.config,
                    "metrics": a.metrics,
                }
                for a in source.agents()
            ]
        )

    @api.get("/api/data/latest", summary="The newest reading of each device")
    async def get_latest(device: str | None = None, since_ms: int = 0) -> Response:
        if device is not None:
            row = pipeline.latest.get(device_of(device).id)
            rows = [] if row is None else [row]
        else:
            rows = list(pipeline.latest.values())
        return _json([row for row in rows if row["received"] > since_ms])

    @api.get("/api/data/history", summary="One metric of one device over time")
    async def get_history(
        device: str,
        metric: str,
        from_ms: int | None = None,
        to_ms: int | None = None,
        step_ms: Annotated[int, Query(ge=0)] = 0,
        aggregate: Aggregate = "mean",
    ) -> Response:
        known = device_of(device)
        metrics = classes[known.device_class].metrics
        if metric not in metrics:
            raise Refused(f"'{device}' has no metric '{metric}'; {did_you_mean(metric, metrics)}")
        begin, end = span(from_ms, to_ms)
        if step_ms and (end - begin) // step_ms > _MOST_POINTS:
            raise Refused(
                f"{(end - begin) // step_ms} points; take a longer step_ms, at most {_MOST_POINTS} points are given"
            )
        points = await run_in_threadpool(
            store.history, known.device_class, device, metric, (begin, end), step_ms, aggregate
        )
        return _json(
            {
                "device": device,
                "metric": metric,
                "unit": metrics[metric].unit,
                "from_ms": begin,
                "to_ms": end,
                "truncated": len(points) > _MOST_POINTS,
                "points": points[-_MOST_POINTS:],
            }
        )

    @api.get("/api/data/gaps", summary="When a device said nothing good")
    async def get_gaps(
        device: str, from_ms: int | None = None, to_ms: int | None = None, longer_than_s: float = 60.0
    ) -> Response:
        known = device_of(device)
        found = await run_in_threadpool(
            store.gaps, known.device_class, device, span(from_ms, to_ms), int(longer_than_s * 1000)
        )
        return _json(
            [{"from_ms": begin, "to_ms": end, "seconds": (end - begin) / 1000} for begin, end in found]
        )

    @api.get("/api/data/shadow", summary="What rule packs on trial have found; it pages no one")
    async def get_shadow() -> Response:
        standing, told = pipeline.shadows()
        return _json({"standing": standing, "told": told[::-1]})

    @api.get(
        "/api/data/quarantine",
        summary="What could not be admitted, newest first, with its bytes and the reason",
    )
    async def get_quarantine(limit: Annotated[int, Query(ge=1, le=1000)] = 100) -> Response:
        return _json(await run_in_threadpool(ledger.quarantine, limit))

    @api.get("/api/data/accounting", summary="What became of every sample")
    async def get_accounting() -> Response:
        agents = await run_in_threadpool(ledger.accounts)
        waiting = await run_in_threadpool(ledger.waiting)  # first: what moves on meanwhile is not missed
        by_class = await run_in_threadpool(store.count)
        return _json(
            {
                "agents": agents,
                "store": {"samples": sum(by_class.values()), "waiting": waiting, "by_class": by_class},
            }
        )

    @api.get("/api/health/live", summary="The process runs")
    async def live() -> dict[str, str]:
        return {"status": "live"}

    @api.get("/api/health/ready", summary="The store answers")
    async def ready() -> dict[str, Any]:
        await run_in_threadpool(store.check)
        return {"status": "ready"}

    @api.get("/metrics", summary="Figures of every stage, for Prometheus")
    async def get_metrics() -> Response:
        return Response(await run_in_threadpool(metrics.text), media_type=CONTENT_TYPE)

    return api


def _json(data: object) -> Response:
    return Response(msgspec.json.encode(data), media_type="application/json")
