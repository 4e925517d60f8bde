"""``doctor.toml``: what there is to look at."""

from __future__ import annotations

from pathlib import Path

import msgspec

from telemetry.broker import BrokerConfig
from telemetry.config import load_toml


class StoreToAsk(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An InfluxDB."""

    url: str


class Plan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole file; what is not named is not looked at.

    ``clocks`` are http addresses that tell the time in their ``Date`` header.  ``secrets`` are files with keys, tokens and
    passwords; keys beside ``certificates`` need not be named again.
    """

    broker_config: Path | None = None
    broker: BrokerConfig | None = None
    store: StoreToAsk | None = None
    certificates: tuple[Path, ...] = ()
    crl: Path | None = None
    secrets: tuple[Path, ...] = ()
    clocks: tuple[str, ...] = ()
    disks: tuple[Path, ...] = ()
    databases: tuple[Path, ...] = ()


def load_plan(path: Path) -> Plan:
    """Read and check the file; raise :class:`~telemetry.errors.ConfigError`."""
    return load_toml(path, Plan)
