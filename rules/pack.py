"""Rule packs: YAML files that say when a class of devices is in trouble, with tests of their own.

``packs/<class>.yaml`` holds the rules of one class.  ``docs/rules.md`` explains every key.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

from device_profiles.vocabulary import DeviceClass, Kind, load_classes
from telemetry.config import load_yaml
from telemetry.errors import ConfigError, did_you_mean
from telemetry.severity import Severity
from telemetry.text import Text
from telemetry.transitions import Category

FOLDER = Path(__file__).parent / "packs"
Colour = Literal["blue", "yellow", "orange", "red"]


class Stuck(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The value has not moved by more than ``within`` for ``after_s`` seconds."""

    after_s: float
    within: float
    severity: Colour


class NoData(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Not one good sample of the device for ``after_s`` seconds."""

    after_s: float
    severity: Colour


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One rule as it is written.  Exactly one of the conditions is given.

    ``above``, ``below`` and ``equals`` name a limit for each severity.  An alarm that stands ends when
    the value is back at ``clear``, which lies on the good side of the mildest limit; worse steps have the
    same distance.
    """

    id: str
    title: Text
    metric: str = ""
    category: Category = Category.WARNING
    above: dict[Colour, float] = {}
    below: dict[Colour, float] = {}
    equals: dict[Colour, float] = {}
    stuck: Stuck | None = None
    no_data: NoData | None = None
    for_s: float = 0.0
    clear: float | None = None
    edge: bool = False
    advice: Text | None = None
    source: str

    @property
    def limits(self) -> dict[Severity, float]:
        """Severity → limit, the mildest first; empty for conditions without a limit."""
        given = self.above or self.below or self.equals
        return {Severity.parse(colour): given[colour] for colour in sorted(given, key=Severity.parse)}

    @property
    def gap(self) -> float:
        """The distance between a limit and where it is left."""
        mildest = next(iter(self.limits.values()), 0.0)
        return 0.0 if self.clear is None else abs(mildest - self.clear)


class PackTest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A series of ``[seconds, value]`` and the transitions it must cause: ``[seconds, change, severity]``.

    A value of null is a sample that the device did not answer.  ``until_s`` lets time pass after the last.
    """

    name: str
    rule: str
    series: tuple[tuple[float, float | None], ...]
    expect: tuple[tuple[float, str, Colour], ...]
    until_s: float | None = None


class RulePack(msgspec.Struct, frozen=True):
    """The rules of one class."""

    device_class: str
    rules: tuple[Rule, ...]
    tests: tuple[PackTest, ...]


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    rules: tuple[Rule, ...]
    tests: tuple[PackTest, ...] = ()


def load_packs(paths: list[Path] | None = None) -> tuple[RulePack, ...]:
    """Read rule packs, the shipped ones by default; raise :class:`ConfigError`."""
    packs = tuple(load_pack(path) for path in (sorted(FOLDER.glob("*.yaml")) if paths is None else paths))
    seen: dict[str, str] = {}
    for pack in packs:
        for rule in pack.rules:
            if rule.id in seen:
                raise ConfigError(
                    f"{pack.device_class}.yaml", "$.rules", f"'{rule.id}' is also in {seen[rule.id]}"
                )
            seen[rule.id] = f"{pack.device_class}.yaml"
    return packs


def load_pack(path: Path) -> RulePack:
    """Read one pack; its name is the class.  Raises :class:`ConfigError`."""
    file, classes = load_yaml(path, _File), load_classes()
    if path.stem not in classes:
        raise ConfigError(
            path, "$", f"its name is no class: '{path.stem}'", hint=did_you_mean(path.stem, classes)
        )
    seen: set[str] = set()
    for index, rule in enumerate(file.rules):
        if rule.id in seen:
            raise ConfigError(path, f"$.rules[{index}].id", f"'{rule.id}' is given twice")
        seen.add(rule.id)
        _check(path, f"$.rules[{index}]", rule, classes[path.stem])
    for index, test in enumerate(file.tests):
        if test.rule not in seen:
            raise ConfigError(
                path, f"$.tests[{index}].rule", f"no rule '{test.rule}'", hint=did_you_mean(test.rule, seen)
            )
    return RulePack(path.stem, file.rules, file.tests)


def _check(path: Path, at: str, rule: Rule, device_class: DeviceClass) -> None:
    if not rule.id.startswith(f"{device_class.name}."):
        raise ConfigError(path, f"{at}.id", f"'{rule.id}'", hint=f"begin it with '{device_class.name}.'")
    conditions = [bool(c) for c in (rule.above, rule.below, rule.equals, rule.stuck, rule.no_data)]
    if sum(conditions) != 1:
        raise ConfigError(
            path,
            at,
            f"has {sum(conditions)} conditions",
            hint="give one of above, below, equals, stuck, no_data",
        )
    if rule.no_data is not None:
        if rule.metric:
            raise ConfigError(
                path, f"{at}.metric", "no_data is about the whole device", hint="remove 'metric'"
            )
        return
    metric = device_class.metrics.get(rule.metric)
    if metric is None:
        hint = did_you_mean(rule.metric, device_class.metrics)
        raise ConfigError(
            path, f"{at}.metric", f"class '{device_class.name}' has no '{rule.metric}'", hint=hint
        )
    if metric.kind is Kind.STATE and (rule.above or rule.below):
        raise ConfigError(path, at, f"'{rule.metric}' is a state", hint="compare it with 'equals'")
    limits = list(rule.limits.values())
    for limit in limits:
        if not metric.low <= limit <= metric.high:
            raise ConfigError(
                path, at, f"limit {limit:g} {metric.unit} is outside {metric.low:g} to {metric.high:g}",
                hint="such a sample is implausible and never judged",
            )  # fmt: skip
    if limits != sorted(limits, reverse=bool(rule.below)):
        raise ConfigError(
            path, at, "a worse severity has a milder limit", hint="let the limits move on with the severity"
        )
    if rule.clear is not None:
        if rule.equals or rule.stuck:
            raise ConfigError(
                path, f"{at}.clear", "has no meaning here", hint="only 'above' and 'below' have it"
            )
        if (rule.clear > limits[0]) if rule.above else (rule.clear < limits[0]):
            raise ConfigError(path, f"{at}.clear", f"{rule.clear:g} is on the bad side of {limits[0]:g}")
