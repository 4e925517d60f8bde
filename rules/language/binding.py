"""The tree bound to a class: every name found, every unit and type checked, every fault with its place."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from device_profiles.vocabulary import Kind
from rules.language.derived import DERIVED
from rules.language.measure import BARE, Measure, fits, way_out
from rules.language.spans import Increase, Rate
from rules.language.terms import (
    Absolute,
    Arithmetic,
    Compare,
    Constant,
    Count,
    Derived,
    Elsewhere,
    HasBit,
    Joined,
    Most,
    Negated,
    OwnMetric,
)
from rules.language.tokens import DURATIONS_MS, LanguageError
from rules.language.tree import Between, Call, Name, Node, Number, Pair, Quoted, Sign, parse
from telemetry.errors import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Mapping

    from device_profiles.vocabulary import DeviceClass, Metric
    from rules.language.terms import Predicate, Term
    from rules.state import Column

SCOPES = ("site", "area")
FUNCTIONS = ("abs", "avg", "bit", "count", "increase", "max", "min", "rate", *DERIVED)
_ORDERED = (Kind.GAUGE, Kind.COUNTER)
_SIGNS = ("<", "<=", ">", ">=", "==", "!=")


@dataclass
class Bound:
    """What a text needs: metrics of the device, in the order of the text, memory, and other devices."""

    metrics: list[str] = field(default_factory=list)
    columns: dict[str, Column] = field(default_factory=dict)
    elsewhere: list[Elsewhere | Count] = field(default_factory=list)


def bind_predicate(
    text: str, device_class: DeviceClass, classes: Mapping[str, DeviceClass], bound: Bound, fresh_ms: int
) -> Predicate:
    """Return what ``text`` claims; raise :class:`LanguageError` where it makes no sense for the class."""
    return _Binder(device_class, classes, bound, fresh_ms).predicate(parse(text))


def bind_term(
    text: str, device_class: DeviceClass, classes: Mapping[str, DeviceClass], bound: Bound, fresh_ms: int
) -> Term:
    """Return the number that ``text`` works out; raise :class:`LanguageError`."""
    return _Binder(device_class, classes, bound, fresh_ms).term(parse(text))


class _Binder:
    def __init__(
        self, device_class: DeviceClass, classes: Mapping[str, DeviceClass], bound: Bound, fresh_ms: int
    ) -> None:
        self._class, self._classes, self._bound, self._fresh_ms = device_class, classes, bound, fresh_ms

    # -- truths --------------------------------------------------------------------------------------

    def predicate(self, node: Node) -> Predicate:
        """Bind a node that is true or false."""
        if isinstance(node, Pair) and node.sign in ("and", "or"):
            return Joined(node.sign, tuple(self.predicate(part) for part in _flat(node, node.sign)))
        if isinstance(node, Sign) and node.sign == "not":
            return Negated(self.predicate(node.of))
        if isinstance(node, Between):
            of = self._ordered(node.of)
            low, high = self._beside(node.low, of), self._beside(node.high, of)
            return Joined("and", (Compare(">=", of, low), Compare("<=", of, high)))
        if isinstance(node, Pair) and node.sign in _SIGNS:
            return self._compare(node)
        if isinstance(node, Call) and node.name == "bit":
            return self._bit(node)
        raise LanguageError(
            "is a number, a condition is expected", node.at, node.end, hint="compare it: '… > 5'"
        )

    def _compare(self, node: Pair) -> Predicate:
        left, right = (
            (node.left, node.right) if not isinstance(node.left, Quoted) else (node.right, node.left)
        )
        term = self.term(left)
        if isinstance(term, OwnMetric | Elsewhere) and term.metric.kind in (Kind.STATE, Kind.BITS):
            return self._compare_state(node, left, right, term)
        if isinstance(right, Quoted):
            raise LanguageError(f"'{right.text}' is text, a number is expected", right.at, right.end,
                                hint="only states are compared with text")  # fmt: skip
        if isinstance(left, Number) and not isinstance(right, Number):  # its unit is the other side's to say
            other = self._ordered(right)
            return Compare(node.sign, self._beside(left, other), other)
        return Compare(node.sign, term, self._beside(right, term))

    def _compare_state(self, node: Pair, left: Node, right: Node, term: OwnMetric | Elsewhere) -> Predicate:
        metric = term.metric
        if metric.kind is Kind.BITS:
            raise LanguageError(f"'{metric.name}' is a word of flags", left.at, left.end,
                                hint=f"write 'bit({metric.name}, 0)'")  # fmt: skip
        if node.sign not in ("==", "!="):
            raise LanguageError(f"'{metric.name}' is a state, its codes have no order", node.at, node.end,
                                hint="compare it with '==' or '!='")  # fmt: skip
        if isinstance(right, Number | Quoted):
            return Compare(node.sign, term, Constant(_code(metric, right), BARE))
        other = self.term(right)
        if not (isinstance(other, OwnMetric | Elsewhere) and other.metric.states == metric.states):
            raise LanguageError(f"'{metric.name}' is compared with something else than its states",
                                right.at, right.end, hint=f"use {_states(metric)}")  # fmt: skip
        return Compare(node.sign, term, other)

    def _bit(self, node: Call) -> Predicate:
        if len(node.arguments) != 2 or not isinstance(node.arguments[1], Number | Quoted):
            raise LanguageError("bit takes a word and the number or label of a flag", node.at, node.end,
                                hint="write 'bit(status, 3)'")  # fmt: skip
        of, which = node.arguments
        term = self.term(of)
        if not isinstance(term, OwnMetric) or term.metric.kind is not Kind.BITS:
            raise LanguageError("is no word of flags", of.at, of.end, hint="compare it with '=='")
        bits = term.metric.bits
        named = {label: n for n, text in bits.items() for label in (text.zh, text.en)}
        bit = int(which.value) if isinstance(which, Number) else named.get(which.text)  # type: ignore[attr-defined]
        if bit is None or (bits and bit not in bits):
            known = ", ".join(f"{n} ({text.zh}, {text.en})" for n, text in bits.items())
            raise LanguageError(
                f"'{term.metric.name}' has no such flag", which.at, which.end, hint=f"use {known}"
            )
        return HasBit(term, bit)

    # -- numbers -------------------------------------------------------------------------------------

    def term(self, node: Node) -> Term:
        """Bind a node that is a number."""
        match node:
            case Number():
                return Constant(node.value, BARE if node.unit is None else Measure.of(node.unit))
            case Name():
                return self._name(node)
            case Call():
                return self._call(node)
            case Sign(sign="-"):
                of = self._ordered(node.of)
                return Arithmetic("*", of, Constant(-1.0, BARE), of.measure)
            case Pair(sign="+" | "-"):
                left = self._ordered(node.left)
                right = self._beside(node.right, left)
                return Arithmetic(
                    node.sign, left, right, right.measure if left.measure.bare else left.measure
                )
            case Pair(sign="*" | "/"):
                left, right = self._ordered(node.left), self._ordered(node.right)
                measure = left.measure * right.measure if node.sign == "*" else left.measure / right.measure
                return Arithmetic(node.sign, left, right, measure)
            case Quoted():
                raise LanguageError(f"'{node.text}' is text, a number is expected", node.at, node.end)
        raise LanguageError("is true or false, a number is expected", node.at, node.end)

    def _name(self, node: Name) -> Term:
        parts = node.text.split(".")
        if len(parts) == 1:
            metric = self._metric(node, self._class, node.text, node.at)
            if metric.name not in self._bound.metrics:
                self._bound.metrics.append(metric.name)
            return OwnMetric(metric, Measure.of(metric.unit))
        scope, other = self._scope(node, parts)
        if len(parts) != 3:
            raise LanguageError("names no metric", node.at, node.end, hint=f"write '{node.text}.<metric>'")
        metric = self._metric(node, other, parts[2], node.end - len(parts[2]))
        found = Elsewhere(scope, other.name, metric, Measure.of(metric.unit), self._fresh_ms)
        self._bound.elsewhere.append(found)
        return found

    def _scope(self, node: Name, parts: list[str]) -> tuple[str, DeviceClass]:
        if parts[0] not in SCOPES:
            raise LanguageError(f"no '{parts[0]}' to look at", node.at, node.at + len(parts[0]),
                                hint=did_you_mean(parts[0], SCOPES))  # fmt: skip
        if len(parts) < 2 or parts[1] not in self._classes:
            named = parts[1] if len(parts) > 1 else ""
            raise LanguageError(
                f"no class '{named}'", node.at, node.end, hint=did_you_mean(named, self._classes)
            )
        return parts[0], self._classes[parts[1]]

    def _metric(self, node: Node, device_class: DeviceClass, name: str, at: int) -> Metric:
        metric = device_class.metrics.get(name)
        if metric is None:
            hint = did_you_mean(name, device_class.metrics)
            if name in FUNCTIONS:
                hint = f"it is a function: '{name}(…)'"
            raise LanguageError(
                f"class '{device_class.name}' has no metric '{name}'", at, node.end, hint=hint
            )
        return metric

    def _call(self, node: Call) -> Term:
        name, given = node.name, node.arguments
        if name not in FUNCTIONS:
            hint = did_you_mean(name, FUNCTIONS)
            raise LanguageError(f"no function '{name}'", node.at, node.at + len(name), hint=hint)
        if name == "count":
            return self._count(node)
        if name in ("rate", "increase"):
            return self._span(node)
        if name == "bit":
            raise LanguageError("is true or false, a number is expected", node.at, node.end)
        if name in DERIVED:
            return self._derived(node)
        terms = [self._ordered(given[0])]
        for more in given[1:]:
            terms.append(self._beside(more, terms[0]))
        if name == "abs":
            if len(given) != 1:
                raise LanguageError("abs takes one number", node.at, node.end)
            return Absolute(terms[0], terms[0].measure)
        measure = next((term.measure for term in terms if not term.measure.bare), BARE)
        return Most(name, tuple(terms), measure)

    def _derived(self, node: Call) -> Term:
        figure, terms = DERIVED[node.name], list[OwnMetric]()
        for argument in node.arguments:
            term = self.term(argument)
            if not isinstance(term, OwnMetric) or term.metric.name not in figure.metrics:
                raise LanguageError(f"{node.name} cannot be made of it", argument.at, argument.end,
                                    hint=f"give metrics among {', '.join(figure.metrics)}")  # fmt: skip
            if term.metric.unit != figure.metrics[term.metric.name]:
                wanted = figure.metrics[term.metric.name]
                raise LanguageError(f"is in '{term.metric.unit}', not '{wanted}'", argument.at, argument.end)
            terms.append(term)
        return Derived(node.name, figure.work, tuple(terms), Measure(()))

    def _span(self, node: Call) -> Term:
        if len(node.arguments) != 2:
            raise LanguageError(f"{node.name} takes a number and a stretch of time", node.at, node.end,
                                hint=f"write '{node.name}(level, 5min)'")  # fmt: skip
        of, stretch = node.arguments
        if not isinstance(stretch, Number) or stretch.unit not in DURATIONS_MS or stretch.value <= 0:
            raise LanguageError(
                "is no stretch of time", stretch.at, stretch.end, hint="write it like '5min' or '12h'"
            )
        term, key = self._ordered(of), f"span{sum(name.endswith('.t0') for name in self._bound.columns)}"
        span_ms = round(stretch.value * DURATIONS_MS[stretch.unit])
        found: Rate | Increase
        if node.name == "rate":
            found = Rate(key, term, span_ms, term.measure / Measure.of("min"))
        else:
            if not (isinstance(term, OwnMetric) and term.metric.kind is Kind.COUNTER):
                raise LanguageError("only a counter increases", of.at, of.end, hint="use 'rate' for a gauge")
            found = Increase(key, term, span_ms, term.measure)
        self._bound.columns.update(found.columns)
        return found

    def _count(self, node: Call) -> Term:
        hint = "write 'count(site.smoke_detector, smoke_alarm == 1)'"
        if len(node.arguments) != 2 or not isinstance(node.arguments[0], Name):
            raise LanguageError("count takes whose devices, and a condition", node.at, node.end, hint=hint)
        whose, what = node.arguments
        parts = whose.text.split(".")  # type: ignore[attr-defined]
        if len(parts) != 2:
            raise LanguageError("names no class of devices", whose.at, whose.end, hint=hint)
        scope, other = self._scope(whose, parts)  # type: ignore[arg-type]
        inner = Bound()
        predicate = _Binder(other, self._classes, inner, self._fresh_ms).predicate(what)
        if inner.columns or inner.elsewhere:
            raise LanguageError(
                "looks back or elsewhere, which a counted condition cannot", what.at, what.end
            )
        found = Count(scope, other.name, predicate, tuple(inner.metrics), Measure(()), self._fresh_ms)
        self._bound.elsewhere.append(found)
        return found

    def _ordered(self, node: Node) -> Term:
        term = self.term(node)
        if isinstance(term, OwnMetric | Elsewhere) and term.metric.kind not in _ORDERED:
            hint = (
                "compare it with '=='"
                if term.metric.kind is Kind.STATE
                else f"write 'bit({term.metric.name}, 0)'"
            )
            raise LanguageError(
                f"'{term.metric.name}' is a {term.metric.kind}, not a number", node.at, node.end, hint=hint
            )
        return term

    def _beside(self, node: Node, other: Term) -> Term:
        """Bind a number that stands beside another, in the same unit."""
        term: Any = self._ordered(node)
        if fits(term.measure, other.measure):
            return Constant(term.value, other.measure) if isinstance(term, Constant) else term
        given, wanted = str(term.measure), other.measure
        hint = way_out(node.value, given, wanted) if isinstance(node, Number) else "both sides need one unit"
        raise LanguageError(f"is in '{given}', the other side in '{wanted}'", node.at, node.end, hint=hint)


def _flat(node: Node, sign: str) -> list[Node]:
    if isinstance(node, Pair) and node.sign == sign:
        return [*_flat(node.left, sign), *_flat(node.right, sign)]
    return [node]


def _states(metric: Metric) -> str:
    return ", ".join(f"{code} ({text.zh}, {text.en})" for code, text in metric.states.items())


def _code(metric: Metric, node: Number | Quoted) -> float:
    if isinstance(node, Number):
        code = int(node.value) if node.value in metric.states else None
        wrote = f"{node.value:g}"
    else:
        labels = {label: n for n, text in metric.states.items() for label in (text.zh, text.en)}
        code, wrote = labels.get(node.text), f"'{node.text}'"
    if code is None:
        raise LanguageError(
            f"'{metric.name}' has no state {wrote}", node.at, node.end, hint=f"use {_states(metric)}"
        )
    return float(code)
