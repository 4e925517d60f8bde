"""What the rule tests share: one invented class, short ways to write rules and frames."""

from __future__ import annotations

from typing import Any

import msgspec

from device_profiles.vocabulary import DeviceClass, Kind, Metric
from rules.engine import Engine
from rules.frame import Frame
from rules.pack import Rule, RulePack
from telemetry.quality import Quality
from telemetry.readings import Reading
from telemetry.text import Text

T0 = 1_764_000_000_000
LABEL = Text("标签", "label")
BOILER = DeviceClass(
    "boiler",
    LABEL,
    {
        "heat": Metric("heat", "degC", Kind.GAUGE, -50, 500, LABEL),
        "door": Metric("door", "", Kind.STATE, 0, 1, LABEL, {0: LABEL, 1: LABEL}),
    },
)
CLASSES = {"boiler": BOILER}
HOT = {"id": "boiler.hot", "metric": "heat", "above": {"yellow": 70, "red": 90}, "clear": 60}
SLOW = {**HOT, "id": "boiler.slow", "for_s": 10}
STUCK = {
    "id": "boiler.stuck",
    "metric": "heat",
    "category": "fault",
    "stuck": {"after_s": 60, "within": 0.5, "severity": "yellow"},
}
SILENT = {"id": "boiler.no_data", "category": "fault", "no_data": {"after_s": 300, "severity": "blue"}}


def rule(**keys: Any) -> Rule:
    return msgspec.convert(
        {"title": {"zh": "热", "en": "hot"}, "category": "fire", "source": "test", **keys}, Rule
    )


def engine(*rules: dict[str, Any]) -> Engine:
    return Engine([RulePack("boiler", tuple(rule(**keys) for keys in rules), ())], CLASSES)


def reading(
    seconds: float, heat: float | None, device: str = "b1", quality: Quality = Quality.GOOD
) -> Reading:
    if heat is None and quality is Quality.GOOD:
        quality = Quality.NO_ANSWER
    return Reading(device, T0 + round(seconds * 1000), {"heat": heat}, {"heat": quality} if quality else {})


def frame(*rows: tuple[Any, ...]) -> Frame:
    return Frame.of([reading(*row) for row in rows], BOILER)


def told(transitions: list[Any]) -> list[tuple[str, str, float]]:
    """Change, severity and seconds since the start, the retrospective ones marked."""
    return [
        (("late " if t.retrospective else "") + t.change.value, t.severity.name.lower(), (t.time - T0) / 1000)
        for t in transitions
    ]
