"""The newest readings, their history and their gaps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Header, HTTPException, Query
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import Response, StreamingResponse

from cloud_ingest.api import models
from cloud_ingest.api.answers import answer, of
from cloud_ingest.api.causes import explained
from cloud_ingest.api.parts import Parts, known
from cloud_ingest.api.tables import MEDIA, Format, accepted, written
from cloud_ingest.store import Aggregate
from telemetry.errors import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cloud_ingest.registry.model import Device

MOST_POINTS = 20_000
"""In an answer as JSON; the other formats have no end."""
MOST_GAPS = 1000
_HOUR_MS = 3_600_000
_DAY_MS = 24 * _HOUR_MS
_FIRST_MS = 1_577_836_800_000  # 2020-01-01: nothing is admitted that is older
_MOST_STEPS = 1_000_000
_LAST_MS = 253_402_300_799_999  # the end of the year 9999

Ms = Annotated[int | None, Query(ge=0, le=_LAST_MS, description="UTC milliseconds")]
_FORMATS: dict[int | str, dict[str, Any]] = {
    200: {
        "model": models.History,
        "description": "The points; CSV, Parquet and Arrow have columns time, value, quality",
        "content": {media: {} for name, media in MEDIA.items() if name != "json"},
    }
}


def routes(parts: Parts) -> APIRouter:
    """Return the routes."""
    router = APIRouter(prefix="/api/data", tags=["readings"])

    @router.get(
        "/latest",
        summary="The newest reading of each device",
        responses=of(list[models.Row]),
        response_model=None,
    )
    async def get_latest(
        device: str | None = None,
        device_class: Annotated[str | None, Query(alias="class")] = None,
        site: str | None = None,
        since_ms: Annotated[int, Query(ge=0, le=_LAST_MS, description="By time of arrival")] = 0,
    ) -> Response:
        known("class", device_class, parts.classes)
        known("site", site, parts.registry.sites)
        if device is not None:
            row = parts.latest.get(parts.device(device).id)
            rows = [] if row is None else [row]
        else:
            rows = list(parts.latest.values())
        return answer(
            [
                row
                for row in rows
                if row["received"] > since_ms and _matches(row["device"], device_class, site)
            ]
        )

    def _matches(name: str, device_class: str | None, site: str | None) -> bool:
        if device_class is None and site is None:
            return True
        device = parts.registry.devices.get(name)
        return (
            device is not None and device_class in (None, device.device_class) and site in (None, device.site)
        )

    @router.get(
        "/history", summary="One metric of one device over time", responses=_FORMATS, response_model=None
    )
    async def get_history(
        device: str,
        metric: str,
        from_ms: Ms = None,
        to_ms: Ms = None,
        step_ms: Annotated[int, Query(ge=0, le=_LAST_MS, description="0: every sample")] = 0,
        aggregate: Annotated[Aggregate, Query(description="Of the good samples of each step")] = "mean",
        format_: Annotated[Format | None, Query(alias="format")] = None,
        accept: Annotated[str, Header(include_in_schema=False)] = "",
    ) -> Response:
        of_device = parts.device(device)
        metrics = parts.classes[of_device.device_class].metrics
        if metric not in metrics:
            raise HTTPException(404, f"'{device}' has no metric '{metric}'; {did_you_mean(metric, metrics)}")
        begin, end = _span(from_ms, to_ms)
        chosen = format_ or accepted(accept) or "json"
        ask = _History(parts, of_device, metric, step_ms, aggregate)
        most = MOST_POINTS if chosen == "json" else _MOST_STEPS
        if step_ms and (end - begin) // step_ms > most:
            raise HTTPException(
                400, f"{(end - begin) // step_ms} points; take a longer step_ms, at most {most} are given"
            )
        unit = metrics[metric].unit
        if chosen != "json":
            about = {"device": device, "metric": metric, "unit": unit}
            return StreamingResponse(
                written(chosen, ask.forward(begin, end), about), media_type=MEDIA[chosen]
            )
        points, truncated = await run_in_threadpool(ask.newest, begin, end)
        return answer(
            {
                "device": device, "metric": metric, "unit": unit, "from_ms": begin, "to_ms": end,
                "truncated": truncated, "points": points,
            }
        )  # fmt: skip

    @router.get(
        "/gaps",
        summary=f"When a device said nothing good, and why; the newest {MOST_GAPS}",
        responses=of(list[models.Gap]),
        response_model=None,
    )
    async def get_gaps(
        device: str,
        from_ms: Ms = None,
        to_ms: Ms = None,
        longer_than_s: Annotated[float, Query(gt=0, le=1e9, allow_inf_nan=False)] = 60.0,
    ) -> Response:
        of_device = parts.device(device)
        span, longer_ms = _span(from_ms, to_ms), int(longer_than_s * 1000)

        def ask() -> list[dict[str, Any]]:
            found = parts.store.gaps(of_device.device_class, device, span, longer_ms)
            return explained(parts, of_device, found[-MOST_GAPS:])

        return answer(await run_in_threadpool(ask))

    def _span(from_ms: int | None, to_ms: int | None) -> tuple[int, int]:
        end = parts.clock.now_ms() if to_ms is None else to_ms
        begin = max(0, end - _HOUR_MS) if from_ms is None else from_ms
        if begin > end:
            raise HTTPException(400, f"from_ms {begin} is after to_ms {end}; exchange them")
        return begin, end

    return router


class _History:
    """Asks the store for a long span in shorter ones, so that no answer needs more memory than one of them."""

    def __init__(self, parts: Parts, device: Device, metric: str, step_ms: int, aggregate: Aggregate) -> None:
        self._parts, self._device, self._metric = parts, device, metric
        self._step_ms, self._aggregate = step_ms, aggregate

    def forward(self, begin: int, end: int) -> Iterator[list[models.Point]]:
        """Return the points from the first to the last."""
        size, begin = self._aligned(_DAY_MS), max(begin, _FIRST_MS)
        while begin <= end:
            edge = (begin // size + 1) * size
            points = self._ask(begin, min(edge - 1, end))
            yield points
            size = self._next(size, len(points))
            begin = edge

    def newest(self, begin: int, end: int) -> tuple[list[models.Point], bool]:
        """Return the newest points, and whether older ones were left out."""
        size, begin = self._aligned(_DAY_MS), max(begin, _FIRST_MS)
        parts: list[list[models.Point]] = []
        count = 0
        while begin <= end and count <= MOST_POINTS:
            edge = max(begin, end // size * size)
            points = self._ask(edge, end)
            parts.append(points)
            count += len(points)
            size = self._next(size, len(points))
            end = edge - 1
        points = [point for part in reversed(parts) for point in part]
        return points[-MOST_POINTS:], len(points) > MOST_POINTS

    def _ask(self, begin: int, end: int) -> list[models.Point]:
        return self._parts.store.history(
            self._device.device_class,
            self._device.id,
            self._metric,
            (begin, end),
            self._step_ms,
            self._aggregate,
        )

    def _aligned(self, size: int) -> int:
        """Spans are whole steps, so that no step is told twice."""
        return size if not self._step_ms else -(-size // self._step_ms) * self._step_ms

    def _next(self, size: int, found: int) -> int:
        """Where there is little, ask for more at once."""
        return size * 4 if found < MOST_POINTS // 4 else size
