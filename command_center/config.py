"""``center.toml``."""

from __future__ import annotations

from pathlib import Path

import msgspec

from telemetry import topics
from telemetry.broker import BrokerConfig
from telemetry.config import load_toml
from telemetry.errors import ConfigError, Refused
from telemetry.text import Text


class DeskConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The desk's database, as an SQLAlchemy URL with an asynchronous driver."""

    url: str = "sqlite+aiosqlite:///desk.db"


class DataConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Ingest's data API."""

    url: str


class PageConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the page is served."""

    host: str = "127.0.0.1"
    port: int = 8686


class MapConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What lies under the devices: streets as GeoJSON, or a whole map as PMTiles."""

    streets: Path | None = None
    pmtiles: Path | None = None
    attribution: Text | None = None


class CenterConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole file."""

    area: str
    broker: BrokerConfig
    data: DataConfig
    desk: DeskConfig = DeskConfig()
    page: PageConfig = PageConfig()
    title: Text = Text("指挥中心", "Command centre")
    map: MapConfig = MapConfig()
    consumer: str = "center"


def load_config(path: Path) -> CenterConfig:
    """Read and check ``center.toml``; raise :class:`ConfigError`."""
    config = load_toml(path, CenterConfig)
    for key, name in (("area", config.area), ("consumer", config.consumer)):
        try:
            topics.level(name, what=key)
        except Refused as error:
            raise ConfigError(path, f"$.{key}", str(error)) from None
    if "://" not in config.desk.url or "+" not in config.desk.url.split("://")[0]:
        raise ConfigError(
            path, "$.desk.url", f"'{config.desk.url}' names no asynchronous driver",
            hint="like sqlite+aiosqlite:///desk.db or postgresql+asyncpg://user@host/desk",
        )  # fmt: skip
    for key, file in (("streets", config.map.streets), ("pmtiles", config.map.pmtiles)):
        if file is not None and not file.is_file():
            raise ConfigError(path, f"$.map.{key}", f"there is no file '{file}'")
    return config
