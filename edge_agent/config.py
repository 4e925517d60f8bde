"""``edge.toml``: what one agent reads, where it keeps it and whom it tells."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import msgspec

from device_profiles.loading import load_catalogue
from device_profiles.profile import Profile
from edge_agent.checks import (
    Mistakes,
    check_broker,
    check_link,
    check_name,
    check_outbox,
    check_ports_once,
    check_timeout,
)
from edge_agent.driver import Device, DriverModule
from edge_agent.identity import serial_point
from edge_agent.linkage import Linkage, Terms, check_linkage
from edge_agent.local import StatusConfig, default_socket
from edge_agent.orders import CommandsConfig
from edge_agent.report import ReportRule, check_rules
from edge_agent.schedule import Line, check_fit
from edge_agent.way import UplinkEntry, Way, look_up
from telemetry import plugins, topics
from telemetry.broker import BrokerConfig
from telemetry.config import convert, load_toml, parse_toml
from telemetry.errors import ConfigError, Refused, did_you_mean

_SHORTEST_S, _LONGEST_S = 0.05, 86_400
_USUAL_S = 5.0
_OWN_ADDRESS = "each device has an address of its own"


class OutboxConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where readings are kept until the cloud has them."""

    path: Path
    max_bytes: int = 256 * 1024 * 1024
    keep_free_bytes: int = 64 * 1024 * 1024  # of the disk, for everything else that lives on it


class DeviceEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``[[buses.devices]]``."""

    id: str
    profile: str
    unit: int | None = None
    identity: str = ""
    parameters: dict[str, int] = {}
    period_s: float | None = None  # instead of the bus's
    periods_s: dict[str, float] = {}  # metric or text → how often it is wanted
    site: str = ""  # where it stands, as in the registry: for overrides of a site


class BusEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``[[buses]]``."""

    id: str
    driver: str
    link: dict[str, Any]
    devices: tuple[DeviceEntry, ...]
    period_s: float | None = None  # 5 s, or for devices that wake by themselves their own
    timeout_s: float | None = None  # instead of the profiles' own


class JudgementConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``[judgement]``: whether edge rules are judged here; without it a linkage has nothing to answer.

    Packs of the district's own take the place of the shipped ones: those of the folder ``packs``, ``<class>.yaml``, and
    before them the texts of ``inline``, class → YAML, which a configuration from afar brings along.
    """

    local: bool = True
    packs: Path | None = None
    inline: dict[str, str] = {}


class AgentFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole file."""

    agent: str
    area: str
    outbox: OutboxConfig
    buses: tuple[BusEntry, ...]
    broker: BrokerConfig | None = None
    uplink: UplinkEntry = UplinkEntry()
    report: tuple[ReportRule, ...] = ()
    status: StatusConfig = StatusConfig()
    commands: CommandsConfig = CommandsConfig()
    linkage: tuple[Linkage, ...] = ()
    judgement: JudgementConfig = JudgementConfig()


class Bus(msgspec.Struct, frozen=True):
    """A bus with everything looked up."""

    id: str
    module: Any  # a DriverModule
    link: Any  # the module's Config
    period_s: float
    devices: tuple[Device, ...]
    phase: float = 0.0  # share of a period by which it starts behind the first bus


class AgentConfig(msgspec.Struct, frozen=True):
    """A checked configuration."""

    agent: str
    area: str
    broker: BrokerConfig | None
    outbox: OutboxConfig
    buses: tuple[Bus, ...]
    uplink: Way
    report: tuple[ReportRule, ...]
    socket: Path  # where the running agent answers about itself
    commands: CommandsConfig = CommandsConfig()
    linkage: tuple[Linkage, ...] = ()
    judgement: JudgementConfig = JudgementConfig()
    path: Path = Path("edge.toml")  # where it stands


