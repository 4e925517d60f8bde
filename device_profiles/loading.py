"""Reads profiles and refuses, with file, field and way out, what cannot be right."""

from __future__ import annotations

from functools import cache
from itertools import combinations
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from device_profiles.profile import TEXTS, FrameField, Point, Profile, ProfileFile, Value
from device_profiles.units import UNITS, conversion
from device_profiles.vocabulary import DeviceClass, load_classes
from telemetry.config import load_yaml
from telemetry.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MOST_WRITTEN = 123  # registers in one request, MODBUS Application Protocol V1.1b3 §6.12
FOLDER = Path(__file__).parent / "catalogue"


def load_profile(path: Path) -> Profile:
    """Read one profile; its folder names the class.  Raises :class:`ConfigError`."""
    file = load_yaml(path, ProfileFile)
    classes = load_classes()
    if path.parent.name not in classes:
        name = path.parent.name
        raise ConfigError(path, "$", f"its folder names no class '{name}'", hint=did_you_mean(name, classes))
    fields = {name: getattr(file, name) for name in ProfileFile.__struct_fields__}
    profile = Profile(id=path.stem, device_class=path.parent.name, **fields)
    _check(path, profile, classes[profile.device_class])
    return profile


@cache
def load_catalogue() -> Mapping[str, Profile]:
    """Return all profiles by id; read once, not to be changed.  Raises :class:`ConfigError`."""
    found: dict[str, Profile] = {}
    for path in sorted(FOLDER.glob("*/*.yaml")):
        profile = load_profile(path)
        if profile.id in found:
            other = found[profile.id].device_class
            raise ConfigError(
                path, "$", f"'{profile.id}' is also in class '{other}'", hint="rename one of the files"
            )
        found[profile.id] = profile
    return MappingProxyType(found)


def _check(path: Path, profile: Profile, device_class: DeviceClass) -> None:
    if (profile.transport == "modbus") != bool(profile.points) or bool(profile.points) == (
        profile.frame is not None
    ):
        raise ConfigError(
            path,
            "$",
            f"a {profile.transport} profile has {'points' if profile.transport == 'modbus' else 'a frame'}",
        )
    seen: dict[str, str] = {}
    for at, value in _values(profile):
        _check_value(path, at, value, profile, device_class)
        if value.what in seen:
            raise ConfigError(
                path, at, f"'{value.what}' is given twice", hint=f"the other is {seen[value.what]}"
            )
        seen[value.what] = at
    _check_addresses(path, profile)
    _check_downlinks(path, profile, device_class)
    for name, command in profile.commands.items():
        for index, step in enumerate(command.steps):
            at = f"$.commands.{name}.steps[{index}]"
            if not 0 <= step.address <= 0xFFFF or not 0 <= step.value <= 0xFFFF:
                raise ConfigError(
                    path, at, f"writes {step.value} to {step.address}", hint="both are 0 to 65535"
                )
            for parameter in step.stride:
                if parameter not in profile.parameters:
                    hint = did_you_mean(parameter, profile.parameters)
                    raise ConfigError(path, f"{at}.stride", f"no parameter '{parameter}'", hint=hint)


def _check_downlinks(path: Path, profile: Profile, device_class: DeviceClass) -> None:
    for name, downlink in (profile.frame.downlinks if profile.frame else {}).items():
        at = f"$.frame.downlinks.{name}"
        size = len(bytes.fromhex(downlink.hex))
        for key, field in (("value", downlink.value), ("identity", downlink.identity)):
            if field is not None and (field.at is None or not 0 <= field.at <= size - field.size):
                raise ConfigError(path, f"{at}.{key}.at", f"does not lie within the {size} bytes of 'hex'")
        if downlink.value is None:
            continue
        if downlink.value.metric != name:
            raise ConfigError(path, f"{at}.value.metric", f"'{downlink.value.metric}' is not '{name}'")
        _check_metric(path, f"{at}.value", downlink.value, device_class)
        if name not in profile.metrics:
            raise ConfigError(path, at, "is set, but no frame reports it: nothing could be verified")
        if not device_class.metrics[name].writable:
            raise ConfigError(path, at, f"'{name}' is not writable in class '{device_class.name}'")


def _values(profile: Profile) -> Iterator[tuple[str, Value]]:
    place = "$.points" if profile.frame is None else "$.frame.fields"
    for index, value in enumerate(profile.values):
        yield f"{place}[{index}]", value


