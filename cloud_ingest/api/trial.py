"""What rule packs on trial have found."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import APIRouter
from fastapi.responses import Response

from cloud_ingest.api import models
from cloud_ingest.api.answers import answer, of

if TYPE_CHECKING:
    from cloud_ingest.api.parts import Parts


def routes(parts: Parts) -> APIRouter:
    """Return the route."""
    router = APIRouter(prefix="/api/data", tags=["rules"])

    @router.get(
        "/shadow", summary="What rule packs on trial have found; it pages no one", responses=of(models.Trial),
        response_model=None,
    )  # fmt: skip
    async def get_shadow() -> Response:
        standing, told = parts.shadows()
        return answer({"standing": standing, "told": told[::-1]})

    return router
