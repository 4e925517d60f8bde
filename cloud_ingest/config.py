"""``ingest.toml``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from cloud_ingest.registry.model import Datum
from telemetry import plugins, topics
from telemetry.broker import BrokerConfig
from telemetry.config import Secret, convert, load_toml
from telemetry.errors import ConfigError, Refused

Scope = Literal["read", "registry", "admin"]
_SQLITE = "sqlite:///"
_LOOPBACK = ("127.0.0.1", "::1", "localhost")


class LedgerConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is committed before it is acknowledged; ``waiting_bytes`` bound what waits for a store that is away.

    ``kept_days`` is how far back accounts, gaps and the record of deeds go.
    """

    path: Path
    waiting_bytes: int = 4 * 1024 * 1024 * 1024
    quarantine_bytes: int = 256 * 1024 * 1024
    alarm_bytes: int = 64 * 1024 * 1024
    kept_days: Annotated[int, msgspec.Meta(ge=1, le=36_500)] = 400


class RegistryConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which devices there are: in a database, by SQLAlchemy URL, into which two CSV files may be taken.

    ``bounds`` is the district: west, south, east, north in WGS-84 degrees; coordinates outside are refused.
    ``datum`` is meant where a row names none.
    """

    devices: Path | None = None
    sites: Path | None = None
    database: str = ""
    password: Secret | None = None
    bounds: tuple[float, float, float, float] | None = None
    datum: Datum = "wgs84"


class KeyConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A key to the data API, as ``yemai ingest key`` makes it; the key itself is not kept."""

    name: str
    sha256: str
    scopes: tuple[Scope, ...] = ("read",)
    per_minute: Annotated[int, msgspec.Meta(ge=1)] = 600


class ApiConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the data API listens, and who may ask it; without keys anybody on this machine may."""

    host: str = "127.0.0.1"
    port: int = 8600
    keys: tuple[KeyConfig, ...] = ()


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
    _check_api(path, file.api)
    kind = file.store.get("kind", "duckdb")
    module = _plugin(path, "store.kind", "stores", kind)
    link = {key: value for key, value in file.store.items() if key != "kind"}
    return IngestConfig(
        file.area,
        file.producer,
        file.broker,
        file.ledger,
        _registry(path, file.registry, file.ledger),
        StoreChoice(kind, module, convert(link, module.Config, file=path, at="$.store")),
        _plugin(path, "source", "sources", file.source),
        file.api,
        file.alarms,
        file.rules,
    )


def _registry(path: Path, told: RegistryConfig, ledger: LedgerConfig) -> RegistryConfig:
    """Say where the database is when the file does not, and that relative files lie beside this one."""
    if (told.devices is None) != (told.sites is None):
        missing = "sites" if told.sites is None else "devices"
        raise ConfigError(path, f"$.registry.{missing}", "missing", hint="devices and sites go together")
    if not told.database and told.devices is None:
        raise ConfigError(
            path, "$.registry", "names no devices", hint="give devices and sites (CSV), or database (a URL)"
        )
    if told.bounds is not None and not (told.bounds[0] < told.bounds[2] and told.bounds[1] < told.bounds[3]):
        raise ConfigError(
            path,
            "$.registry.bounds",
            f"{list(told.bounds)} holds nothing",
            hint="west, south, east, north in degrees",
        )
    url = told.database or f"sqlite:///{ledger.path.parent / 'registry.db'}"
    if url.startswith(_SQLITE):
        url = _SQLITE + str(path.resolve().parent / url.removeprefix(_SQLITE))
    return msgspec.structs.replace(told, database=url)


def _check_api(path: Path, api: ApiConfig) -> None:
    if not api.keys and api.host not in _LOOPBACK:
        raise ConfigError(
            path, "$.api.host", f"'{api.host}' is open to others, and there are no keys",
            hint="add [[api.keys]] as `yemai ingest key` prints them, or listen on 127.0.0.1",
        )  # fmt: skip
    for place, key in enumerate(api.keys):
        if not re.fullmatch("[0-9a-f]{64}", key.sha256):
            raise ConfigError(
                path, f"$.api.keys[{place}].sha256", "is no SHA-256 in 64 hexadecimal digits",
                hint="make a key with `yemai ingest key`",
            )  # fmt: skip
        if key.name in {other.name for other in api.keys[:place]}:
            raise ConfigError(path, f"$.api.keys[{place}].name", f"'{key.name}' is given twice")


def _plugin(path: Path, key: str, package: str, name: str) -> Any:
    try:
        return plugins.load(f"cloud_ingest.{package}", name)
    except Refused as error:
        raise ConfigError(path, f"$.{key}", str(error)) from None
