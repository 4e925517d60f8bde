"""What stands where: sites, agents, buses and devices of a simulated district."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec

from device_profiles.loading import load_catalogue
from telemetry.config import load_yaml
from telemetry.errors import ConfigError, did_you_mean
from telemetry.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterator

DEFAULT = Path(__file__).parent / "districts" / "yeji.yaml"
Kind = Literal["modbus_tcp", "modbus_rtu", "serial_frame", "nbiot_udp"]
_METRES_PER_DEGREE = 111_320
_TRANSPORTS = {
    "modbus_tcp": "modbus",
    "modbus_rtu": "modbus",
    "serial_frame": "serial_frame",
    "nbiot_udp": "nbiot_udp",
}


class Site(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A place, in WGS-84 degrees."""

    id: str
    name: Text
    street: str
    lon: float
    lat: float
    department: str


class Device(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A device; ``east_m`` and ``north_m`` are metres from its site."""

    id: str
    name: Text
    profile: str
    site: str
    unit: int | None = None
    identity: str = ""
    parameters: dict[str, int] = {}
    east_m: float = 0.0
    north_m: float = 0.0


class Bus(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A wire, or an air interface, behind an agent.

    ``period_s`` is how often each device is polled or reports; for NB-IoT it is compressed: real ones report
    every few hours.
    """

    id: str
    kind: Kind
    devices: tuple[Device, ...]
    period_s: float = 2.0
    baud: int = 9600


class Agent(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An edge agent and its buses."""

    id: str
    buses: tuple[Bus, ...]


class Street(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A line on the map: ``[lon, lat]`` points, WGS-84."""

    name: Text
    line: tuple[tuple[float, float], ...]
    main: bool = False


class District(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All of it."""

    name: Text
    sites: tuple[Site, ...]
    agents: tuple[Agent, ...]
    streets: tuple[Street, ...] = ()

    @property
    def buses(self) -> Iterator[Bus]:
        """All buses of all agents."""
        return (bus for agent in self.agents for bus in agent.buses)

    @property
    def devices(self) -> Iterator[Device]:
        """All devices of all buses."""
        return (device for bus in self.buses for device in bus.devices)

    def place(self, device: Device) -> tuple[float, float]:
        """Where a device stands: longitude and latitude, WGS-84."""
        site = next(site for site in self.sites if site.id == device.site)
        lat = site.lat + device.north_m / _METRES_PER_DEGREE
        lon = site.lon + device.east_m / (_METRES_PER_DEGREE * math.cos(math.radians(site.lat)))
        return round(lon, 6), round(lat, 6)


def load_district(path: Path | None = None) -> District:
    """Read a district; raise :class:`ConfigError` for what cannot stand there."""
    path = path or DEFAULT
    district = load_yaml(path, District)
    sites, seen = {site.id for site in district.sites}, set[str]()
    for a, agent in enumerate(district.agents):
        for b, bus in enumerate(agent.buses):
            for d, device in enumerate(bus.devices):
                _check(path, f"$.agents[{a}].buses[{b}].devices[{d}]", bus, device, sites)
                if device.id in seen:
                    raise ConfigError(
                        path, f"$.agents[{a}].buses[{b}].devices[{d}].id", f"'{device.id}' is given twice"
                    )
                seen.add(device.id)
    return district


def _check(path: Path, at: str, bus: Bus, device: Device, sites: set[str]) -> None:
    catalogue = load_catalogue()
    if device.site not in sites:
        raise ConfigError(
            path, f"{at}.site", f"no site '{device.site}'", hint=did_you_mean(device.site, sites)
        )
    if device.profile not in catalogue:
        raise ConfigError(
            path, f"{at}.profile", f"no '{device.profile}'", hint=did_you_mean(device.profile, catalogue)
        )
    if catalogue[device.profile].transport != _TRANSPORTS[bus.kind]:
        raise ConfigError(
            path, f"{at}.profile", f"'{device.profile}' cannot stand on a bus of kind '{bus.kind}'"
        )
    try:
        catalogue[device.profile].bind(device.parameters)
    except ValueError as error:
        raise ConfigError(path, f"{at}.parameters", str(error)) from None
