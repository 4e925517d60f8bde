"""Rule packs: YAML files that say when a class of devices is in trouble, with tests of their own.

``packs/<class>.yaml`` holds the rules of one class.  ``docs/rules.md`` explains every key.
"""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec

from device_profiles.vocabulary import load_classes, load_platform
from rules.calendar import Schedule
from rules.checks import check_rule, check_test
from rules.compiled import compile_rule
from rules.written import Written
from telemetry.config import load_yaml, parse_yaml
from telemetry.errors import ConfigError, did_you_mean
from telemetry.severity import Severity
from telemetry.text import Text
from telemetry.transitions import Category, Change

if TYPE_CHECKING:
    from collections.abc import Sequence

FOLDER = Path(__file__).parent / "packs"
PLATFORM = Path(__file__).parent / "platform"
"""Of the platform's own programs: :func:`device_profiles.vocabulary.load_platform`."""
WAYS = ("above", "at_least", "below", "at_most", "equals")
"""How a value can pass a limit."""
CONDITIONS = (*WAYS, "when", "stuck", "no_data", "anomaly")
SHADOW = ".shadow"
"""Behind the class in a file's name: the pack runs beside the one in force and pages no one."""
Colour = Literal["blue", "yellow", "orange", "red"]
Seconds = Annotated[float, msgspec.Meta(ge=0)]
Span = Annotated[float, msgspec.Meta(gt=0)]
Steps = dict[str, float]  # colour → limit; checked in rules.checks, which knows the nearest
Told = float | None | dict[str, float | None]


