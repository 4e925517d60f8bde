"""Whether a rule can be meant as it is written: each refusal names the field, the value and the way out."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from device_profiles.vocabulary import Kind
from rules.calendar import DAYS, KINDS
from telemetry import plugins
from telemetry.errors import ConfigError, did_you_mean
from telemetry.severity import Severity
from telemetry.transitions import Category

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from device_profiles.vocabulary import DeviceClass, Metric
    from rules.pack import PackTest, Rule

_COLOURS = tuple(severity.name.lower() for severity in Severity)
_TOGETHER = 8
"""Metrics that one rule may judge together."""
_CHOICES = "above, at_least, below, at_most, equals, when, stuck, no_data, anomaly"
_MOST_SAMPLES = 60


def check_rule(path: Path, at: str, rule: Rule, device_class: DeviceClass) -> None:
    """Raise :class:`ConfigError` where ``rule``, found in ``path`` at ``at``, makes no sense for its class.

    Whether its texts do is :mod:`rules.compiled`'s to say.
    """
    if not rule.id.startswith(f"{device_class.name}."):
        hint = f"begin it with '{device_class.name}.'"
        raise ConfigError(path, f"{at}.id", f"'{rule.id}' does not name its class", hint=hint)
    if len(rule.conditions) != 1:
        given = " and ".join(rule.conditions) or "none"
        raise ConfigError(path, at, f"one condition is needed, {given} given", hint=f"give one of {_CHOICES}")
    if not rule.way and not rule.when:
        _check_without_limits(path, at, rule)
    _check_when(path, at, rule)
    _check_lasting(path, at, rule)
    for colour in getattr(rule, rule.way) if rule.way else ():
        _check_colour(path, f"{at}.{rule.way}.{colour}", colour)
    if rule.value and rule.metric:
        raise ConfigError(path, f"{at}.metric", "is given beside 'value'", hint="remove one of them")
    if rule.metric or not (rule.when or rule.no_data or rule.value):
        _check_metric(path, at, rule, device_class)
    elif rule.unit is not None and not rule.value:
        raise ConfigError(
            path, f"{at}.unit", "has no meaning without 'metric' or 'value'", hint="remove 'unit'"
        )
    _check_overrides(path, at, rule, device_class)


def check_test(
    path: Path, at: str, test: PackTest, device_class: DeviceClass, classes: Mapping[str, DeviceClass]
) -> None:
    """Raise :class:`ConfigError` where a test tells of metrics that are not there."""
    for n, (_, told) in enumerate(test.series):
        for name in told if isinstance(told, dict) else ():
            other, _, metric = name.rpartition(".")
            known = classes.get(other) if other else device_class
            if known is None:
                raise ConfigError(
                    path, f"{at}.series[{n}]", f"no class '{other}'", hint=did_you_mean(other, classes)
                )
            if metric not in known.metrics:
                hint = did_you_mean(metric, known.metrics)
                problem = f"class '{known.name}' has no metric '{metric}'"
                raise ConfigError(path, f"{at}.series[{n}]", problem, hint=hint)


def _check_colour(path: Path, at: str, colour: str) -> None:
    if colour not in _COLOURS:
        raise ConfigError(path, at, "no such severity", hint=did_you_mean(colour, _COLOURS))


def _check_when(path: Path, at: str, rule: Rule) -> None:
    if rule.when:
        if isinstance(rule.when, dict):
            for colour in rule.when:
                _check_colour(path, f"{at}.when.{colour}", colour)
            if rule.severity:
                raise ConfigError(
                    path, f"{at}.severity", "is given beside the colours of 'when'", hint="remove it"
                )
        elif not rule.severity:
            raise ConfigError(
                path, f"{at}.severity", "is needed", hint="how bad is it: blue, yellow, orange or red?"
            )
        if rule.clear is not None:
            hint = "write 'clear_when: …'"
            raise ConfigError(path, f"{at}.clear", "has no meaning with when", hint=hint)
        return
    for key in ("severity", "clear_when"):
        if getattr(rule, key):
            raise ConfigError(path, f"{at}.{key}", "has no meaning without when", hint=f"remove '{key}'")


def _check_lasting(path: Path, at: str, rule: Rule) -> None:
    if rule.n_of_m is not None:
        n, m = rule.n_of_m
        if not 1 <= n <= m <= _MOST_SAMPLES or m == 1:
            problem, hint = (
                f"[{n}, {m}] is no '{n} of the last {m}'",
                f"write [n, m] with n ≤ m ≤ {_MOST_SAMPLES}",
            )
            raise ConfigError(path, f"{at}.n_of_m", problem, hint=hint)
        if rule.for_s or rule.stuck or rule.no_data:
            raise ConfigError(path, f"{at}.n_of_m", "has no meaning with a duration", hint="give one of them")
    if rule.gap_s is not None and not rule.for_s and rule.stuck is None:
        raise ConfigError(path, f"{at}.gap_s", "has no meaning without for_s or stuck", hint="remove 'gap_s'")
    if rule.schedule is not None:
        if rule.no_data:
            raise ConfigError(path, f"{at}.schedule", "has no meaning with no_data", hint="remove 'schedule'")
        try:
            rule.schedule.span()
        except ValueError:
            problem = f"'{rule.schedule.hours}' is no span of a day"
            hint = "write it like '22:00-06:00'"
            raise ConfigError(path, f"{at}.schedule.hours", problem, hint=hint) from None
        if rule.schedule.days not in KINDS:
            hint = did_you_mean(rule.schedule.days, KINDS)
            raise ConfigError(path, f"{at}.schedule.days", f"no '{rule.schedule.days}'", hint=hint)
        for n, day in enumerate(rule.schedule.weekdays):
            if day not in DAYS:
                where = f"{at}.schedule.weekdays[{n}]"
                raise ConfigError(path, where, f"no day '{day}'", hint=did_you_mean(day, DAYS))


def _check_overrides(path: Path, at: str, rule: Rule, device_class: DeviceClass) -> None:
    seen: set[str] = set()
    for n, override in enumerate(rule.overrides):
        where = f"{at}.overrides[{n}]"
        if bool(override.device) == bool(override.site):
            raise ConfigError(path, where, "is for nobody", hint="give 'device' or 'site', one of them")
        who = f"device '{override.device}'" if override.device else f"site '{override.site}'"
        if who in seen:
            raise ConfigError(path, where, f"is the second for {who}", hint="join them")
        seen.add(who)
        if override.exempt == bool(override.given):
            raise ConfigError(
                path, where, "must either be exempt or give something else", hint="like 'exempt: true'"
            )
        other = [key for key in override.given if key in _CHOICES.split(", ") and key not in rule.conditions]
        if other or rule.no_data or rule.stuck:
            problem = f"cannot turn {rule.conditions[0]} into {other[0] if other else 'something else'}"
            raise ConfigError(path, where, problem, hint="write a rule of its own, or 'exempt: true'")
        if not override.exempt:
            variant = rule.variants[n + 1]
            _check_when(path, where, variant)
            _check_lasting(path, where, variant)
            for colour in getattr(variant, variant.way) if variant.way else ():
                _check_colour(path, f"{where}.{variant.way}.{colour}", colour)
            if variant.limits and rule.metric:
                _check_limits(path, where, variant, device_class.metrics[rule.metric])
            elif variant.limits:
                _check_order(path, where, variant)
    if rule.per_device and not rule.overrides and rule.way == "" and not rule.when:
        raise ConfigError(path, f"{at}.per_device", "has no meaning here", hint="remove it")


def _check_metric(path: Path, at: str, rule: Rule, device_class: DeviceClass) -> None:
    metric = device_class.metrics.get(rule.metric)
    if not rule.metric:
        raise ConfigError(path, f"{at}.metric", "is needed", hint=f"name one of '{device_class.name}'")
    if metric is None:
        hint = did_you_mean(rule.metric, device_class.metrics)
        problem = f"class '{device_class.name}' has no metric '{rule.metric}'"
        raise ConfigError(path, f"{at}.metric", problem, hint=hint)
    if rule.unit is not None and rule.unit != metric.unit:
        problem = f"'{rule.unit}', but {metric.name} is in '{metric.unit}'"
        raise ConfigError(path, f"{at}.unit", problem, hint=f"write the limits in '{metric.unit}'")
    if rule.stuck is not None and metric.kind is not Kind.GAUGE:
        problem = f"'{metric.name}' is a {metric.kind.value} and may rest for ever"
        raise ConfigError(path, f"{at}.stuck", problem, hint="only a gauge can be stuck")
    if rule.anomaly is not None:
        _check_anomaly(path, at, rule, device_class)
    if rule.limits:
        _check_limits(path, at, rule, metric)


def _check_without_limits(path: Path, at: str, rule: Rule) -> None:
    for key, given in (
        ("for_s", rule.for_s),
        ("clear", rule.clear is not None),
        ("unit", rule.no_data and rule.unit),
    ):
        if given:
            raise ConfigError(
                path, f"{at}.{key}", f"has no meaning with {rule.conditions[0]}", hint=f"remove '{key}'"
            )
    if rule.category is not Category.FAULT and rule.anomaly is None:
        problem = f"'{rule.category.value}', but {rule.conditions[0]} tells of the device, not of the street"
        raise ConfigError(path, f"{at}.category", problem, hint="write 'fault'")


def _check_anomaly(path: Path, at: str, rule: Rule, device_class: DeviceClass) -> None:
    anomaly = rule.anomaly
    assert anomaly is not None
    for index, name in enumerate((rule.metric, *anomaly.metrics)):
        where = f"{at}.anomaly.metrics[{index - 1}]" if index else f"{at}.anomaly"
        if name not in device_class.metrics:
            hint = did_you_mean(name, device_class.metrics)
            raise ConfigError(path, where, f"class '{device_class.name}' has no metric '{name}'", hint=hint)
        if (kind := device_class.metrics[name].kind) is not Kind.GAUGE:
            problem = f"'{name}' is a {kind.value}, which no detector can learn"
            raise ConfigError(path, where, problem, hint="only a gauge has a usual band")
    if anomaly.metrics and (
        rule.metric not in anomaly.metrics or not 2 <= len(set(anomaly.metrics)) <= _TOGETHER
    ):
        problem = f"names {len(set(anomaly.metrics))}"
        hint = f"name two to {_TOGETHER}, '{rule.metric}' among them"
        raise ConfigError(path, f"{at}.anomaly.metrics", problem, hint=hint)
    known = plugins.names("rules.detectors")
    for index, name in enumerate(anomaly.detectors):
        where = f"{at}.anomaly.detectors[{index}]"
        if name not in known:
            raise ConfigError(path, where, f"no detector '{name}'", hint=did_you_mean(name, known))
        wide = plugins.load("rules.detectors", name).Detector.about.wide
        if wide != bool(anomaly.metrics):
            problem = f"'{name}' judges {'several metrics together' if wide else 'one metric alone'}"
            hint = "name them in 'metrics'" if wide else "remove 'metrics'"
            raise ConfigError(path, where, problem, hint=hint)
    if Severity.parse(anomaly.severity) > Severity.YELLOW:
        problem = f"{anomaly.severity}, but nobody has set a limit that was passed"
        raise ConfigError(path, f"{at}.anomaly.severity", problem, hint="write blue or yellow")
    if rule.category not in (Category.MAINTENANCE, Category.FAULT, Category.WARNING):
        problem = f"'{rule.category.value}' is too grave for what is merely unusual"
        raise ConfigError(path, f"{at}.category", problem, hint="write 'maintenance', 'fault' or 'warning'")
    if rule.edge:
        problem = "detectors need the cloud's packages"
        raise ConfigError(path, f"{at}.edge", problem, hint="remove 'edge'")


def _check_limits(path: Path, at: str, rule: Rule, metric: Metric) -> None:
    at_way = f"{at}.{rule.way}"
    if metric.kind in (Kind.STATE, Kind.BITS) and rule.way != "equals":
        problem = f"'{metric.name}' is a {metric.kind.value}, its codes have no order"
        raise ConfigError(path, at_way, problem, hint="compare it with 'equals'")
    for severity, limit in rule.limits.items():
        where = f"{at_way}.{severity.name.lower()}"
        if metric.kind is Kind.STATE and limit not in metric.states:
            known = ", ".join(f"{code} ({text.zh}, {text.en})" for code, text in metric.states.items())
            raise ConfigError(path, where, f"'{metric.name}' has no state {limit:g}", hint=f"use {known}")
        if not metric.low <= limit <= metric.high:
            problem = f"{limit:g} {metric.unit}".rstrip() + f" is outside {metric.low:g} to {metric.high:g}"
            hint = "a value beyond the plausible range is never judged"
            raise ConfigError(path, where, problem, hint=hint)
    _check_order(path, at, rule)
    if rule.clear is not None and not metric.low <= rule.clear <= metric.high:
        problem = f"{rule.clear:g} is outside {metric.low:g} to {metric.high:g}"
        raise ConfigError(path, f"{at}.clear", problem, hint="no sample would ever end the alarm")


def _check_order(path: Path, at: str, rule: Rule) -> None:
    falling = rule.way in ("below", "at_most")
    for (mild, first), (worse, second) in itertools.pairwise(rule.limits.items()):
        if rule.way != "equals" and (second >= first if falling else second <= first):
            problem = (
                f"{worse.name.lower()} {second:g} is reached no later than {mild.name.lower()} {first:g}"
            )
            raise ConfigError(
                path, f"{at}.{rule.way}", problem, hint="let the limits move on with the severity"
            )
    if rule.clear is None:
        return
    if rule.way == "equals":
        raise ConfigError(path, f"{at}.clear", "has no meaning with equals", hint="remove 'clear'")
    clear, limit = rule.clear, next(iter(rule.limits.values()))
    if clear <= limit if falling else clear >= limit:
        side = "above" if falling else "below"
        problem = f"{clear:g} is not on the good side of {limit:g}"
        raise ConfigError(path, f"{at}.clear", problem, hint=f"choose one {side} it")
