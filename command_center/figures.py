"""How the desk fares: alarms an operator-hour, floods, what stands, flaps and comes most, and how soon people answer.

Targets and limits are those of EEMUA 191 and ISA-18.2 for one operating position; they are meant for windows of 30 days and
more.  Pure.  Counted are activations that page: neither late data, nor rules on trial, nor what was suppressed from the
beginning.  Windows of ten minutes begin at ``since_ms``; those without an alarm count as well.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Literal

import msgspec

from telemetry.severity import Severity
from telemetry.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

TEN_MIN_MS, HOUR_MS, DAY_MS = 600_000, 3_600_000, 86_400_000
FLOOD_FROM, FLOOD_TO = 10, 5
"""A flood begins in a window with more than ten alarms and ends before one with fewer than five."""
CHATTER_COUNT, CHATTER_MS = 3, 60_000
FLEETING_MS = 10_000
TOP = 10
Verdict = Literal["good", "fair", "poor", "none"]


class Activation(msgspec.Struct, frozen=True):
    """One alarm, as the figures need it; decoded from an alarm's body.  Times are UTC ms."""

    id: str
    device: str
    rule: str
    title: Text
    worst: Severity
    active: bool
    began_ms: int
    received_ms: int
    ended_ms: int | None = None
    acknowledged_ms: int | None = None
    retrospective: bool = False
    shadow: bool = False
    by_design: str | None = None


class Measure(msgspec.Struct, frozen=True):
    """One figure beside its target and its limit, in ``unit``; ``good`` within the target, ``fair`` within the limit."""

    name: str
    value: float | None
    unit: str
    target: float | None = None
    limit: float | None = None
    verdict: Verdict = "none"


class Flood(msgspec.Struct, frozen=True):
    """From the window in which it began to the end of the last that belongs to it."""

    begin_ms: int
    end_ms: int
    alarms: int


class Source(msgspec.Struct, frozen=True):
    """A rule on a device; ``share`` of all activations, ``chattering`` how many bursts of three within a minute."""

    device: str
    rule: str
    title: Text
    alarms: int
    share: float
    chattering: int


class Answer(msgspec.Struct, frozen=True):
    """How soon people acknowledged, in seconds; ``waiting`` were not acknowledged."""

    alarms: int
    waiting: int
    median_s: float | None
    p95_s: float | None


class Report(msgspec.Struct, frozen=True):
    """The whole; ``short`` says that the window is shorter than the thirty days that the targets are meant for."""

    since_ms: int
    until_ms: int
    positions: int
    short: bool
    alarms: int
    by_colour: dict[str, int]
    measures: tuple[Measure, ...]
    floods: tuple[Flood, ...]
    standing: tuple[str, ...]
    """Ids of alarms that stood for more than a day at the end, the oldest first."""
    top: tuple[Source, ...]
    answers: dict[str, Answer]
    """By colour, and ``all``."""


def counts(alarm: Activation) -> bool:
    """Return whether an alarm was put before people when it came."""
    return not (alarm.retrospective or alarm.shadow or alarm.by_design)


def report(seen: Iterable[Activation], since_ms: int, until_ms: int, positions: int = 1) -> Report:
    """Compute the figures of ``[since_ms, until_ms)`` from alarms that came in it or stood into it."""
    known = [alarm for alarm in seen if counts(alarm)]
    came = [alarm for alarm in known if since_ms <= alarm.received_ms < until_ms]
    windows = per_window(came, since_ms, until_ms)
    floods = find_floods(windows, since_ms, until_ms)
    top, chattering = _sources(came)
    days = stale_by_day(known, since_ms, until_ms)
    colours = Counter(alarm.worst.label.en for alarm in came)
    answers = {"all": _answer(came)} | {
        one.label.en: _answer([alarm for alarm in came if alarm.worst is one]) for one in reversed(Severity)
    }
    return Report(
        since_ms, until_ms, positions, until_ms - since_ms < 30 * DAY_MS, len(came),
        {one.label.en: colours[one.label.en] for one in reversed(Severity)},
        tuple(_measures(came, windows, floods, top, chattering, days, (since_ms, until_ms), positions)),
        tuple(floods), tuple(_stale(known, until_ms)), top, answers,
    )  # fmt: skip


