"""Puts the resources together: who may ask what, and every error in one shape."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import APIRouter, Depends
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import Response
from fastapi_offline import FastAPIOffline

from cloud_ingest.api import accounts, catalogue, health, live, readings, registry, trial
from cloud_ingest.api.access import Access
from cloud_ingest.api.errors import COMMON, handle_errors, no_unknown_query
from cloud_ingest.metrics import CONTENT_TYPE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fastapi import FastAPI

    from cloud_ingest.api.parts import Parts
    from cloud_ingest.config import KeyConfig

_ABOUT = """What the district's devices are and say, for the city's other systems · 供其他城市系统使用。

Times are UTC milliseconds, places WGS-84. Send a key as `Authorization: Bearer KEY` where keys are set up."""


def make_api(parts: Parts, keys: Sequence[KeyConfig]) -> FastAPI:
    """Return the application."""
    access = Access(keys, parts.clock)
    api = FastAPIOffline(  # a city's network reaches no CDN
        "/docs", None, title="Yemai data API · 叶脉数据接口", version="1", description=_ABOUT, static_url="/docs-files",
        dependencies=[Depends(no_unknown_query)], responses=COMMON, swagger_ui_parameters={"validatorUrl": None},
    )  # fmt: skip
    handle_errors(api)
    readers = APIRouter(dependencies=[access.needs("read")])
    for router in (
        catalogue.routes(parts), readings.routes(parts), live.routes(parts), accounts.routes(parts), registry.routes(parts), trial.routes(parts)
    ):  # fmt: skip
        readers.include_router(router)

    @readers.get(
        "/metrics", summary="Figures of every stage, for Prometheus", response_class=Response, tags=["health"],
        responses={200: {"content": {"text/plain": {}}, "description": "Prometheus text format"}},
    )  # fmt: skip
    async def get_metrics() -> Response:
        return Response(await run_in_threadpool(parts.metrics.text), media_type=CONTENT_TYPE)

    api.include_router(readers)
    api.include_router(accounts.actions(parts, access))
    api.include_router(registry.actions(parts, access))
    api.include_router(health.routes(parts, access))
    return api
