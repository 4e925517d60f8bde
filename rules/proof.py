"""Runs a pack's own tests: series in, transitions out."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

import msgspec

from rules.engine import Engine
from rules.frame import Frame
from rules.language.binding import SCOPES
from rules.state import State
from rules.topology import Spot, Topology
from telemetry.quality import Quality
from telemetry.readings import DeviceId, MetricName, Reading

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from device_profiles.vocabulary import DeviceClass
    from rules.pack import PackTest, RulePack, Told

_START_MS = 1_764_000_000_000
_PERIOD_S = 10.0


class Failure(msgspec.Struct, frozen=True):
    """A test that did not come out as written."""

    test: str
    expected: list[tuple[float, str, str]]
    found: list[tuple[float, str, str]]


def prove(pack: RulePack, classes: Mapping[str, DeviceClass]) -> list[Failure]:
    """Run all tests of a pack, each with its own rule alone; return those that fail."""
    failures = []
    for test in pack.tests:
        found = _play(pack, test, classes)
        expected: list[tuple[float, str, str]] = [
            (float(t), change.value, severity) for t, change, severity in test.expect
        ]
        if found != expected:
            failures.append(Failure(f"{pack.device_class}: {test.name}", expected, found))
    return failures


def _play(pack: RulePack, test: PackTest, classes: Mapping[str, DeviceClass]) -> list[tuple[float, str, str]]:
    # Limits that are each device's own are tried as they are written.
    rules = tuple(
        msgspec.structs.replace(rule, per_device=False) for rule in pack.rules if rule.id == test.rule
    )
    start = _START_MS if test.start is None else _ms(test.start)
    others = {
        o for _, told in test.series if isinstance(told, dict) for m in told if (o := m.rpartition(".")[0])
    }
    devices = {test.device: pack.device_class, **{f"{name}-beside": name for name in sorted(others)}}
    topology = Topology(
        {name: Spot("agent-under-test", "", test.site, SCOPES[-1], _PERIOD_S) for name in devices}
    )
    engine = Engine([msgspec.structs.replace(pack, rules=rules, shadow=False)], classes, topology)
    state, now = engine.expect(State.empty(), devices, start), start
    found = list[tuple[float, str, str]]()
    for seconds, told in test.series:
        time = start + round(seconds * 1000)
        now = max(now, time)
        state, transitions = engine.tick(state, now)
        for name, reading in _readings(told, test, pack, classes, time):
            state, judged = engine.evaluate(state, Frame.of([reading], classes[name]), now)
            transitions += judged
        found += [(seconds, t.change.value, t.severity.name.lower()) for t in transitions]
    if test.until_s is not None:
        _, ticked = engine.tick(state, start + round(test.until_s * 1000))
        found += [(test.until_s, t.change.value, t.severity.name.lower()) for t in ticked]
    return found


def _readings(
    told: Told, test: PackTest, pack: RulePack, classes: Mapping[str, DeviceClass], time: int
) -> Iterator[tuple[str, Reading]]:
    """Return class and reading of each device that a line of the series tells of, the device itself last."""
    if not isinstance(told, dict):
        rule = next(rule for rule in pack.rules if rule.id == test.rule)
        named = rule.metric or next(iter(classes[pack.device_class].metrics))
        told = {named: told}
    by_class: dict[str, dict[MetricName, float | None]] = {}
    for name, value in told.items():
        other, _, metric = name.rpartition(".")
        by_class.setdefault(other, {})[MetricName(metric)] = value
    for other in sorted(by_class, reverse=True):  # '' is the device itself
        values = by_class[other]
        device = DeviceId(f"{other}-beside" if other else test.device)
        quality = {name: Quality.NO_ANSWER for name, value in values.items() if value is None}
        yield other or pack.device_class, Reading(device, time, values, quality)


def _ms(moment: dt.datetime) -> int:
    """Return UTC ms; a time without a zone is Beijing's."""
    beijing = dt.timezone(dt.timedelta(hours=8))
    return round((moment if moment.tzinfo else moment.replace(tzinfo=beijing)).timestamp() * 1000)
