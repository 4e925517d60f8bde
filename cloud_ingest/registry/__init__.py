"""The registry: which devices stand where, whose they are, and which agent may speak for them.

::

    CSV, Excel ─▶ sheets ─▶ checks ─▶ importing ─▶ database ─▶ keeper ─▶ the running ingest
                  every mistake, by line and column    │  SQLite, PostgreSQL
    quarantine ─▶ approval: what speaks unannounced ───┘
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cloud_ingest.registry.checks import Ground, check
from cloud_ingest.registry.mistakes import first_of
from cloud_ingest.registry.model import RETIRED_DEVICE, Device, Registry, Site
from cloud_ingest.registry.sheets import read_sheets
from device_profiles.loading import load_catalogue

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Device", "Registry", "Site", "load_registry"]


def load_registry(devices: Path, sites: Path) -> Registry:
    """Read both CSV files; raise :class:`ConfigError` with file, line, column, value and way out."""
    sheets = [*read_sheets(sites, kind="sites"), *read_sheets(devices, kind="devices")]
    checked = check(sheets, Ground(load_catalogue()))
    if checked.mistakes:
        raise first_of(checked.mistakes)
    in_service = {device.id: device for device in checked.devices.values() if not device.retired_on}
    retired = dict.fromkeys(checked.devices.keys() - in_service, RETIRED_DEVICE)
    return Registry(checked.sites, in_service, retired)
