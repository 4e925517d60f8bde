"""Figures of a span of time: as JSON, as CSV, and every delivery in it."""

from __future__ import annotations

import asyncio
import hashlib
from typing import TYPE_CHECKING, Annotated, Literal

from fastapi import Query, Request
from fastapi.responses import Response

from command_center import audit, exports, reports
from command_center.answers import as_error, as_json
from command_center.figures import DAY_MS
from command_center.openapi import answers
from command_center.people.rights import act_of, needs
from command_center.people.sight import seen_by
from command_center.shapes.desk import Figures

if TYPE_CHECKING:
    from fastapi import FastAPI

    from command_center.center import Center
    from command_center.figures import Report

Ms = Annotated[int | None, Query(ge=0, le=1 << 45)]
Positions = Annotated[int, Query(ge=1, le=1000)]
Site = Annotated[list[Annotated[str, Query(max_length=64)]] | None, Query()]


class _Wrong(Exception):
    pass


def add(api: FastAPI, center: Center) -> None:
    """Add the routes."""
    reads = [needs("figures.read")]

    def span(since_ms: int | None, until_ms: int | None) -> tuple[int, int]:
        until = int(center.clock.now_ms()) if until_ms is None else until_ms
        since = until - 7 * DAY_MS if since_ms is None else since_ms
        if not 0 < until - since <= reports.LONGEST_MS:
            raise _Wrong
        return since, until

    async def figures(
        request: Request, since: int, until: int, positions: int, site: list[str] | None
    ) -> Report:
        devices = seen_by(request)
        if site:
            wanted = {d["id"] for d in center.data.known["devices"] if d.get("site") in site}
            devices = frozenset(wanted if devices is None else devices & wanted)
        async with center.store.read() as db:
            return await reports.read(db, since, until, positions=positions, devices=devices)

    async def exported(request: Request, since: int, until: int, form: str) -> exports.Export:
        """Return the deliveries that one may see, once the audit trail says who took them away."""
        devices, act, now = seen_by(request), act_of(request), center.clock.now_ms()
        async with center.store.read() as db:
            found = await reports.deliveries(db, since, until, devices=devices)
        table = await asyncio.to_thread(reports.deliveries_csv, found)
        whole = devices is None and len(found) < reports.MOST_DELIVERIES
        told = {"form": form, "since_ms": since, "until_ms": until, "rows": len(found), "whole": whole}
        told["sha256"] = hashlib.sha256(table).hexdigest()
        async with center.store.change() as db:
            await audit.write(db, now, act, "deliveries.export", "deliveries", after=told)
        return exports.Export(
            since_ms=since, until_ms=until, made_ms=now, made_by=act.who, rows=len(found), whole=whole, csv=table.decode()
        )  # fmt: skip

    @api.exception_handler(_Wrong)
    async def wrong(*_: object) -> Response:
        return as_error(
            422, "时段应在 0 至 400 天之间", "the span is longer than 400 days or ends before it begins"
        )

    @api.get(
        "/api/figures",
        summary="How the desk fared in a span, the last week unless said otherwise",
        dependencies=reads,
    )
    @answers(Figures)
    async def get_figures(
        request: Request,
        since_ms: Ms = None,
        until_ms: Ms = None,
        positions: Positions = 1,
        site: Site = None,
    ) -> Response:
        since, until = span(since_ms, until_ms)
        report = await figures(request, since, until, positions, site)
        names = {name: {"zh": zh, "en": en} for name, (zh, en) in reports.NAMES.items()}
        found = {one.device: center.data.device(one.device).get("name") for one in report.top}
        devices = {device: name for device, name in found.items() if name}
        return as_json({"report": report, "names": names, "devices": devices, "title": center.config.title})

    @api.get("/api/figures.csv", summary="The same as a table", dependencies=reads)
    @answers(media="text/csv")
    async def get_csv(
        request: Request, since_ms: Ms = None, until_ms: Ms = None, positions: Positions = 1, site: Site = None,
        lang: Literal["zh", "en"] = "zh",
    ) -> Response:  # fmt: skip
        since, until = span(since_ms, until_ms)
        return _file(
            reports.figures_csv(await figures(request, since, until, positions, site), lang), "figures.csv"
        )

    @api.get(
        "/api/deliveries.csv",
        summary="Who was told of what in a span, how, when, and what proves it",
        dependencies=reads,
    )
    @answers(media="text/csv")
    async def get_deliveries(request: Request, since_ms: Ms = None, until_ms: Ms = None) -> Response:
        export = await exported(request, *span(since_ms, until_ms), "csv")
        return _file(export.csv.encode(), "deliveries.csv")

    @api.get(
        "/api/deliveries.signed",
        summary="The same table, signed by the audit trail's key: for whoever has to check it elsewhere",
        dependencies=reads,
    )
    @answers(exports.Export)
    async def get_signed(request: Request, since_ms: Ms = None, until_ms: Ms = None) -> Response:
        export = await exported(request, *span(since_ms, until_ms), "signed")
        answer = as_json(center.signer.sign(export))
        answer.headers.update(_named("deliveries.json"))
        return answer


def _file(data: bytes, name: str) -> Response:
    return Response(data, media_type="text/csv", headers=_named(name))


def _named(name: str) -> dict[str, str]:
    return {"Content-Disposition": f'attachment; filename="{name}"'}