def load_config(path: Path, text: str | None = None) -> AgentConfig:
    """Read and check ``edge.toml``; raise :class:`ConfigError` with file, field, value and way out.

    With ``text``, check that instead of what the file holds, as if it stood there.
    """
    file = load_toml(path, AgentFile) if text is None else parse_toml(text, AgentFile, path)
    mistakes = Mistakes()
    for key, name in (("agent", file.agent), ("area", file.area)):
        try:
            topics.level(name, what=key)
        except Refused as error:
            mistakes.note(ConfigError(path, f"$.{key}", str(error)))
    seen: dict[str, str] = {}
    buses: list[Bus] = []
    for index, entry in enumerate(file.buses):
        at = f"$.buses[{index}]"
        with mistakes:
            _once(path, f"{at}.id", f"bus {entry.id}", seen)
        with mistakes:
            buses.append(_bus(path, at, entry, seen))
    with mistakes:
        check_outbox(path, file.outbox)
    with mistakes:
        check_broker(path, file.broker)
    with mistakes:
        way = look_up(path, file.uplink, file.broker)
    mistakes.tell()
    buses = [msgspec.structs.replace(bus, phase=place / len(buses)) for place, bus in enumerate(buses)]
    links = [(f"$.buses[{place}].link", bus.link) for place, bus in enumerate(buses)]
    check_ports_once(path, [*links, ("$.uplink.link", way.link)])
    check_rules(path, file.report, [device.profile for bus in buses for device in bus.devices])
    if file.linkage and not file.judgement.local:
        raise ConfigError(
            path, "$.judgement.local", "is false, so no [[linkage]] could ever act", hint="remove one"
        )
    devices = {device.id: device for bus in buses for device in bus.devices}
    _check_packs(path, file.judgement, {device.profile.device_class for device in devices.values()})
    check_linkage(path, file.linkage, devices, Terms(file.commands, file.judgement))
    socket = file.status.socket or default_socket(file.outbox.path)
    return AgentConfig(
        file.agent, file.area, file.broker, file.outbox, tuple(buses), way, file.report, socket,
        file.commands, file.linkage, file.judgement, path,
    )  # fmt: skip


def _check_packs(path: Path, judgement: JudgementConfig, classes: set[str]) -> None:
    for name in judgement.inline:
        if name not in classes:
            hint = did_you_mean(name, classes)
            raise ConfigError(
                path, f"$.judgement.inline.{name}", "no device here is of this class", hint=hint
            )
    if judgement.packs is not None or judgement.inline:
        from edge_agent.judgement import edge_rules  # noqa: PLC0415 - numpy is loaded where rules are judged

        edge_rules(classes, judgement, path)


def _bus(path: Path, at: str, entry: BusEntry, seen: dict[str, str]) -> Bus:
    try:
        module = cast("DriverModule", cast("Any", plugins.load("edge_agent.drivers", entry.driver)))
    except Refused as error:
        raise ConfigError(path, f"{at}.driver", str(error).partition(": ")[2]) from None
    period_s = _USUAL_S if entry.period_s is None else entry.period_s
    if not _SHORTEST_S <= period_s <= _LONGEST_S:
        raise ConfigError(
            path, f"{at}.period_s", f"{period_s:g} s is not within {_SHORTEST_S} and {_LONGEST_S}"
        )
    check_name(path, f"{at}.id", entry.id)
    check_timeout(path, at, entry)
    link = convert(entry.link, module.Config, file=path, at=f"{at}.link")
    check_link(path, f"{at}.link", link)
    if not entry.devices:
        raise ConfigError(
            path, f"{at}.devices", "a bus without devices", hint="add [[buses.devices]], or remove the bus"
        )
    if module.TRANSPORT == "serial_frame" and len(entry.devices) > 1:
        raise ConfigError(
            path, f"{at}.devices", "a streaming sensor has the line to itself", hint="give each its own bus"
        )
    devices, mistakes = list[Device](), Mistakes()
    units: dict[object, str] = {}
    for index, item in enumerate(entry.devices):
        here = f"{at}.devices[{index}]"
        with mistakes:
            check_name(path, f"{here}.id", item.id)
            _once(path, f"{here}.id", f"device {item.id}", seen)
        with mistakes:
            device = _device(path, here, item, entry, module.TRANSPORT)
            devices.append(device)
            key = (device.unit, tuple(sorted(item.parameters.items()))) if device.unit else device.identity
            if key in units and module.TRANSPORT != "serial_frame":
                raise ConfigError(
                    path, here, f"{_address(device, item)} is taken by '{units[key]}'", hint=_OWN_ADDRESS
                )
            units[key] = item.id
    mistakes.tell()
    if hasattr(link, "baud") and module.TRANSPORT == "modbus":
        check_fit(path, at, devices, period_s, Line(link.baud, link.format))
    return Bus(entry.id, module, link, period_s, tuple(devices))


