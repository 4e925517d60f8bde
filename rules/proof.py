"""Runs a pack's own tests: series in, transitions out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from rules.engine import Engine
from rules.frame import Frame
from rules.state import State
from telemetry.quality import Quality
from telemetry.readings import DeviceId, MetricName, Reading

if TYPE_CHECKING:
    from collections.abc import Mapping

    from device_profiles.vocabulary import DeviceClass
    from rules.pack import PackTest, RulePack

_START_MS = 1_764_000_000_000
_DEVICE = DeviceId("device-under-test")


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
    rules = tuple(rule for rule in pack.rules if rule.id == test.rule)
    device_class = classes[pack.device_class]
    engine = Engine([msgspec.structs.replace(pack, rules=rules)], classes)
    metric = MetricName(rules[0].metric or next(iter(device_class.metrics)))
    state = engine.expect(State.empty(), {_DEVICE: pack.device_class}, _START_MS)
    found, now = list[tuple[float, str, str]](), _START_MS
    for seconds, value in test.series:
        time = _START_MS + round(seconds * 1000)
        now = max(now, time)
        quality = {metric: Quality.NO_ANSWER} if value is None else {}
        frame = Frame.of([Reading(_DEVICE, time, {metric: value}, quality)], device_class)
        state, ticked = engine.tick(state, now)
        state, judged = engine.evaluate(state, frame, now)
        found += [(seconds, t.change.value, t.severity.name.lower()) for t in (*ticked, *judged)]
    if test.until_s is not None:
        _, ticked = engine.tick(state, _START_MS + round(test.until_s * 1000))
        found += [(test.until_s, t.change.value, t.severity.name.lower()) for t in ticked]
    return found
