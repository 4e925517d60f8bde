"""``ingest.toml``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from telemetry import plugins, topics
from telemetry.broker import BrokerConfig
from telemetry.config import convert, load_toml
from telemetry.errors import ConfigError, Refused


class LedgerConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is committed before it is acknowledged; ``waiting_bytes`` bound what waits for a store that is away."""

    path: Path
    waiting_bytes: int = 4 * 1024 * 1024 * 1024
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


class RulesConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``folder`` holds packs of the district's own, ``<class>.yaml``, and packs on trial, ``<class>.shadow.yaml``."""

    folder: Path | None = None


class IngestFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole file.  ``store.kind`` is a file in ``cloud_ingest/stores/``, the rest of ``store`` that file's own."""

    area: str
    producer: str
    broker: BrokerConfig
    ledger: LedgerConfig
    registry: RegistryConfig
    store: dict[str, Any] = {}
    source: str = "mqtt"
    api: ApiConfig = ApiConfig()
    alarms: AlarmsConfig = AlarmsConfig()
    rules: RulesConfig = RulesConfig()


class StoreChoice(msgspec.Struct, frozen=True):
    """A store that was looked up."""

    kind: str
    module: Any
    config: Any  # the module's Config


class IngestConfig(msgspec.Struct, frozen=True):
    """A checked configuration."""

    area: str
    producer: str
    broker: BrokerConfig
    ledger: LedgerConfig
    registry: RegistryConfig
    store: StoreChoice
    source: Any  # a module of cloud_ingest/sources
    api: ApiConfig
    alarms: AlarmsConfig
    rules: RulesConfig


def load_config(path: Path) -> IngestConfig:
    """Read and check ``ingest.toml``; raise :class:`ConfigError`."""
    file = load_toml(path, IngestFile)
    for key, name in (
        ("area", file.area),
        ("producer", file.producer),
        ("alarms.consumer", file.alarms.consumer),
    ):
        try:
            topics.level(name, what=key)
        except Refused as error:
            raise ConfigError(path, f"$.{key}", str(error)) from None
    kind = file.store.get("kind", "duckdb")
    module = _plugin(path, "store.kind", "stores", kind)
    link = {key: value for key, value in file.store.items() if key != "kind"}
    return IngestConfig(
        file.area,
        file.producer,
        file.broker,
        file.ledger,
        file.registry,
        StoreChoice(kind, module, convert(link, module.Config, file=path, at="$.store")),
        _plugin(path, "source", "sources", file.source),
        file.api,
        file.alarms,
        file.rules,
    )


def _plugin(path: Path, key: str, package: str, name: str) -> Any:
    try:
        return plugins.load(f"cloud_ingest.{package}", name)
    except Refused as error:
        raise ConfigError(path, f"$.{key}", str(error)) from None
