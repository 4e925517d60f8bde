"""``places.yaml``: what the registry does not know — cameras, and which devices share a pole, a feeder or a cabinet."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from command_center.correlation import Place, metres
from telemetry.config import load_yaml
from telemetry.errors import ConfigError
from telemetry.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_NEAREST = 3


class Group(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Devices that stand or fall together."""

    id: str
    kind: Literal["pole", "charger", "feeder", "cabinet"]
    devices: tuple[str, ...]


class Camera(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A camera, WGS-84, and where its picture is to be seen; it covers ``within_m`` metres around it."""

    id: str
    name: Text
    lon: float
    lat: float
    url: str
    within_m: float = 150.0


class Places(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole file."""

    groups: tuple[Group, ...] = ()
    cameras: tuple[Camera, ...] = ()

    def groups_of(self, device: str) -> frozenset[str]:
        """Return the groups that a device belongs to, named by kind and id."""
        return frozenset(f"{group.kind} {group.id}" for group in self.groups if device in group.devices)

    def place(self, device: str, row: Mapping[str, Any]) -> Place:
        """Return where a device stands, given its row in the registry."""
        site, lon, lat = row.get("site") or "", row.get("lon"), row.get("lat")
        return Place(device, site, lon, lat, self.groups_of(device))

    def cameras_near(self, place: Place) -> list[dict[str, Any]]:
        """Return the cameras that cover a place, the nearest first, with their distance in metres."""
        found = []
        for camera in self.cameras:
            away = metres(place, Place(camera.id, "", camera.lon, camera.lat))
            if away is not None and away <= camera.within_m:
                told = {"id": camera.id, "name": camera.name, "url": camera.url}
                found.append({**told, "metres": round(away)})
        return sorted(found, key=lambda one: (one["metres"], one["id"]))[:_NEAREST]


def load(path: Path) -> Places:
    """Read and check ``places.yaml``; raise :class:`ConfigError`."""
    found = load_yaml(path, Places)
    _once(path, "groups", (f"{group.kind} {group.id}" for group in found.groups))
    _once(path, "cameras", (camera.id for camera in found.cameras))
    for n, camera in enumerate(found.cameras):
        at = f"$.cameras[{n}]"
        if not camera.url.startswith(("https://", "http://", "rtsp://")):
            raise ConfigError(
                path, f"{at}.url", f"'{camera.url}' is no address", hint="https://, http:// or rtsp://"
            )
        if not (-180 <= camera.lon <= 180 and -90 <= camera.lat <= 90):
            raise ConfigError(path, f"{at}.lon", f"{camera.lon}, {camera.lat} is nowhere on earth")
        if not 0 < camera.within_m <= 5000:
            raise ConfigError(path, f"{at}.within_m", f"{camera.within_m:g} is not between 0 and 5000 m")
    return found


def _once(path: Path, what: str, ids: Iterable[str]) -> None:
    seen: set[str] = set()
    for n, key in enumerate(ids):
        if key in seen:
            raise ConfigError(path, f"$.{what}[{n}].id", f"'{key}' is there twice")
        seen.add(key)
