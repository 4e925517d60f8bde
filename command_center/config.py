"""``center.toml``."""

from __future__ import annotations

from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from command_center import places, plans, policies
from command_center.cap import document
from command_center.correlation import Windows
from command_center.people.settings import PeopleConfig
from telemetry import topics
from telemetry.broker import BrokerConfig
from telemetry.config import Secret, load_toml
from telemetry.errors import ConfigError, Refused, did_you_mean
from telemetry.text import Text
from telemetry.transitions import Category


class DeskConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The desk's database, as an SQLAlchemy URL with an asynchronous driver."""

    url: str = "sqlite+aiosqlite:///desk.db"
    latching: tuple[Category, ...] = ()
    """Categories whose alarms stay, when their cause is gone, until a person resets them."""
    positions: int = 1
    """How many people answer alarms at the same time: by so much more begins a flood."""


class AuditConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the audit trail's checkpoints go and what they are signed with; made when it is not there."""

    key: Path = Path("audit.key")
    checkpoints: Path | None = None
    every_s: float = 600.0


class DataConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Ingest's data API, and the key to it where it asks for one (``yemai ingest key``)."""

    url: str
    key: Secret | None = None


class NotifyConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who is told of which alarm: the file ``notify.yaml``; nobody when it is left out."""

    file: Path | None = None


class HeartbeatConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """By which channel of ``notify.yaml``, and to which address there, somebody outside is told that the desk works."""

    by: str = ""
    to: str = ""
    every_s: float = 60.0


class LinkageConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is done about which alarm: the file ``plans.yaml``; ``key`` proves our commands to the agents."""

    file: Path | None = None
    key: Secret | None = None


class PlacesConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Cameras, and which devices share a pole, a feeder or a cabinet: the file ``places.yaml``."""

    file: Path | None = None


class CapConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who warns, in CAP; ``national`` are the 14 digits that identifiers of GB/T 35965.1 begin with."""

    sender: str = "yemai.invalid"
    name: Text = Text("指挥中心", "Command centre")
    national: str = ""
    web: str = ""
    url: str = ""
    """Where the feeds are to be reached, when that is not where they are asked for."""
    zone: str = "Asia/Shanghai"


class PageConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the page is served, and where the district's Grafana is, which devices then link to.

    ``url`` is how browsers reach the page when that is not ``http://host:port``; https makes cookies ``Secure``.
    """

    host: str = "127.0.0.1"
    port: int = 8686
    url: str = ""
    boards: str = ""

    @property
    def address(self) -> str:
        """How browsers reach the page."""
        return self.url.rstrip("/") or f"http://{self.host}:{self.port}"


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
    audit: AuditConfig = AuditConfig()
    notify: NotifyConfig = NotifyConfig()
    heartbeat: HeartbeatConfig = HeartbeatConfig()
    linkage: LinkageConfig = LinkageConfig()
    incidents: Windows = Windows()
    places: PlacesConfig = PlacesConfig()
    cap: CapConfig = CapConfig()
    page: PageConfig = PageConfig()
    people: PeopleConfig = PeopleConfig()
    title: Text = Text("指挥中心", "Command centre")
    map: MapConfig = MapConfig()
    consumer: str = "center"

    @property
    def codes_key(self) -> Path:
        """The file of the key that the secrets of one-time codes are sealed with."""
        kind, _, file = self.desk.url.partition(":///")
        if self.people.codes_key is not None or not kind.startswith("sqlite") or file in {"", ":memory:"}:
            return self.people.codes_key or self.audit.key.with_name("codes.key")
        return Path(file.partition("?")[0]).with_suffix(".codes.key")


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
            hint="like sqlite+aiosqlite:///desk.db or postgresql+psycopg://user@host/desk",
        )  # fmt: skip
    if not 1 <= config.desk.positions <= 1000:
        raise ConfigError(
            path, "$.desk.positions", f"{config.desk.positions} is not between 1 and 1000",
            hint="how many people answer alarms at the same time",
        )  # fmt: skip
    _check_cap(path, config.cap)
    for key, url in (("boards", config.page.boards), ("url", config.page.url)):
        if url and not url.startswith(("https://", "http://")):
            raise ConfigError(
                path, f"$.page.{key}", f"'{url}' is no address", hint="like https://grafana.example"
            )
    if problem := config.people.problem():
        raise ConfigError(path, f"$.people.{problem[0]}", problem[1])
    if config.audit.every_s <= 0:
        raise ConfigError(
            path, "$.audit.every_s", f"{config.audit.every_s} is no time between two checkpoints"
        )
    for key, file in (("key", config.audit.key), ("checkpoints", config.audit.checkpoints)):
        if file is not None and not file.parent.is_dir():
            raise ConfigError(path, f"$.audit.{key}", f"there is no folder '{file.parent}'")
    told = policies.load(config.notify.file) if config.notify.file is not None else None
    _check_heartbeat(path, config.heartbeat, told)
    if config.linkage.file is not None:
        plans.check_told(config.linkage.file, plans.load(config.linkage.file), told)
    if config.places.file is not None:
        places.load(config.places.file)
    for key, value in msgspec.structs.asdict(config.incidents).items():
        if not 0 <= value <= 86_400:
            raise ConfigError(path, f"$.incidents.{key}", f"{value:g} is not between 0 and 86400")
    for key, file in (("streets", config.map.streets), ("pmtiles", config.map.pmtiles)):
        if file is not None and not file.is_file():
            raise ConfigError(path, f"$.map.{key}", f"there is no file '{file}'")
    return config


def _check_heartbeat(path: Path, beat: HeartbeatConfig, told: policies.Told | None) -> None:
    if not beat.by:
        return
    channels = list(told.setup.channels) if told else []
    if beat.by not in channels:
        raise ConfigError(
            path, "$.heartbeat.by", f"no channel '{beat.by}' in notify.yaml", hint=did_you_mean(beat.by, channels)
        )  # fmt: skip
    if not beat.to:
        raise ConfigError(
            path, "$.heartbeat.to", "where to?", hint="an address of that channel: a URL, a topic"
        )
    if not 10 <= beat.every_s <= 3600:
        raise ConfigError(path, "$.heartbeat.every_s", f"{beat.every_s:g} is not between 10 and 3600")


def _check_cap(path: Path, cap: CapConfig) -> None:
    try:
        document.name(cap.sender, "sender")
    except Refused as error:
        raise ConfigError(path, "$.cap.sender", str(error)) from None
    if cap.national and not (len(cap.national) == 14 and cap.national.isdigit()):
        raise ConfigError(
            path,
            "$.cap.national",
            f"'{cap.national}' is not 14 digits",
            hint="region 6, body 3, unit 3, 2 more",
        )
    for key, url in (("web", cap.web), ("url", cap.url)):
        if url and not url.startswith(("https://", "http://")):
            raise ConfigError(
                path, f"$.cap.{key}", f"'{url}' is no address", hint="like https://center.example"
            )
    try:
        ZoneInfo(cap.zone)
    except (ZoneInfoNotFoundError, ValueError):
        raise ConfigError(
            path, "$.cap.zone", f"no time zone '{cap.zone}'", hint="like Asia/Shanghai"
        ) from None
