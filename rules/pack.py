"""Rule packs: YAML files that say when a class of devices is in trouble, with tests of their own.

``packs/<class>.yaml`` holds the rules of one class.  ``docs/rules.md`` explains every key.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec

from device_profiles.vocabulary import load_classes
from rules.checks import check_rule
from telemetry.config import load_yaml
from telemetry.errors import ConfigError, did_you_mean
from telemetry.severity import Severity
from telemetry.text import Text
from telemetry.transitions import Category, Change

if TYPE_CHECKING:
    from collections.abc import Sequence

FOLDER = Path(__file__).parent / "packs"
WAYS = ("above", "at_least", "below", "at_most", "equals")
"""How a value can pass a limit."""
CONDITIONS = (*WAYS, "stuck", "no_data", "anomaly")
Colour = Literal["blue", "yellow", "orange", "red"]
Seconds = Annotated[float, msgspec.Meta(ge=0)]
Span = Annotated[float, msgspec.Meta(gt=0)]
Steps = dict[str, float]  # colour → limit; checked in rules.checks, which knows the nearest


class Stuck(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The value has not moved by more than ``within``, in the metric's unit, for ``after_s`` seconds."""

    after_s: Span
    within: Annotated[float, msgspec.Meta(ge=0)]
    severity: Colour


class NoData(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Not one value of the device for ``after_s`` seconds."""

    after_s: Span
    severity: Colour


class Anomaly(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the metric has taught its detectors to expect no longer holds.

    ``detectors`` names some of ``rules/detectors``, all that fit where it is empty.  ``budget_per_day`` is how
    many alarms a day the rule may raise for all devices of the class together: the one knob of sensitivity.
    """

    detectors: tuple[str, ...] = ()
    severity: Colour = "blue"
    budget_per_day: Span = 1.0


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One rule as it is written.  Exactly one of :data:`CONDITIONS` is given.

    ``above``, ``at_least``, ``below``, ``at_most`` and ``equals`` name a limit for each severity, in the
    metric's unit.  The value must have passed it for ``for_s`` seconds of the device's own time, of which each
    sample accounts for ``gap_s`` at most (two thirds of ``for_s`` where it is not given).  An alarm that stands ends
    when the value is back at ``clear``, which lies on the good side of the mildest limit; worse steps are left
    at the same distance.
    """

    id: str
    title: Text
    category: Category
    source: Annotated[str, msgspec.Meta(min_length=3)]
    metric: str = ""
    unit: str | None = None
    above: Steps = {}
    at_least: Steps = {}
    below: Steps = {}
    at_most: Steps = {}
    equals: Steps = {}
    stuck: Stuck | None = None
    no_data: NoData | None = None
    anomaly: Anomaly | None = None
    for_s: Seconds = 0.0
    gap_s: Span | None = None
    clear: float | None = None
    edge: bool = False
    advice: Text | None = None

    @property
    def conditions(self) -> tuple[str, ...]:
        """The names of the conditions that are given."""
        return tuple(name for name in CONDITIONS if getattr(self, name))

    @property
    def way(self) -> str:
        """How a value passes a limit; empty for a condition without limits."""
        return next((name for name in self.conditions if name in WAYS), "")

    @property
    def limits(self) -> dict[Severity, float]:
        """Severity → limit, the mildest first; empty for conditions without a limit."""
        given: Steps = getattr(self, self.way) if self.way else {}
        return {Severity.parse(colour): given[colour] for colour in sorted(given, key=Severity.parse)}


class PackTest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A series of ``[seconds, value]`` and the transitions it must cause: ``[seconds, change, severity]``.

    A value of null is a sample that the device did not answer.  A time that lies before the one above it is a
    sample that comes late.  ``until_s`` lets time pass after the last.
    """

    name: str
    rule: str
    series: Annotated[tuple[tuple[Seconds, float | None], ...], msgspec.Meta(min_length=1)]
    expect: tuple[tuple[float, Change, Colour], ...]
    until_s: float | None = None


class RulePack(msgspec.Struct, frozen=True):
    """The rules of one class."""

    device_class: str
    rules: tuple[Rule, ...]
    tests: tuple[PackTest, ...]


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    rules: tuple[Rule, ...]
    tests: tuple[PackTest, ...] = ()


def load_packs(paths: Sequence[Path] | None = None) -> tuple[RulePack, ...]:
    """Read rule packs, the shipped ones by default; raise :class:`ConfigError`.

    A file's name is its class, so no class has two packs and, with ids that begin with the class, no two
    rules share an id.
    """
    files = sorted(FOLDER.glob("*.yaml")) if paths is None else list(paths)
    seen: dict[str, Path] = {}
    for path in files:
        if path.stem in seen:
            raise ConfigError(path, "$", f"class '{path.stem}' has a pack already, {seen[path.stem]}")
        seen[path.stem] = path
    return tuple(load_pack(path) for path in files)


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
        check_rule(path, f"$.rules[{index}]", rule, classes[path.stem])
    for index, test in enumerate(file.tests):
        if test.rule not in seen:
            raise ConfigError(
                path, f"$.tests[{index}].rule", f"no rule '{test.rule}'", hint=did_you_mean(test.rule, seen)
            )
    return RulePack(path.stem, file.rules, file.tests)
