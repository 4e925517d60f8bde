"""Device classes: the canonical metrics that rules, boards and screens are written for.

One file a class, ``classes/<class>.yaml``; the order of its metrics is the order of the columns in the
cloud.  A metric's unit and kind never change: a new meaning is a new metric.
"""

from __future__ import annotations

from enum import StrEnum
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated

import msgspec

from device_profiles.units import UNITS
from telemetry.config import load_yaml
from telemetry.errors import ConfigError, did_you_mean
from telemetry.text import Text

if TYPE_CHECKING:
    from collections.abc import Mapping

FOLDER = Path(__file__).parent / "classes"
PLATFORM = Path(__file__).parent / "platform"


class Kind(StrEnum):
    """How a metric behaves over time."""

    GAUGE = "gauge"  # goes up and down
    COUNTER = "counter"  # only rises, but for resets
    STATE = "state"  # one of a list of named codes
    BITS = "bits"  # a word of independent flags


class Metric(msgspec.Struct, frozen=True):
    """One column of a class.

    ``low`` and ``high`` bound what is physically plausible, in ``unit``; outside, a sample is kept
    but not judged.  ``states`` names the codes of a state, ``bits`` the flags from bit 0.  ``max_rate`` (units a
    second) is faster than the thing itself can change, ``rests_s`` longer than a working sensor ever shows the same
    value; 0 where there is no such bound, and always where a rule looks for just that.
    """

    name: str
    unit: str
    kind: Kind
    low: float
    high: float
    label: Text
    states: dict[int, Text] = {}
    bits: dict[int, Text] = {}
    writable: bool = False
    max_rate: float = 0.0
    rests_s: float = 0.0


class DeviceClass(msgspec.Struct, frozen=True):
    """A kind of device, whoever makes it."""

    name: str
    label: Text
    metrics: dict[str, Metric]


class _MetricEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    label: Text
    unit: str = ""
    kind: Kind = Kind.GAUGE
    low: float | None = None
    high: float | None = None
    states: dict[int, Text] = {}
    bits: dict[int, Text] = {}
    writable: bool = False
    max_rate: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    rests_s: Annotated[float, msgspec.Meta(ge=0)] = 0.0


class _ClassFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    label: Text
    metrics: dict[str, _MetricEntry]


def load_class(path: Path) -> DeviceClass:
    """Read one class file; raise :class:`ConfigError`."""
    entry = load_yaml(path, _ClassFile)
    metrics = {name: _metric(path, name, metric) for name, metric in entry.metrics.items()}
    return DeviceClass(path.stem, entry.label, metrics)


@cache
def load_classes() -> Mapping[str, DeviceClass]:
    """Return all classes by name; read once, not to be changed."""
    return MappingProxyType({path.stem: load_class(path) for path in sorted(FOLDER.glob("*.yaml"))})


@cache
def load_platform() -> Mapping[str, DeviceClass]:
    """Return what the platform measures of itself, a class for each of its programs.

    They are judged as devices are; no profile, board or table of the store is made of them.
    """
    return MappingProxyType({path.stem: load_class(path) for path in sorted(PLATFORM.glob("*.yaml"))})


def _metric(path: Path, name: str, entry: _MetricEntry) -> Metric:
    at = f"$.metrics.{name}"
    if not name.isidentifier() or name != name.lower():
        raise ConfigError(path, at, "a metric's name is lower case letters, digits and '_'")
    if entry.unit not in UNITS:
        raise ConfigError(path, f"{at}.unit", f"no unit '{entry.unit}'", hint=did_you_mean(entry.unit, UNITS))
    low, high = entry.low, entry.high
    if entry.kind is Kind.STATE:
        if not entry.states:
            raise ConfigError(
                path, at, "a state needs 'states'", hint="name its codes: states: {0: {zh: …, en: …}}"
            )
        low, high = min(entry.states), max(entry.states)
    elif entry.kind is Kind.BITS:
        low, high = 0, 2 ** (max(entry.bits, default=15) + 1) - 1
    if low is None or high is None:
        raise ConfigError(path, at, "a gauge or counter needs 'low' and 'high', the plausible range")
    if low >= high and entry.kind in (Kind.GAUGE, Kind.COUNTER):
        raise ConfigError(path, at, f"low {low:g} is not below high {high:g}")
    if entry.kind is not Kind.GAUGE and (entry.max_rate or entry.rests_s):
        raise ConfigError(path, at, f"'max_rate' and 'rests_s' are for gauges, this is a {entry.kind}")
    return Metric(
        name, entry.unit, entry.kind, low, high, entry.label, entry.states, entry.bits, entry.writable,
        entry.max_rate, entry.rests_s,
    )  # fmt: skip
