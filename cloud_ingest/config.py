"""``ingest.toml``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from telemetry import plugins, topics
from telemetry.broker import BrokerConfig
from telemetry.config import load_toml
from telemetry.errors import ConfigError, Refused


class StoreConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where samples are kept; ``kind`` is a file in ``cloud_ingest/stores/``."""

    kind: str = "duckdb"
    path: Path = Path("samples.duckdb")
    memory_limit: str = "512MB"


class LedgerConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Marks, rule state, quarantine and the alarm outbox."""

    path: Path
    quarantine_bytes: int = 256 * 1024 * 1024
    alarm_bytes: int = 64 * 1024 * 1024


class RegistryConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which devices there are (CSV)."""

    devices: Path
    sites: Path


class ApiConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the data API listens."""

    host: str = "127.0.0.1"
    port: int = 8600


class AlarmsConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who must acknowledge the alarm feed, and how often standing alarms are asserted again."""

    consumer: str = "center"
    assert_s: float = 20.0


class IngestConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole file."""

    area: str
    producer: str
    broker: BrokerConfig
    ledger: LedgerConfig
    registry: RegistryConfig
    store: StoreConfig = StoreConfig()
    source: str = "mqtt"
    api: ApiConfig = ApiConfig()
    alarms: AlarmsConfig = AlarmsConfig()


def load_config(path: Path) -> IngestConfig:
    """Read and check ``ingest.toml``; raise :class:`ConfigError`."""
    config = load_toml(path, IngestConfig)
    for key, name in (
        ("area", config.area),
        ("producer", config.producer),
        ("alarms.consumer", config.alarms.consumer),
    ):
        try:
            topics.level(name, what=key)
        except Refused as error:
            raise ConfigError(path, f"$.{key}", str(error)) from None
    for key, package, name in (
        ("store.kind", "stores", config.store.kind),
        ("source", "sources", config.source),
    ):
        try:
            plugins.load(f"cloud_ingest.{package}", name)
        except Refused as error:
            raise ConfigError(path, f"$.{key}", str(error)) from None
    return config


def plugin(package: str, name: str) -> Any:
    """Return the module of a checked plug-in name."""
    return plugins.load(f"cloud_ingest.{package}", name)
