"""The registry from outside: import, export, what speaks unannounced, and who decides on it."""

from __future__ import annotations

from pathlib import Path as File
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Body, HTTPException, Path, Query
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import Response
from pydantic import BaseModel, Field

from cloud_ingest.api import models
from cloud_ingest.api.answers import answer, of
from cloud_ingest.api.errors import refused
from cloud_ingest.api.parts import known
from cloud_ingest.registry import approval, exporting
from cloud_ingest.registry.importing import Missing, Order, Report, run_import
from cloud_ingest.registry.model import Datum
from cloud_ingest.registry.sheets import Kind, Sheet, read_sheets

if TYPE_CHECKING:
    from cloud_ingest.api.access import Access
    from cloud_ingest.api.parts import Parts

MOST_BYTES = 32 * 1024 * 1024
_CSV, _XLSX = "text/csv", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
Id = Annotated[str, Path(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
_Report = of(models.Report)


class DeviceIn(BaseModel):
    """A device to register.  What is not given is taken from where it was seen: its agent, its site's place and department."""

    model_config = {"extra": "forbid"}
    profile: str
    site: str
    name_zh: str
    name_en: str
    agent: str | None = None
    lon: float | None = Field(default=None, ge=-180, le=180, allow_inf_nan=False)
    lat: float | None = Field(default=None, ge=-90, le=90, allow_inf_nan=False)
    datum: Datum = "wgs84"
    owner: str | None = None
    serial_number: str = ""
    installed_on: str = ""
    installed_by: str = ""
    bus: str = ""
    unit: int | None = Field(default=None, ge=0, le=255)


class Note(BaseModel):
    """Why."""

    model_config = {"extra": "forbid"}
    note: str = Field(default="", max_length=1000)


def routes(parts: Parts) -> APIRouter:
    """Return the routes that read."""
    router = APIRouter(prefix="/api/data/registry", tags=["registry"])
    database = parts.keeper.database

    @router.get(
        "/unannounced", summary="Agents and devices that speak and are not registered", response_model=None,
        responses=of(list[models.Sighting]),
    )  # fmt: skip
    async def get_unannounced() -> Response:
        await parts.refresh()
        return answer(await run_in_threadpool(approval.unannounced, database))

    @router.get(
        "/export", summary="The registry as the file that an import takes", response_class=Response,
        responses={200: {"content": {_CSV: {}, _XLSX: {}}, "description": "CSV or an Excel workbook"}},
    )  # fmt: skip
    async def get_export(
        kind: Kind = "devices", format_: Annotated[Literal["csv", "xlsx"], Query(alias="format")] = "csv"
    ) -> Response:
        contents = await run_in_threadpool(database.contents)
        if format_ == "xlsx":
            data, media, name = (
                await run_in_threadpool(exporting.as_workbook, contents),
                _XLSX,
                "registry.xlsx",
            )
        else:
            data, media, name = exporting.as_csv(contents, kind), _CSV, f"{kind}.csv"
        return Response(
            data, media_type=media, headers={"Content-Disposition": f'attachment; filename="{name}"'}
        )

    return router


def actions(parts: Parts, access: Access) -> APIRouter:
    """Return the routes that change something; each tells the change log who did it."""
    router = APIRouter(prefix="/api/data/registry", tags=["registry"])
    database, now_ms = parts.keeper.database, parts.clock.now_ms
    needs = access.needs("registry")

    async def take(sheets: list[Sheet], order: Order) -> Response:
        report: Report = await run_in_threadpool(run_import, database, sheets, order, parts.keeper.profiles)
        if report.applied:
            await parts.refresh()
        return refused(report.mistakes) if report.mistakes else answer(report)

    def order(by: str, **more: Any) -> Order:
        bounds = parts.keeper.bounds
        return Order(by, now_ms(), bounds, **{"datum": parts.keeper.datum, **more})

    @router.post(
        "/import", summary="Import a table of sites or devices, or a workbook of both", responses=_Report,
        response_model=None,
        description="The body is the file: CSV in UTF-8 or GB18030, or .xlsx. Nothing is imported while anything is wrong, "
        "and every mistake is told. With missing=retire, devices that are not in the file go out of service.",
        openapi_extra={"requestBody": {"required": True, "content": {
            media: {"schema": {"type": "string", "format": "binary"}} for media in (_CSV, _XLSX)}}},
    )  # fmt: skip
    async def post_import(
        data: Annotated[bytes, Body(media_type=_CSV, max_length=MOST_BYTES)],
        by: str = needs,
        dry_run: bool = False,  # noqa: FBT001, FBT002 - a query parameter
        missing: Missing = "keep",
        datum: Datum | None = None,
        name: Annotated[
            str, Query(max_length=200, description="What to call the file in the report")
        ] = "import",
    ) -> Response:
        sheets = await run_in_threadpool(read_sheets, File(name), data)
        told = order(by, missing=missing, dry_run=dry_run)
        return await take(sheets, msgspec.structs.replace(told, datum=datum or told.datum))

    @router.put(
        "/devices/{device}", summary="Register a device, change it, or approve one that spoke unannounced",
        responses=_Report, response_model=None,
    )  # fmt: skip
    async def put_device(device: Id, told: DeviceIn, by: str = needs) -> Response:
        cells = {key: "" if value is None else str(value) for key, value in told.model_dump().items()}
        cells["device"] = device
        if not cells["agent"]:
            await parts.refresh()
            cells["agent"] = await run_in_threadpool(_seen_by, parts, device)
        site = parts.registry.sites.get(told.site)
        if site is not None:
            cells["owner"] = cells["owner"] or site.department
            if told.lon is None and told.lat is None:
                cells |= {"lon": str(site.lon), "lat": str(site.lat), "datum": "wgs84"}
        return await take([Sheet("devices", "request", [(1, cells)])], order(by))

    @router.post(
        "/devices/{device}/retire",
        summary="Take a device out of service",
        responses=of(models.Done),
        response_model=None,
    )
    async def post_retire(device: Id, by: str = needs) -> Response:
        known("device", device, (await run_in_threadpool(database.contents)).devices)
        await run_in_threadpool(lambda: approval.decommission(database, device, by=by, now_ms=now_ms()))
        await parts.refresh()
        return answer({"done": f"{device} is out of service"})

    @router.post(
        "/{kind}/{name}/{decision}", summary="Approve an agent, or deny an agent or a device that speaks unannounced",
        responses=of(models.Done), response_model=None,
    )  # fmt: skip
    async def post_decision(
        kind: Literal["agents", "devices"], name: Id, decision: Literal["approve", "deny"], note: Note,
        by: str = needs,
    ) -> Response:  # fmt: skip
        one: approval.Kind = "agent" if kind == "agents" else "device"
        await run_in_threadpool(
            lambda: approval.decide(
                database, one, name, allowed=decision == "approve", by=by, now_ms=now_ms(), note=note.note
            )
        )
        await parts.refresh()
        return answer({"done": f"{one} {name}: {decision}"})

    @router.get(
        "/changes", summary="Who changed what, newest first", responses=of(list[models.LogEntry]), response_model=None,
        dependencies=[access.needs("admin")],
    )  # fmt: skip
    async def get_changes(limit: Annotated[int, Query(ge=1, le=1000)] = 100) -> Response:
        return answer(await run_in_threadpool(database.history, limit))

    return router


def _seen_by(parts: Parts, device: str) -> str:
    """Return the agent that a device belongs to, or that spoke for it last."""
    registered = parts.registry.devices.get(device)
    if registered is not None:
        return registered.agent
    for sighting in approval.unannounced(parts.keeper.database):
        if sighting.kind == "device" and sighting.id == device:
            return sighting.agent
    raise HTTPException(404, f"'{device}' has not been seen; name its agent")
