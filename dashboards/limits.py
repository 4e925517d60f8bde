"""Thresholds as rule packs set them, in the form in which a chart is coloured."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from telemetry.severity import Severity

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from rules.pack import Rule

_PASSES: dict[str, Callable[[float, float], bool]] = {
    "above": lambda value, limit: value > limit,
    "at_least": lambda value, limit: value >= limit,
    "below": lambda value, limit: value < limit,
    "at_most": lambda value, limit: value <= limit,
}
SIGNS = {"above": ">", "at_least": ">=", "below": "<", "at_most": "<=", "equals": "="}
"""How InfluxQL writes that a value has passed a limit."""
COLOURS = {
    Severity.BLUE: "#3274D9",
    Severity.YELLOW: "#E0B400",
    Severity.ORANGE: "#FF780A",
    Severity.RED: "#E02F44",
}
CALM = "#6B7C85"
"""Colour is for what is not normal (ISA-101): whatever passes no limit is grey."""


class Step(NamedTuple):
    """From ``start`` on (None: from the bottom) a value is as bad as ``severity``, None being no trouble."""

    start: float | None
    severity: Severity | None

    @property
    def colour(self) -> str:
        """The colour of this step."""
        return CALM if self.severity is None else COLOURS[self.severity]


def limited(rules: Iterable[Rule], metric: str) -> list[Rule]:
    """Return the rules that judge one value of ``metric`` by itself against fixed limits.

    A rule that judges otherwise (no data, stuck, anomaly, an expression) has no line to draw.
    """
    return [rule for rule in rules if rule.metric == metric and rule.way and rule.limits]


def steps(rules: Iterable[Rule], metric: str) -> list[Step]:
    """Return the steps that all rules together cut a metric's range into; one step where there is no limit."""
    limits = [
        (rule.way, limit, severity)
        for rule in limited(rules, metric)
        if rule.way in _PASSES
        for severity, limit in rule.limits.items()
    ]
    edges = sorted({limit for _, limit, _ in limits})
    found: list[Step] = []
    for low, high in zip([-math.inf, *edges], [*edges, math.inf], strict=True):
        inside = _between(low, high)
        worst = max(
            (severity for way, limit, severity in limits if _PASSES[way](inside, limit)), default=None
        )
        if not found or found[-1].severity is not worst:
            found.append(Step(None if math.isinf(low) else low, worst))
    return found


def code_severities(rules: Iterable[Rule], metric: str) -> dict[int, Severity]:
    """Return how bad the codes of a state are, as far as rules say ``equals``."""
    bad: dict[int, Severity] = {}
    for rule in limited(rules, metric):
        if rule.way == "equals":
            for severity, code in rule.limits.items():
                bad[int(code)] = max(severity, bad.get(int(code), severity))
    return bad


def _between(low: float, high: float) -> float:
    if math.isinf(low):
        return 0.0 if math.isinf(high) else high - 1.0 - abs(high)
    return low + 1.0 + abs(low) if math.isinf(high) else (low + high) / 2
