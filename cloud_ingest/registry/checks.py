"""From rows to sites and devices: every mistake of every row, never only the first."""

from __future__ import annotations

import datetime as dt
import math
import re
import unicodedata
from collections import ChainMap
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cloud_ingest.registry.datum import DATUMS, in_china, to_wgs84
from cloud_ingest.registry.mistakes import Mistake, Words, nearest
from cloud_ingest.registry.model import Contents, Device, Site
from telemetry import topics
from telemetry.errors import Refused
from telemetry.text import Text

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from cloud_ingest.registry.model import Datum
    from cloud_ingest.registry.sheets import Kind, Sheet
    from device_profiles.profile import Profile

_LONGEST = 200
_NO_HINT = Text("", "")
_MOST_UNIT = 255
_DATE = re.compile(r"(\d{4})[-/.年](\d{1,2})[-/.月](\d{1,2})日?")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_MINUTES = re.compile("[°′″'\"度分秒]")


@dataclass(frozen=True)
class Ground:
    """What rows are checked against.

    ``bounds`` is the district's rectangle: west, south, east, north in WGS-84 degrees.  ``datum`` is meant where a row
    names none.
    """

    profiles: Mapping[str, Profile]
    known: Contents = field(default_factory=Contents)
    bounds: tuple[float, float, float, float] | None = None
    datum: Datum = "wgs84"


@dataclass
class Checked:
    """What is right, and what is not; by id, with the line that each stands on."""

    sites: dict[str, Site] = field(default_factory=dict)
    devices: dict[str, Device] = field(default_factory=dict)
    mistakes: list[Mistake] = field(default_factory=list)
    notes: list[Text] = field(default_factory=list)


def check(sheets: Sequence[Sheet], ground: Ground) -> Checked:
    """Check all rows of all sheets, those of sites first."""
    done = Checked()
    for sheet in sheets:
        done.notes += sheet.notes
        done.mistakes += sheet.mistakes
    for row in _rows(sheets, "sites", done, ground):
        _site(row, done)
    rows = list(_rows(sheets, "devices", done, ground))
    given = {row.get("device") for row in rows}
    held = _Held()
    for device in ground.known.devices.values():
        if device.id not in given and not device.retired_on:
            held.hold(device)
    for row in rows:
        _device(row, done, held)
    order = {sheet.file: place for place, sheet in enumerate(sheets)}
    done.mistakes.sort(key=lambda mistake: (order[mistake.file], mistake.line))
    return done


def _rows(sheets: Sequence[Sheet], kind: Kind, done: Checked, ground: Ground) -> Iterator[_Row]:
    lines: dict[str, int] = {}
    for sheet in sheets:
        if sheet.kind == kind:
            for number, cells in sheet.rows:
                yield _Row(sheet.file, number, cells, done.mistakes, ground, lines)


def _site(row: _Row, done: Checked) -> None:
    site = row.once("site")
    lon, lat = row.place()
    found = Site(
        site, row.name(), row.plain("street", Words.GIVE_STREET), lon, lat,
        row.plain("department", Words.GIVE_DEPARTMENT), row.plain("district"),
    )  # fmt: skip
    if site:
        done.sites[site] = found


def _device(row: _Row, done: Checked, held: _Held) -> None:
    ground = row.ground
    profile = ground.profiles.get(row.one_of("profile", ground.profiles, Words.NO_PROFILE))
    device = Device(
        id=row.once("device"),
        name=row.name(),
        device_class=profile.device_class if profile else "",
        profile=row.get("profile"),
        site=row.one_of("site", ChainMap(done.sites, ground.known.sites), Words.NO_SITE),
        agent=row.id("agent"),
        **dict(zip(("lon", "lat"), row.place(), strict=True)),
        owner=row.plain("owner", Words.GIVE_DEPARTMENT),
        period_s=profile.timing.period_s if profile else 0.0,
        serial_number=row.plain("serial_number"),
        installed_on=row.date("installed_on"),
        installed_by=row.plain("installed_by"),
        bus=row.plain("bus"),
        unit=row.unit(),
        retired_on=row.date("retired_on"),
    )
    if device.installed_on and device.retired_on and device.retired_on < device.installed_on:
        row.wrong("retired_on", Words.TOO_EARLY, Words.ONE_LATER)
    if not device.retired_on:
        for column, holder in held.hold(device):
            row.wrong(column, *Words.held(holder))
    if device.id:
        done.devices[device.id] = device


class _Held:
    """What only one device may have: its address on its agent's bus, and its maker's serial number."""

    def __init__(self) -> None:
        self._holders: dict[tuple[object, ...], str] = {}

    def hold(self, device: Device) -> Iterator[tuple[str, str]]:
        """Take what a device has; return the columns of what another has already, and who that is."""
        keys: list[tuple[str, tuple[object, ...]]] = []
        if device.unit is not None:
            keys.append(("unit", (device.agent, device.bus, device.unit)))
        if device.serial_number:
            keys.append(("serial_number", (device.profile, device.serial_number)))
        clashes = [(column, self._holders[key]) for column, key in keys if key in self._holders]
        self._holders.update((key, device.id) for _, key in keys)
        return iter(clashes)


