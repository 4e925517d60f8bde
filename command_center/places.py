"""``places.yaml``: what the registry does not know — cameras, and which devices share a pole, a feeder or a cabinet.

:class:`Ground` is both together: where every device stands, and what stands near it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from command_center.correlation import Around, Place, metres
from telemetry.config import load_yaml
from telemetry.errors import ConfigError
from telemetry.text import Text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from command_center.correlation import Windows

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

    def cameras_near(self, place: Place) -> list[dict[str, Any]]:
        """Return the cameras that cover a place, the nearest first, with their distance in metres."""
        found = []
        for camera in self.cameras:
            away = metres(place, Place(camera.id, "", camera.lon, camera.lat))
            if away is not None and away <= camera.within_m:
                told = {"id": camera.id, "name": camera.name, "url": camera.url}
                found.append({**told, "metres": round(away)})
        return sorted(found, key=lambda one: (one["metres"], one["id"]))[:_NEAREST]


class Ground:
    """Where every device stands.

    :param devices: the registry's rows by id; another mapping whenever any of them has changed.
    """

    def __init__(
        self, places: Places, devices: Callable[[], Mapping[str, Mapping[str, Any]]], windows: Windows
    ) -> None:
        self._devices, self._windows = devices, windows
        self._groups: dict[str, frozenset[str]] = {}
        for group in places.groups:
            for device in group.devices:
                before = self._groups.get(device, frozenset())
                self._groups[device] = before | {f"{group.kind} {group.id}"}
        self._surveyed: tuple[Mapping[str, Mapping[str, Any]], Around[str]] | None = None

    def place(self, device: str) -> Place:
        """Return where a device stands; its groups are named by kind and id."""
        row, groups = self._devices().get(device, {}), self._groups.get(device, frozenset())
        return Place(device, row.get("site") or "", row.get("lon"), row.get("lat"), groups)

    def near(self, devices: Iterable[str]) -> set[str]:
        """Return these devices and all that an alarm of theirs may have a tie to, by their places alone."""
        rows = self._devices()
        if self._surveyed is None or self._surveyed[0] is not rows:
            self._surveyed = rows, Around(self._windows)
            for device in {*rows, *self._groups}:
                self._surveyed[1].put(device, self.place(device))
        found = set(devices)
        return found.union(*(self._surveyed[1].near(self.place(device)) for device in found))


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
