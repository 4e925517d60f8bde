"""The registry: which devices stand where, whose they are, and which agent may speak for them."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from device_profiles.loading import load_catalogue
from telemetry.errors import ConfigError, did_you_mean
from telemetry.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterator

_SITE_COLUMNS = ("site", "name_zh", "name_en", "street", "lon", "lat", "department")
_DEVICE_COLUMNS = ("device", "name_zh", "name_en", "profile", "agent", "site", "lon", "lat", "owner")


class Site(msgspec.Struct, frozen=True):
    """A place, in WGS-84 degrees."""

    id: str
    name: Text
    street: str
    lon: float
    lat: float
    department: str


class Device(msgspec.Struct, frozen=True, rename={"device_class": "class"}):
    """An installed device; ``period_s`` is how often its profile is usually read."""

    id: str
    name: Text
    device_class: str
    profile: str
    site: str
    agent: str
    lon: float
    lat: float
    owner: str
    period_s: float


class Registry(msgspec.Struct, frozen=True):
    """All of it, by id."""

    sites: dict[str, Site]
    devices: dict[str, Device]


def load_registry(devices: Path, sites: Path) -> Registry:
    """Read both CSV files; raise :class:`ConfigError` with file, line, column, value and way out."""
    found_sites: dict[str, Site] = {}
    for line, row in _rows(sites, _SITE_COLUMNS):
        _once(sites, line, "site", row["site"], found_sites)
        lon, lat = _place(sites, line, row)
        found_sites[row["site"]] = Site(
            row["site"], Text(row["name_zh"], row["name_en"]), row["street"], lon, lat, row["department"]
        )
    found: dict[str, Device] = {}
    catalogue = load_catalogue()
    for line, row in _rows(devices, _DEVICE_COLUMNS):
        _once(devices, line, "device", row["device"], found)
        if row["site"] not in found_sites:
            raise _error(
                devices, line, "site", row["site"], "is no site", did_you_mean(row["site"], found_sites)
            )
        if row["profile"] not in catalogue:
            raise _error(
                devices,
                line,
                "profile",
                row["profile"],
                "is no profile",
                did_you_mean(row["profile"], catalogue),
            )
        profile = catalogue[row["profile"]]
        lon, lat = _place(devices, line, row)
        found[row["device"]] = Device(
            row["device"], Text(row["name_zh"], row["name_en"]), profile.device_class, profile.id, row["site"],
            row["agent"], lon, lat, row["owner"], profile.timing.period_s,
        )  # fmt: skip
    return Registry(found_sites, found)


def _rows(path: Path, columns: tuple[str, ...]) -> Iterator[tuple[int, dict[str, str]]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(path, "$", f"cannot be read: {error}", hint="save it as CSV in UTF-8") from None
    reader = csv.DictReader(text.splitlines())
    missing = [column for column in columns if column not in (reader.fieldnames or ())]
    if missing:
        raise ConfigError(
            path, "line 1", f"no column '{missing[0]}'", hint=f"the columns are {', '.join(columns)}"
        )
    for row in reader:
        if None in row or None in row.values():
            raise ConfigError(path, f"line {reader.line_num}", "has not as many fields as line 1")
        yield reader.line_num, {key: value.strip() for key, value in row.items()}


def _once(path: Path, line: int, column: str, value: str, found: object) -> None:
    if not value:
        raise _error(path, line, column, value, "is empty", "give it an id")
    if value in found:  # type: ignore[operator]
        raise _error(path, line, column, value, "is given twice", "ids are unique")


def _place(path: Path, line: int, row: dict[str, str]) -> tuple[float, float]:
    numbers = []
    for column, most in (("lon", 180.0), ("lat", 90.0)):
        try:
            number = float(row[column])
        except ValueError:
            raise _error(
                path, line, column, row[column], "is no number", "WGS-84 degrees, like 115.9252"
            ) from None
        if not -most <= number <= most:
            raise _error(
                path, line, column, row[column], f"is not within ±{most:g}", "are lon and lat exchanged?"
            )
        numbers.append(number)
    return numbers[0], numbers[1]


def _error(path: Path, line: int, column: str, value: str, problem: str, hint: str) -> ConfigError:
    return ConfigError(path, f"line {line}, column {column}", f"'{value}' {problem}", hint=hint)
