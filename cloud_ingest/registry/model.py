"""What the registry says: sites, devices, and who may speak for them."""

from __future__ import annotations

from typing import Literal

import msgspec

from telemetry.text import Text

Datum = Literal["wgs84", "gcj02", "bd09"]
DENIED_AGENT, DENIED_DEVICE = "denied agent", "denied device"
RETIRED_DEVICE, UNKNOWN_PROFILE = "retired device", "unknown profile"
UNKNOWN_DEVICE, OTHERS_DEVICE = "unknown device", "device of another agent"
UNANNOUNCED = (UNKNOWN_DEVICE, OTHERS_DEVICE, DENIED_AGENT, DENIED_DEVICE, RETIRED_DEVICE)
"""Reasons for which a reading waits in quarantine, and which somebody should see and decide on."""


class Site(msgspec.Struct, frozen=True):
    """A place, in WGS-84 degrees; it lies in a street, and the street in a district."""

    id: str
    name: Text
    street: str
    lon: float
    lat: float
    department: str
    district: str = ""


class Device(msgspec.Struct, frozen=True, rename={"device_class": "class"}):
    """An installed device.

    ``period_s`` is how often its profile is usually read, ``owner`` the department that answers for it.  Dates are
    ISO 8601; a device with a ``retired_on`` has left the street, and nobody may speak for it any more.
    """

    id: str
    name: Text
    device_class: str
    profile: str
    site: str
    agent: str
    lon: float
    lat: float
    owner: str
    period_s: float
    serial_number: str = ""
    installed_on: str = ""
    installed_by: str = ""
    bus: str = ""
    unit: int | None = None
    retired_on: str = ""


class Registry(msgspec.Struct, frozen=True):
    """All that is in service, by id; why the other known devices are not; and through whom nobody may speak."""

    sites: dict[str, Site]
    devices: dict[str, Device]
    out: dict[str, str] = {}  # device → DENIED_DEVICE, RETIRED_DEVICE, UNKNOWN_PROFILE
    denied: frozenset[str] = frozenset()  # agents


class Contents(msgspec.Struct, frozen=True):
    """Sites and devices by id, those out of service among them."""

    sites: dict[str, Site] = {}
    devices: dict[str, Device] = {}