def _address(device: Device, item: DeviceEntry) -> str:
    """Return by what a device is told from the others of its bus."""
    if not device.unit:
        return f"identity '{device.identity}'"
    return f"unit {device.unit}" + "".join(
        f", {name} {value}" for name, value in sorted(item.parameters.items())
    )


def _device(path: Path, at: str, item: DeviceEntry, bus: BusEntry, transport: str) -> Device:
    catalogue = load_catalogue()
    if item.profile not in catalogue:
        raise ConfigError(
            path, f"{at}.profile", f"no '{item.profile}'", hint=did_you_mean(item.profile, catalogue)
        )
    profile = catalogue[item.profile]
    if profile.transport != transport:
        raise ConfigError(
            path,
            f"{at}.profile",
            f"'{item.profile}' is for {profile.transport}, driver '{bus.driver}' serves {transport}",
        )
    if transport == "nbiot_udp" and not item.identity:
        raise ConfigError(
            path, at, "needs 'identity'", hint="the IMEI or serial number that its datagrams carry"
        )
    if transport == "modbus" and item.identity and serial_point(profile) is None:
        raise ConfigError(
            path,
            f"{at}.identity",
            f"'{item.profile}' has no serial number to check it by",
            hint="leave it out",
        )
    _check_periods(path, at, item, profile)
    # a device that wakes by itself has a period of its own, unless the site says otherwise
    own_s = profile.timing.period_s if transport == "nbiot_udp" and bus.period_s is None else 0.0
    unit = profile.unit_id if item.unit is None else item.unit
    if transport == "modbus" and (unit is None or not 0 <= unit <= 255):
        raise ConfigError(
            path,
            f"{at}.unit",
            f"{unit} is no unit id",
            hint="1 to 247; 0, 250 and 255 only where the device says so",
        )
    try:
        profile = profile.bind(item.parameters)
    except ValueError as error:
        raise ConfigError(path, f"{at}.parameters", str(error)) from None
    return Device(
        item.id, profile, unit or 0, bus.timeout_s or profile.timing.timeout_s, item.identity,
        item.period_s or own_s, item.periods_s, item.site,
    )  # fmt: skip


def _check_periods(path: Path, at: str, item: DeviceEntry, profile: Profile) -> None:
    given = {"period_s": item.period_s} if item.period_s is not None else {}
    given |= {f"periods_s.{name}": period for name, period in item.periods_s.items()}
    for key, period in given.items():
        if not _SHORTEST_S <= period <= _LONGEST_S:
            raise ConfigError(
                path, f"{at}.{key}", f"{period:g} s is not within {_SHORTEST_S} and {_LONGEST_S}"
            )
    known = {value.what for value in profile.values if not value.name}
    for name in item.periods_s:
        if name not in known:
            raise ConfigError(
                path,
                f"{at}.periods_s.{name}",
                f"'{item.profile}' says no such thing",
                hint=did_you_mean(name, known),
            )


def _once(path: Path, at: str, name: str, seen: dict[str, str]) -> None:
    if name in seen:
        raise ConfigError(path, at, f"{name} is given twice", hint=f"the other is {seen[name]}")
    seen[name] = at