def per_window(came: Sequence[Activation], since_ms: int, until_ms: int) -> list[int]:
    """Return how many alarms came in each ten minutes, the last of which may be shorter."""
    found = [0] * math.ceil((until_ms - since_ms) / TEN_MIN_MS)
    for alarm in came:
        found[(alarm.received_ms - since_ms) // TEN_MIN_MS] += 1
    return found


def find_floods(windows: Sequence[int], since_ms: int, until_ms: int) -> list[Flood]:
    """Return the floods; one that goes on at the end ends there."""
    floods: list[Flood] = []
    first: int | None = None
    for n, count in enumerate([*windows, 0]):
        if first is None and count > FLOOD_FROM:
            first = n
        elif first is not None and count < FLOOD_TO:
            end = min(since_ms + n * TEN_MIN_MS, until_ms)
            floods.append(Flood(since_ms + first * TEN_MIN_MS, end, sum(windows[first:n])))
            first = None
    return floods


def stale_by_day(known: Sequence[Activation], since_ms: int, until_ms: int) -> list[int]:
    """Return how many alarms had stood for more than a day at the end of each day of the window, the last at its end."""
    ends = [*range(since_ms + DAY_MS, until_ms, DAY_MS), until_ms]
    return [len(_stale(known, at)) for at in ends]


def _stale(known: Sequence[Activation], at_ms: int) -> list[str]:
    old = [
        alarm
        for alarm in known
        if alarm.received_ms < at_ms - DAY_MS
        and (alarm.active or (alarm.ended_ms is not None and alarm.ended_ms > at_ms))
    ]
    return [alarm.id for alarm in sorted(old, key=lambda one: (one.received_ms, one.id))]


def _sources(came: Sequence[Activation]) -> tuple[tuple[Source, ...], int]:
    """Return the ten that came most, and how many sources chattered."""
    of: dict[tuple[str, str], list[Activation]] = defaultdict(list)
    for alarm in came:
        of[alarm.device, alarm.rule].append(alarm)
    bursts = {key: _bursts([alarm.received_ms for alarm in alarms]) for key, alarms in of.items()}
    order = sorted(of, key=lambda key: (-len(of[key]), key))[:TOP]
    top = tuple(
        Source(*key, of[key][0].title, len(of[key]), round(len(of[key]) / len(came), 4), bursts[key])
        for key in order
    )
    return top, sum(1 for count in bursts.values() if count)


def _bursts(times: list[int]) -> int:
    """Return how many times three came within a minute, each alarm counted in one burst only."""
    times.sort()
    found = n = 0
    while n + CHATTER_COUNT <= len(times):
        if times[n + CHATTER_COUNT - 1] - times[n] <= CHATTER_MS:
            found += 1
            n += CHATTER_COUNT
        else:
            n += 1
    return found


def _answer(came: Sequence[Activation]) -> Answer:
    took = sorted(
        (alarm.acknowledged_ms - alarm.received_ms) / 1000
        for alarm in came
        if alarm.acknowledged_ms is not None
    )
    if not took:
        return Answer(len(came), len(came), None, None)
    p95 = took[math.ceil(0.95 * len(took)) - 1]
    return Answer(len(came), len(came) - len(took), statistics.median(took), p95)


def _measures(
    came: Sequence[Activation], windows: Sequence[int], floods: Sequence[Flood], top: Sequence[Source],
    chattering: int, days: Sequence[int], span: tuple[int, int], positions: int,
) -> Iterable[Measure]:  # fmt: skip
    hours = (span[1] - span[0]) / HOUR_MS * positions
    count = len(came)
    fleeting = sum(
        a.ended_ms is not None and not a.active and a.ended_ms - a.began_ms < FLEETING_MS for a in came
    )
    colours = Counter(alarm.worst for alarm in came)

    def share(part: float, of: float) -> float | None:
        return round(100 * part / of, 2) if of else None

    in_flood = sum(flood.end_ms - flood.begin_ms for flood in floods)
    yield _judged("per_hour", round(count / hours, 3), "1/h", 6, 12)
    yield _judged("per_day", round(count / hours * 24, 2), "1/d", 150, 300)
    yield _judged("per_ten_minutes", round(count / hours / 6, 3), "1", 1, 2)
    yield _judged("most_in_ten_minutes", max(windows, default=0), "1", 10, 10)
    yield _judged("windows_over_ten", share(sum(n > FLOOD_FROM for n in windows), len(windows)), "%", 1, 1)
    yield _judged("time_in_flood", share(in_flood, span[1] - span[0]), "%", 1, 1)
    yield _judged("standing_most", max(days, default=0), "1", 4, 4)
    yield _judged("chattering", chattering, "1", 0, 0)
    yield _judged("fleeting", fleeting, "1", 0, 0)
    yield _judged("top_ten_share", share(sum(one.alarms for one in top), count), "%", 1, 5)
    yield Measure("blue_share", share(colours[Severity.BLUE], count), "%", 80)
    yield Measure("yellow_share", share(colours[Severity.YELLOW], count), "%", 15)
    yield _judged("orange_share", share(colours[Severity.ORANGE], count), "%", 5, 5)
    yield _judged("red_share", share(colours[Severity.RED], count), "%", 1, 1)


def _judged(name: str, value: float | None, unit: str, target: float, limit: float) -> Measure:
    if value is None:
        return Measure(name, None, unit, target, limit)
    verdict: Verdict = "good" if value <= target else "fair" if value <= limit else "poor"
    return Measure(name, value, unit, target, limit, verdict)