def _check_value(path: Path, at: str, value: Value, profile: Profile, device_class: DeviceClass) -> None:
    if sum(map(bool, (value.metric, value.attribute, value.name))) != 1:
        raise ConfigError(path, at, "needs exactly one of 'metric', 'attribute' and 'name'")
    if (value.type in TEXTS) != bool(value.length):
        raise ConfigError(
            path,
            f"{at}.length",
            f"type '{value.type}' with length {value.length}",
            hint="only texts have one",
        )
    if value.bits is not None and not 0 <= value.bits[0] <= value.bits[1] < value.size * 8:
        raise ConfigError(path, f"{at}.bits", f"{list(value.bits)} is no slice of {value.type}")
    if value.scale == 0:
        raise ConfigError(path, f"{at}.scale", "is 0, which would make every reading the same")
    helpers = {v.name for v in profile.values if v.name}
    for key, name in (
        ("decimals_from", value.decimals_from),
        ("unit_from", value.unit_from.point if value.unit_from else ""),
        ("valid_if", value.valid_if.point if value.valid_if else ""),
    ):
        if name and profile.frame is not None:
            raise ConfigError(
                path, f"{at}.{key}", "has no meaning in a frame", hint="only registers have helpers"
            )
        if name and name not in helpers:
            raise ConfigError(path, f"{at}.{key}", f"no helper '{name}'", hint=did_you_mean(name, helpers))
    if isinstance(value, Point):
        for name in value.stride:
            if name not in profile.parameters:
                raise ConfigError(
                    path,
                    f"{at}.stride",
                    f"no parameter '{name}'",
                    hint=did_you_mean(name, profile.parameters),
                )
        if (value.type == "bit") != value.space.is_bits:
            raise ConfigError(
                path,
                f"{at}.type",
                f"'{value.type}' in space '{value.space}'",
                hint="coils and discrete inputs are of type 'bit'",
            )
    elif isinstance(value, FrameField) and (value.at is None) == (not value.tag):
        raise ConfigError(path, at, "needs one of 'at' and 'tag'")
    if isinstance(value, Point) and value.attribute and value.write is not None:
        _check_text(path, at, value)
    if value.metric:
        _check_metric(path, at, value, device_class)


def _check_text(path: Path, at: str, point: Point) -> None:
    if point.type not in ("ascii", "gbk", "utf16") or point.space.is_bits:
        raise ConfigError(path, f"{at}.type", f"a text that is written is no '{point.type}'")
    if point.write is not None and (point.write.function_code != 16 or point.count > MOST_WRITTEN):
        raise ConfigError(
            path, f"{at}.write", f"a text is written by function 16, {MOST_WRITTEN} registers at most"
        )


def _check_metric(path: Path, at: str, value: Value, device_class: DeviceClass) -> None:
    metric = device_class.metrics.get(value.metric)
    if metric is None:
        hint = did_you_mean(value.metric, device_class.metrics)
        raise ConfigError(
            path, f"{at}.metric", f"class '{device_class.name}' has no '{value.metric}'", hint=hint
        )
    units = [value.unit] if value.unit is not None else []
    units += value.unit_from.units.values() if value.unit_from else []
    for unit in units:
        if unit not in UNITS:
            raise ConfigError(path, f"{at}.unit", f"no unit '{unit}'", hint=did_you_mean(unit, UNITS))
        try:
            conversion(unit, metric.unit)
        except ValueError as error:
            raise ConfigError(
                path, f"{at}.unit", str(error), hint=f"'{value.metric}' is in '{metric.unit}'"
            ) from None
    if metric.states and not value.codes and not set(metric.states) <= {0, 1}:
        raise ConfigError(
            path,
            f"{at}.codes",
            f"'{value.metric}' is a state",
            hint=f"map raw values to {sorted(metric.states)}",
        )
    for code in value.codes.values():
        if metric.states and code not in metric.states:
            raise ConfigError(
                path,
                f"{at}.codes",
                f"{code:g} is no state of '{value.metric}'",
                hint=f"use {sorted(metric.states)}",
            )
    if isinstance(value, Point) and value.write is not None and not metric.writable:
        raise ConfigError(
            path, f"{at}.write", f"'{value.metric}' is not writable in class '{device_class.name}'"
        )


def _check_addresses(path: Path, profile: Profile) -> None:
    placed = [(f"$.points[{i}]", p) for i, p in enumerate(profile.points)]
    for at, point in placed:
        if not 0 <= point.address <= 0xFFFF:
            raise ConfigError(
                path, f"{at}.address", f"{point.address} is no wire address", hint="0 to 65535, zero-based"
            )
        for first, last in profile.limits.forbidden:
            if any(first <= address <= last for address in point.addresses):
                raise ConfigError(
                    path, f"{at}.address", f"{point.address} lies in the forbidden {first} to {last}"
                )
    for (_, left), (at, right) in combinations(placed, 2):
        if (
            left.space is right.space
            and left.stride == right.stride
            and set(left.addresses) & set(right.addresses)
        ):
            if _shares_word(left) and _shares_word(right):
                continue
            raise ConfigError(
                path, f"{at}.address", f"{right.what} at {right.address} overlaps {left.what} at {left.address}",
                hint="give both 'bits', or mend the address",
            )  # fmt: skip


def _shares_word(point: Point) -> bool:
    return point.bits is not None or point.type in ("u8hi", "u8lo")