@dataclass
class _Row:
    """One row, and where its mistakes go."""

    file: str
    line: int
    cells: Mapping[str, str]
    mistakes: list[Mistake]
    ground: Ground
    lines: dict[str, int]  # where each id stands

    def get(self, column: str) -> str:
        return self.cells.get(column, "")

    def wrong(self, column: str, problem: Text, hint: Text = _NO_HINT) -> None:
        self.mistakes.append(Mistake(self.file, self.line, column, self.get(column), problem, hint))

    def plain(self, column: str, missing: Text | None = None) -> str:
        """A text of at most a line; ``missing`` is the way out where it must not be empty."""
        value = self.get(column)
        if not value and missing is not None:
            self.wrong(column, Words.EMPTY, missing)
        elif _CONTROL.search(value):
            self.wrong(column, Words.CONTROL, Words.RETYPE)
        elif len(value) > _LONGEST:
            self.wrong(column, Words.TOO_LONG, Words.SHORTER)
        return value

    def name(self) -> Text:
        return Text(self.plain("name_zh", Words.GIVE_NAME), self.plain("name_en", Words.GIVE_NAME))

    def id(self, column: str) -> str:
        value = self.get(column)
        if not value:
            self.wrong(column, Words.EMPTY, Words.GIVE_ID)
            return value
        try:
            topics.level(value)
        except Refused:
            self.wrong(column, Words.NO_ID, Words.ID_CHARACTERS)
        return value

    def once(self, column: str) -> str:
        value = self.id(column)
        if value in self.lines:
            self.wrong(column, Words.TWICE, Words.unique(self.lines[value]))
        elif value:
            self.lines[value] = self.line
        return value

    def one_of(self, column: str, choices: Collection[str], problem: Text) -> str:
        value = self.get(column)
        if value not in choices:
            self.wrong(column, problem, nearest(value, choices))
        return value

    def date(self, column: str) -> str:
        value = self.get(column)
        if not value:
            return ""
        found = _DATE.fullmatch(value)
        try:
            return (
                dt.date(*(int(part) for part in found.groups())).isoformat()
                if found
                else self._no_date(column)
            )
        except ValueError:
            return self._no_date(column)

    def _no_date(self, column: str) -> str:
        self.wrong(column, Words.NO_DATE, Words.A_DATE)
        return ""

    def unit(self) -> int | None:
        value = self.get("unit")
        if not value:
            return None
        if not value.isdecimal() or int(value) > _MOST_UNIT:
            self.wrong("unit", Words.NO_UNIT, Words.A_UNIT)
            return None
        return int(value)

    def place(self) -> tuple[float, float]:
        """Longitude and latitude in WGS-84; (nan, nan) when they are wrong."""
        told = self.get("datum").lower().replace("-", "") or self.ground.datum
        datum = DATUMS.get(
            "wgs84" if told == "cgcs2000" else told
        )  # the national datum is WGS-84 to a decimetre
        if datum is None:
            self.wrong("datum", Words.NO_DATUM, nearest(told, DATUMS))
        lon, lat = self._degrees("lon", 180), self._degrees("lat", 90)
        if math.isnan(lon) or math.isnan(lat) or datum is None:
            return math.nan, math.nan
        if lon == lat == 0:
            self.wrong("lon", Words.NOWHERE, Words.NOT_HERE)
        elif not in_china(lon, lat) and in_china(lat, lon):
            self.wrong("lon", Text("不是经度", "is no longitude here"), Words.EXCHANGED)
        elif (bounds := self.ground.bounds) is not None:
            lon, lat = to_wgs84(lon, lat, datum)
            west, south, east, north = bounds
            for column, low, value, high in (("lon", west, lon, east), ("lat", south, lat, north)):
                if not low <= value <= high:
                    outside = Text(
                        f"在本区 {low:g} 到 {high:g} 之外", f"lies outside the district, {low:g} to {high:g}"
                    )
                    self.wrong(column, outside, Words.NOT_HERE)
            return lon, lat
        return to_wgs84(lon, lat, datum)

    def _degrees(self, column: str, most: float) -> float:
        value = self.get(column)
        if not value.isascii():  # full-width digits, as an input method gives them
            value = unicodedata.normalize("NFKC", value)
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            hint = Words.DECIMALS if _MINUTES.search(value) else Words.POINT if re.fullmatch(r"-?\d+,\d+", value) else Words.DEGREES  # fmt: skip
            self.wrong(column, Words.NO_NUMBER, hint)
            return math.nan
        if abs(number) > most:
            self.wrong(column, Text(f"不在 ±{most:g} 之内", f"is not within ±{most:g}"), Words.EXCHANGED)
            return math.nan
        return number