class Stuck(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The value has not moved by more than ``within``, in the metric's unit, for ``after_s`` seconds."""

    after_s: Span
    within: Annotated[float, msgspec.Meta(ge=0)]
    severity: Colour


class NoData(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Not one value of the device, or of the rule's metric, for too long.

    That is ``periods`` times the device's own reporting period, but ``after_s`` seconds at least.
    """

    after_s: Span
    severity: Colour
    periods: Span = 5.0


class Override(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is different for one device, or at one site; who decided that, and why.

    What it gives takes the place of the rule's own.
    """

    by: Annotated[str, msgspec.Meta(min_length=2)]
    why: Annotated[str, msgspec.Meta(min_length=5)]
    device: str = ""
    site: str = ""
    exempt: bool = False
    above: Steps = {}
    at_least: Steps = {}
    below: Steps = {}
    at_most: Steps = {}
    equals: Steps = {}
    when: str | dict[str, str] = ""
    clear: float | None = None
    clear_when: str = ""
    for_s: Seconds | None = None
    gap_s: Span | None = None

    @property
    def given(self) -> dict[str, Any]:
        """The keys of a rule that it replaces."""
        mine = ("by", "why", "device", "site", "exempt")
        found = {f: getattr(self, f) for f in self.__struct_fields__ if f not in mine}
        return {name: value for name, value in found.items() if value not in (None, "", {})}


class Anomaly(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the metric has taught its detectors to expect no longer holds.

    ``detectors`` names some of ``rules/detectors``, all that fit where it is empty;
    ``metrics`` the metrics, the rule's own among them, that are judged together.  ``budget_per_day`` is how
    many alarms a day the rule may raise for all devices of the class together: the one knob of sensitivity.
    """

    detectors: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    severity: Colour = "blue"
    budget_per_day: Span = 1.0


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One rule as it is written.  Exactly one of :data:`CONDITIONS` is given.

    ``above``, ``at_least``, ``below``, ``at_most`` and ``equals`` name a limit for each severity, in the
    metric's unit, or that of the arithmetic in ``value``.  ``when`` says it in the language of ``docs/rules.md``: a
    condition of one ``severity``, or one for each.  It must have held for ``for_s`` seconds of the device's own time, of
    which each sample accounts for ``gap_s`` at most (two thirds of ``for_s`` where it is not given), or at n of the last
    m samples.  An alarm that stands ends when the value is back at ``clear``, which lies on the good side of
    the mildest limit, worse steps being left at the same distance; or when ``clear_when`` holds.
    """

    id: str
    title: Text
    category: Category
    source: Annotated[str, msgspec.Meta(min_length=3)]
    metric: str = ""
    value: str = ""
    unit: str | None = None
    when: str | dict[str, str] = ""
    severity: Colour | None = None
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
    n_of_m: tuple[int, int] | None = None
    clear: float | None = None
    clear_when: str = ""
    fresh_s: Span = 300.0
    schedule: Schedule | None = None
    per_device: bool = False
    overrides: tuple[Override, ...] = ()
    edge: bool = False
    labels: dict[str, str] = {}
    cause: Text | None = None
    consequence: Text | None = None
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

    @property
    def claims(self) -> dict[Severity, str]:
        """Severity → ``when``, the mildest first."""
        if not isinstance(self.when, dict):
            return {Severity.parse(self.severity): self.when} if self.when and self.severity else {}
        return {Severity.parse(c): self.when[c] for c in sorted(self.when, key=Severity.parse)}

    @property
    def variants(self) -> tuple[Rule, ...]:
        """The rule itself, and as each of its overrides has it."""
        return (self, *(msgspec.structs.replace(self, overrides=(), **o.given) for o in self.overrides))


class PackTest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A series of ``[seconds, value]`` and the transitions it must cause: ``[seconds, change, severity]``.

    A value of null is a sample that the device did not answer.  ``{metric: value}`` tells several at once;
    ``class.metric`` is that of another device at the same site.  A time that lies before the one above it is a
    sample that comes late.  ``until_s`` lets time pass after the last.  ``start`` is the Beijing time of second 0;
    ``device`` and ``site`` are what an override may name.
    """

    name: str
    rule: str
    series: Annotated[tuple[tuple[Seconds, Told], ...], msgspec.Meta(min_length=1)]
    expect: tuple[tuple[float, Change, Colour], ...]
    until_s: float | None = None
    start: dt.datetime | None = None
    device: str = "device-under-test"
    site: str = "site-under-test"


class RulePack(msgspec.Struct, frozen=True):
    """The rules of one class.  What a ``shadow`` finds is told apart and pages no one."""

    device_class: str
    rules: tuple[Rule, ...]
    tests: tuple[PackTest, ...]
    shadow: bool = False


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    rules: tuple[Rule, ...]
    tests: tuple[PackTest, ...] = ()


def load_packs(paths: Sequence[Path] | None = None) -> tuple[RulePack, ...]:
    """Read rule packs, the shipped ones by default; raise :class:`ConfigError`.

    A file's name is its class, so no class has two packs and, with ids that begin with the class, no two
    rules share an id.  ``<class>.shadow.yaml`` is one more pack of the class, run beside the other.
    """
    files = sorted(FOLDER.glob("*.yaml")) if paths is None else list(paths)
    seen: dict[str, Path] = {}
    for path in files:
        if path.stem in seen:
            raise ConfigError(path, "$", f"class '{path.stem}' has a pack already, {seen[path.stem]}")
        seen[path.stem] = path
    return tuple(load_pack(path) for path in files)


def load_pack(path: Path) -> RulePack:
    """Read one pack; its name is the class, of devices or of the platform.  Raises :class:`ConfigError`."""
    return _checked(path, path.stem, load_yaml(path, _File))


def parse_pack(text: str, name: str, path: Path) -> RulePack:
    """Read the pack of the class ``name`` that stands as text in the file ``path``; raise :class:`ConfigError`."""
    return _checked(path, name, parse_yaml(text, _File, path))


def _checked(path: Path, stem: str, file: _File) -> RulePack:
    name = stem.removesuffix(SHADOW)
    classes = load_platform() if name in load_platform() else load_classes()
    if name not in classes:
        raise ConfigError(path, "$", f"its name is no class: '{name}'", hint=did_you_mean(name, classes))
    seen: dict[str, Rule] = {}
    for index, rule in enumerate(file.rules):
        if rule.id in seen:
            raise ConfigError(path, f"$.rules[{index}].id", f"'{rule.id}' is given twice")
        seen[rule.id] = rule
        check_rule(path, f"$.rules[{index}]", rule, classes[name])
        compile_rule(rule, classes[name], classes, Written(path, f"$.rules[{index}]"))
    for index, test in enumerate(file.tests):
        if test.rule not in seen:
            raise ConfigError(
                path, f"$.tests[{index}].rule", f"no rule '{test.rule}'", hint=did_you_mean(test.rule, seen)
            )
        check_test(path, f"$.tests[{index}]", test, classes[name], classes)
    return RulePack(name, file.rules, file.tests, stem.endswith(SHADOW))
