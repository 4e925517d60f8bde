"""A rule as the engine runs it: its texts bound to the class, its overrides beside it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from rules.conditions import condition_of, lasting_of
from rules.language.binding import Bound, bind_predicate, bind_term
from rules.language.measure import BARE
from rules.language.terms import Constant
from rules.language.tokens import LanguageError
from rules.reader import Reader
from rules.whens import Claim, Never, Varied, Whens
from telemetry.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from device_profiles.vocabulary import DeviceClass
    from rules.calendar import Schedule
    from rules.conditions import Condition
    from rules.language.terms import Predicate, Term
    from rules.pack import Rule
    from rules.state import Column
    from rules.written import Written


@dataclass(frozen=True)
class Compiled:
    """How a rule reads the rows, and by what it judges them."""

    reader: Reader
    condition: Condition
    metric: str  # what it tells of
    unit: str
    schedule: Schedule | None
    devices: Mapping[str, int]  # → variant of the condition
    sites: Mapping[str, int]

    @property
    def columns(self) -> Mapping[str, Column]:
        """What is remembered for each device."""
        return {**self.reader.columns, **self.condition.columns}

    @property
    def basis(self) -> str:
        """All that a memory is good for: the same numbers, the same claims, the same condition."""
        reader = self.reader
        return f"{reader.value!r} {reader.facts!r} {self.condition.basis} {self.schedule!r}"


@dataclass
class _Texts:
    """Binds the texts of one rule and gives each predicate a number."""

    device_class: DeviceClass
    classes: Mapping[str, DeviceClass]
    fresh_ms: int
    written: Written | None
    bound: Bound = field(default_factory=Bound)
    facts: list[Predicate] = field(default_factory=list)

    def fact(self, text: str, at: str) -> int:
        try:
            self.facts.append(
                bind_predicate(text, self.device_class, self.classes, self.bound, self.fresh_ms)
            )
        except LanguageError as error:
            raise self.fault(text, at, error) from None
        return len(self.facts) - 1

    def term(self, text: str, at: str) -> Term:
        try:
            return bind_term(text, self.device_class, self.classes, self.bound, self.fresh_ms)
        except LanguageError as error:
            raise self.fault(text, at, error) from None

    def fault(self, text: str, at: str, error: LanguageError) -> Exception:
        if self.written is None:
            return ConfigError(self.device_class.name, at, error.problem, hint=error.hint)
        return self.written.below(at).fault(text, error)


def compile_rule(
    rule: Rule, device_class: DeviceClass, classes: Mapping[str, DeviceClass], written: Written | None = None
) -> Compiled | None:
    """Return a rule as the engine runs it, None for ``no_data`` and ``anomaly``; raise :class:`ConfigError` for its texts.

    ``written`` tells where the rule stands, for the error.
    """
    if rule.no_data is not None or rule.anomaly is not None:
        return None
    texts = _Texts(device_class, classes, round(rule.fresh_s * 1000), written)
    value: Term | None = None
    if rule.value or rule.metric:
        value = texts.term(rule.value or rule.metric, ".value" if rule.value else ".metric")
    variants: list[Condition] = []
    for n, variant in enumerate(rule.variants):
        at = f".overrides[{n - 1}]" if n else ""
        off = rule.overrides[n - 1].exempt if n else rule.per_device
        variants.append(Never() if off else _condition(variant, texts, at))
    if not texts.bound.metrics:
        where = ".value" if rule.value else ".when"
        shown = rule.value or next(iter(rule.claims.values()))
        raise texts.fault(
            shown, where, LanguageError("asks for no metric of the device itself", 0, len(shown))
        )
    metric = rule.metric or texts.bound.metrics[0]
    if value is None:
        value = texts.term(metric, ".when") if metric in device_class.metrics else Constant(np.nan, BARE)
    places = {name: place for place, name in enumerate(device_class.metrics)}
    reader = Reader(value, tuple(texts.facts), texts.bound, places, texts.fresh_ms)
    return Compiled(
        reader,
        variants[0] if len(variants) == 1 else Varied(tuple(variants)),
        metric,
        str(value.measure) if rule.value else device_class.metrics[metric].unit,
        rule.schedule,
        {override.device: n + 1 for n, override in enumerate(rule.overrides) if override.device},
        {override.site: n + 1 for n, override in enumerate(rule.overrides) if override.site},
    )


def _condition(rule: Rule, texts: _Texts, at: str) -> Condition:
    if not rule.when:
        found = condition_of(rule)
        assert found is not None
        return found
    one = isinstance(rule.when, str)
    claims = tuple(
        Claim(severity, texts.fact(text, f"{at}.when" + ("" if one else f".{severity.name.lower()}")), text)
        for severity, text in rule.claims.items()
    )
    clear = texts.fact(rule.clear_when, f"{at}.clear_when") if rule.clear_when else None
    return Whens(claims, clear, rule.clear_when, lasting_of(rule))
