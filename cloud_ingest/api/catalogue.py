"""Classes, sites, devices, agents: what there is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Query
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import Response

from cloud_ingest.api import models
from cloud_ingest.api.answers import answer, of
from cloud_ingest.api.parts import Parts, known

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cloud_ingest.registry.model import Device, Registry
    from device_profiles.vocabulary import DeviceClass

Filter = Annotated[str | None, Query(max_length=200)]


def routes(parts: Parts) -> APIRouter:
    """Return the routes."""
    router = APIRouter(prefix="/api/data", tags=["catalogue"])

    @router.get(
        "/classes", summary="Device classes with their metrics: the data dictionary",
        responses=of(dict[str, models.DeviceClass]), response_model=None,
    )  # fmt: skip
    async def get_classes() -> Response:
        return answer(dict(parts.classes))

    @router.get(
        "/classes/{name}/schema", summary="JSON Schema (2020-12) of a reading of a class",
        responses=of(dict[str, Any]), response_model=None,
    )  # fmt: skip
    async def get_schema(name: str) -> Response:
        known("class", name, parts.classes)
        return answer(schema_of(parts.classes[name]))

    @router.get(
        "/devices", summary="Registered devices", responses=of(list[models.Device]), response_model=None
    )
    async def get_devices(
        device_class: Annotated[str | None, Query(alias="class", max_length=200)] = None,
        site: Filter = None,
        street: Filter = None,
        district: Filter = None,
        agent: Filter = None,
        profile: Filter = None,
        owner: Filter = None,
        retired: Annotated[bool, Query(description="Those out of service instead")] = False,  # noqa: FBT002 - a query parameter
    ) -> Response:
        known("class", device_class, parts.classes)
        registry = parts.registry
        devices: Iterable[Device] = registry.devices.values()
        sites = registry.sites
        if retired:
            contents = await run_in_threadpool(parts.keeper.database.contents)
            devices = (device for device in contents.devices.values() if device.retired_on)
            sites = contents.sites
        wanted = {
            "device_class": device_class,
            "site": site,
            "agent": agent,
            "profile": profile,
            "owner": owner,
        }
        wanted = {key: value for key, value in wanted.items() if value is not None}
        places = {"street": street, "district": district}
        places = {key: value for key, value in places.items() if value is not None}
        return answer(
            [
                device
                for device in devices
                if all(getattr(device, key) == value for key, value in wanted.items())
                and all(getattr(sites[device.site], key) == value for key, value in places.items())
            ]
        )

    @router.get("/devices/{device}", summary="One device", responses=of(models.Device), response_model=None)
    async def get_device(device: str) -> Response:
        return answer(parts.device(device))

    @router.get("/sites", summary="Sites, WGS-84", responses=of(list[models.Site]), response_model=None)
    async def get_sites() -> Response:
        return answer(list(parts.registry.sites.values()))

    @router.get(
        "/tree", summary="District → street → site → device", responses=of(list[models.TreeDistrict]),
        response_model=None,
    )  # fmt: skip
    async def get_tree() -> Response:
        return answer(tree(parts.registry))

    @router.get(
        "/agents", summary="Edge agents and whether they are connected", responses=of(list[models.Agent]),
        response_model=None,
    )  # fmt: skip
    async def get_agents() -> Response:
        return answer(
            [
                {
                    "id": told.agent,
                    "online": told.online,
                    "since": told.since,
                    "boot": told.boot,
                    "version": told.version,
                    "config": told.config,
                    "metrics": told.metrics,
                }
                for told in parts.source.agents()
            ]
        )

    return router


def tree(registry: Registry) -> list[dict[str, Any]]:
    """Return districts with their streets, sites and devices, each in the order of its name."""
    at: dict[str, list[str]] = {}
    for device in registry.devices.values():
        at.setdefault(device.site, []).append(device.id)
    districts: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for site in sorted(registry.sites.values(), key=lambda site: (site.district, site.street, site.id)):
        told = {
            "id": site.id,
            "name": site.name,
            "department": site.department,
            "devices": sorted(at.get(site.id, [])),
        }
        districts.setdefault(site.district, {}).setdefault(site.street, []).append(told)
    return [
        {
            "district": name,
            "streets": [{"street": street, "sites": sites} for street, sites in streets.items()],
        }
        for name, streets in districts.items()
    ]


def schema_of(device_class: DeviceClass) -> dict[str, Any]:
    """Return the JSON Schema of what :mod:`cloud_ingest.api.readings` answers for a class."""
    values = {
        name: {
            "type": ["number", "null"],
            "title": metric.label.zh,
            "description": f"{metric.label.en}, {metric.kind}"
            + (f", in {metric.unit}" if metric.unit else ""),
            "x-unit": metric.unit,
            "x-plausible": [metric.low, metric.high],
            **(
                {"x-states": {str(code): text for code, text in metric.states.items()}}
                if metric.states
                else {}
            ),
            **({"x-bits": {str(bit): text for bit, text in metric.bits.items()}} if metric.bits else {}),
        }
        for name, metric in device_class.metrics.items()
    }
    quality = {name: {"type": "integer", "minimum": 1, "maximum": 254} for name in device_class.metrics}
    time = {"type": "integer", "description": "UTC milliseconds"}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": device_class.label.zh,
        "description": device_class.label.en,
        "type": "object",
        "required": ["device", "time", "values", "quality"],
        "properties": {
            "device": {"type": "string"},
            "time": time,
            "received": time,
            "values": {"type": "object", "properties": values, "additionalProperties": False},
            "quality": {
                "type": "object", "properties": quality, "additionalProperties": False,
                "description": "Only of metrics that are not good: 64 to 127 uncertain, from 128 without a value",
            },
        },
    }  # fmt: skip
