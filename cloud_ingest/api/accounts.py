"""What became of every sample: accounts, quarantine, and the way back out of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, HTTPException, Query
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import Response
from pydantic import BaseModel, Field

from cloud_ingest.api import models
from cloud_ingest.api.answers import answer, of
from cloud_ingest.api.readings import Ms
from cloud_ingest.requeue import Wanted, requeue
from telemetry.errors import Refused

if TYPE_CHECKING:
    from cloud_ingest.api.access import Access
    from cloud_ingest.api.parts import Parts

_DAY_MS = 86_400_000
_MOST_ID = 2**63 - 1
Name = Annotated[str | None, Query(max_length=200)]


class Requeue(BaseModel):
    """Which entries to admit again; what is not given does not matter, and nothing given is all."""

    model_config = {"extra": "forbid"}
    agent: str | None = None
    reason: str | None = None
    device: str | None = None
    ids: list[Annotated[int, Field(ge=1, le=_MOST_ID)]] = Field(default=[], max_length=1000)


def routes(parts: Parts) -> APIRouter:
    """Return the routes that read."""
    router = APIRouter(prefix="/api/data", tags=["accounts"])

    @router.get(
        "/quarantine", summary="What could not be admitted, newest first, with its bytes and the reason",
        responses=of(list[models.Entry]), response_model=None,
    )  # fmt: skip
    async def get_quarantine(
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
        agent: Name = None,
        reason: Name = None,
        before: Annotated[int | None, Query(ge=0, le=_MOST_ID, description="Older than this entry")] = None,
    ) -> Response:
        found = await run_in_threadpool(
            lambda: parts.ledger.quarantine(limit, agent=agent, reason=reason, before=before)
        )
        return answer(found)

    @router.get(
        "/accounting", summary="What became of every sample, by agent and by hour", responses=of(models.Accounting),
        response_model=None,
        description="In every hour of an agent: read = received + gaps, and received = stored + waiting + quarantined. "
        "Hours are those in which uploads were made; without from_ms those of the last day.",
    )  # fmt: skip
    async def get_accounting(agent: Name = None, from_ms: Ms = None, to_ms: Ms = None) -> Response:
        end = parts.clock.now_ms() if to_ms is None else to_ms
        begin = max(0, end - _DAY_MS) if from_ms is None else from_ms
        try:
            hours = await run_in_threadpool(parts.ledger.hours, (begin, end), agent)
        except Refused as error:
            raise HTTPException(400, str(error)) from None
        agents = await run_in_threadpool(parts.ledger.accounts, agent)
        waiting = await run_in_threadpool(
            parts.ledger.waiting
        )  # first: what moves on meanwhile is not missed
        by_class = await run_in_threadpool(parts.store.count)
        return answer(
            {
                "agents": agents,
                "hours": hours,
                "store": {"samples": sum(by_class.values()), "waiting": waiting, "by_class": by_class},
            }
        )

    @router.get(
        "/actions", summary="What the sites did and judged by themselves, newest first", responses=of(list[models.Action]),
        response_model=None,
        description="A step of a command (accepted, executed, verified, failed, expired, refused) or a transition that an "
        "agent judged. An alarm has the same id here and in the feed.",
    )  # fmt: skip
    async def get_actions(limit: Annotated[int, Query(ge=1, le=1000)] = 100, device: Name = None) -> Response:
        return answer(await run_in_threadpool(parts.ledger.actions, limit, device))

    return router


def actions(parts: Parts, access: Access) -> APIRouter:
    """Return the route that changes something."""
    router = APIRouter(prefix="/api/data", tags=["accounts"])

    @router.post(
        "/quarantine/requeue", summary="Admit quarantined entries again, after the registry was mended",
        responses=of(models.Requeued), response_model=None, dependencies=[access.needs("registry")],
    )  # fmt: skip
    async def post_requeue(wanted: Requeue) -> Response:
        await parts.refresh()
        asked = Wanted(wanted.agent, wanted.reason, wanted.device, tuple(wanted.ids))
        return answer({"requeued": await run_in_threadpool(requeue, parts.ledger_path, asked)})

    return router
