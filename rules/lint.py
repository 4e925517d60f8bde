"""What is allowed in a pack and yet may not be meant: each finding says which rule, and what to look at."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import msgspec

from device_profiles.vocabulary import Kind
from rules.calendar import known_years
from rules.compiled import compile_rule
from telemetry.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from device_profiles.vocabulary import DeviceClass
    from rules.pack import Rule, RulePack

_RISING = ("above", "at_least")


class Finding(msgspec.Struct, frozen=True):
    """``grave`` ones should not go live; the others are to be known."""

    where: str  # a rule's id or a class
    text: Text
    grave: bool = True


def lint(packs: Sequence[RulePack], classes: Mapping[str, DeviceClass], year: int) -> list[Finding]:
    """Return what is odd about packs; ``year`` is the present one, for the calendar."""
    found = list(_coverage(packs, classes))
    for pack in packs:
        for rule in pack.rules:
            found += _rule(pack, rule, year)
        found += _conflicts(pack)
    return found


def _coverage(packs: Sequence[RulePack], classes: Mapping[str, DeviceClass]) -> Iterator[Finding]:
    covered = {pack.device_class for pack in packs if not pack.shadow}
    for name in classes.keys() - covered:
        yield Finding(name, Text("此类设备没有任何规则", "no rule looks at this class"))
    for pack in packs:
        device_class = classes[pack.device_class]
        if not any(rule.no_data and not rule.metric for rule in pack.rules) and not pack.shadow:
            yield Finding(
                pack.device_class,
                Text("设备失联无人知晓: 缺少 no_data", "nobody notices silence: no 'no_data'"),
            )
        looked_at = {name for rule in pack.rules for name in _metrics(rule, device_class, classes)}
        blind = [
            m.name for m in device_class.metrics.values() if m.name not in looked_at and m.kind is Kind.GAUGE
        ]
        if blind:
            listed = ", ".join(blind)
            yield Finding(
                pack.device_class, Text(f"没有规则关注: {listed}", f"no rule looks at {listed}"), grave=False
            )


def _metrics(rule: Rule, device_class: DeviceClass, classes: Mapping[str, DeviceClass]) -> list[str]:
    compiled = compile_rule(rule, device_class, classes)
    return [rule.metric] if compiled is None else compiled.reader.bound.metrics


def _rule(pack: RulePack, rule: Rule, year: int) -> Iterator[Finding]:
    tests = [test for test in pack.tests if test.rule == rule.id]
    if not tests:
        yield Finding(rule.id, Text("没有测试", "has no test"))
    elif not any(test.expect for test in tests):
        yield Finding(rule.id, Text("没有一个测试会触发它", "no test ever raises it"))
    if rule.schedule and rule.schedule.days != "all":
        for missing in sorted({year, year + 1} - known_years()):
            text = Text(
                f"日历中没有{missing}年的节假日, 届时只按周末计算",
                f"the calendar has no {missing}: only weekends count then",
            )
            yield Finding(rule.id, text, grave=missing == year)
    longest = max((t for test in tests for t, _ in test.series), default=0.0)
    if rule.for_s and tests and longest < rule.for_s:
        yield Finding(rule.id, Text("测试短于 for_s", "its tests are shorter than for_s"))
    if rule.edge and rule.when and any(scope in str(rule.when) for scope in ("site.", "area.")):
        text = Text("现场只看得到本地设备", "at the site only its own agent's devices are seen")
        yield Finding(rule.id, text, grave=False)


def _conflicts(pack: RulePack) -> Iterator[Finding]:
    limited = [
        rule for rule in pack.rules if rule.way and rule.metric and not rule.schedule and not rule.per_device
    ]
    for one, other in itertools.combinations(limited, 2):
        if one.metric != other.metric or one.category is not other.category:
            continue
        if one.way == other.way == "equals":
            both = set(one.limits.values()) & set(other.limits.values())
            if both:
                yield _pair(one, other, "同一状态两次告警", "alarm on the same state")
        elif (one.way in _RISING) == (other.way in _RISING) and "equals" not in (one.way, other.way):
            if set(one.limits) & set(other.limits):
                yield _pair(
                    one, other, "同方向同等级重复告警", "alarm in the same direction with the same severity"
                )
        elif "equals" not in (one.way, other.way):
            high, low = (one, other) if one.way in _RISING else (other, one)
            if min(high.limits.values()) <= max(low.limits.values()):
                yield _pair(one, other, "范围重叠: 总有一个在告警", "overlap: one of them always alarms")


def _pair(one: Rule, other: Rule, zh: str, en: str) -> Finding:
    return Finding(one.id, Text(f"与 {other.id} 冲突: {zh}", f"and {other.id} {en}"))
