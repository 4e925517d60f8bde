"""What a pack would have said of the past: episodes, how often, how long, and what other limits would have given.

Pure: the history comes as frames, in time order, as often as it is asked for.  Silence is not judged, since it is measured on
the receiver's clock, which history does not keep.
"""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from rules.engine import Engine
from rules.state import State
from telemetry.severity import Severity
from telemetry.transitions import Change

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from device_profiles.vocabulary import DeviceClass
    from rules.frame import Frame
    from rules.pack import Rule, RulePack
    from rules.topology import Topology
    from telemetry.transitions import Transition

    History = Callable[[], Iterable[Frame]]

_MONTH_MS = 30 * 86_400_000
_QUANTILES = (0.5, 0.9, 0.99, 0.999, 0.9999, 1.0)
_SHARES = (0.7, 0.8, 0.9, 1.1, 1.25, 1.5)
_KEPT = 2000
"""Values of a metric and frame that are kept to choose limits from."""


class Episode(msgspec.Struct, frozen=True):
    """An alarm of the past; ``ended`` is None for one that the history does not see end.  Times are UTC ms."""

    rule: str
    device: str
    worst: Severity
    began: int
    ended: int | None


class Summary(msgspec.Struct, frozen=True):
    """One rule over the whole history.  ``share`` is of the time of all devices together."""

    rule: str
    episodes: int
    devices: int
    per_device_month: float
    median_s: float
    longest_s: float
    share: float


class WhatIf(msgspec.Struct, frozen=True):
    """What one limit alone would have given; ``colour`` where it is one of the rule's own."""

    rule: str
    limit: float
    colour: str
    episodes: int
    hours: float


class Report(msgspec.Struct, frozen=True):
    """All of it; ``left_out`` are the rules that history cannot judge."""

    begins: int
    ends: int
    devices: int
    samples: int
    episodes: tuple[Episode, ...]
    summaries: tuple[Summary, ...]
    what_if: tuple[WhatIf, ...]
    left_out: tuple[str, ...]


def backtest(
    pack: RulePack, classes: Mapping[str, DeviceClass], history: History, topology: Topology | None = None,
    *, limits: Sequence[float] = (), what_if: bool = True,
) -> Report:  # fmt: skip
    """Run a pack over a history, and once more with other limits.

    ``limits`` are tried for every rule that has any; without them they are chosen from the values there were.
    """
    rules = tuple(rule for rule in pack.rules if rule.no_data is None)
    run = _Run(msgspec.structs.replace(pack, rules=rules, shadow=False), classes, topology, rules)
    run.over(history())
    told = _table(pack, classes, history, topology, run, limits) if what_if else ()
    left_out = tuple(rule.id for rule in pack.rules if rule.no_data is not None)
    return Report(
        run.begins, run.ends, len(run.devices), run.samples, tuple(run.episodes),
        tuple(run.summary(rule.id) for rule in rules), told, left_out,
    )  # fmt: skip


class _Run:
    """One pass over the history."""

    def __init__(
        self,
        pack: RulePack,
        classes: Mapping[str, DeviceClass],
        topology: Topology | None,
        watched: Sequence[Rule],
    ) -> None:
        self._engine, self._class = Engine([pack], classes, topology), pack.device_class
        self._columns = {
            rule.metric: list(classes[pack.device_class].metrics).index(rule.metric)
            for rule in watched
            if rule.metric and rule.way
        }
        self.values: dict[str, list[np.ndarray]] = {metric: [] for metric in self._columns}
        self.begins = self.ends = self.samples = 0
        self.devices: set[str] = set()
        self._open: dict[str, Episode] = {}
        self._closed: list[Episode] = []

    def over(self, frames: Iterable[Frame]) -> None:
        """Judge all frames."""
        state = State.empty()
        for frame in frames:
            if not len(frame):
                continue
            begins, ends = int(frame.time.min()), int(frame.time.max())
            self.begins, self.ends = min(self.begins or begins, begins), max(self.ends, ends)
            if frame.device_class == self._class:
                self.devices.update(frame.devices)
                self.samples += frame.sample_count
                for metric, column in self._columns.items():
                    known = frame.values[:, column]
                    self.values[metric].append(known[:: max(1, len(known) // _KEPT)])
            state, found = self._engine.evaluate(state, frame, ends)
            for transition in found:
                self._take(transition)

    def _take(self, told: Transition) -> None:
        known = self._open.get(told.alarm)
        if known is None:
            known = Episode(told.rule, told.device, told.severity, told.time, None)
        worst = max(known.worst, told.severity)
        if told.change is Change.ENDED:
            self._open.pop(told.alarm, None)
            self._closed.append(msgspec.structs.replace(known, worst=worst, ended=told.time))
        else:
            self._open[told.alarm] = msgspec.structs.replace(known, worst=worst)

    @property
    def episodes(self) -> list[Episode]:
        """What was found, the earliest first."""
        return sorted([*self._closed, *self._open.values()], key=lambda e: (e.began, e.rule, e.device))

    def lengths_s(self, rule: str) -> list[float]:
        """Return how long the episodes of a rule lasted, until the end of the history at most."""
        return [((e.ended or self.ends) - e.began) / 1000 for e in self.episodes if e.rule == rule]

    def summary(self, rule: str) -> Summary:
        """Return one rule's figures."""
        lengths = self.lengths_s(rule) or [0.0]
        mine = [e for e in self.episodes if e.rule == rule]
        device_ms = max(1, (self.ends - self.begins) * len(self.devices))
        return Summary(
            rule, len(mine), len({e.device for e in mine}), round(len(mine) * _MONTH_MS / device_ms, 3),
            statistics.median(lengths), max(lengths), round(1000 * sum(lengths) / device_ms, 6),
        )  # fmt: skip


def _table(
    pack: RulePack, classes: Mapping[str, DeviceClass], history: History, topology: Topology | None,
    run: _Run, limits: Sequence[float],
) -> tuple[WhatIf, ...]:  # fmt: skip
    tried: dict[str, tuple[Rule, float]] = {}
    for rule in pack.rules:
        if rule.way and rule.way != "equals":
            for limit in _candidates(rule, run, limits):
                tried[f"{rule.id}#{limit:g}"] = rule, limit
    variants = tuple(_variant(rule, limit, name) for name, (rule, limit) in tried.items())
    again = _Run(msgspec.structs.replace(pack, rules=variants, shadow=False), classes, topology, ())
    again.over(history() if variants else ())
    found = []
    for name, (rule, limit) in tried.items():
        lengths = again.lengths_s(name)
        colour = next((s.name.lower() for s, own in rule.limits.items() if own == limit), "")
        found.append(WhatIf(rule.id, limit, colour, len(lengths), round(sum(lengths) / 3600, 3)))
    return tuple(found)


def _candidates(rule: Rule, run: _Run, limits: Sequence[float]) -> list[float]:
    own = list(rule.limits.values())
    if limits:
        return sorted({*own, *limits})
    seen = run.values.get(rule.metric)
    if not seen:
        return sorted({*own, *(float(f"{share * own[0]:.4g}") for share in _SHARES)})
    values = np.concatenate(seen)
    values = values[np.isfinite(values)]
    falling = rule.way in ("below", "at_most")
    shares = [1 - q for q in _QUANTILES] if falling else list(_QUANTILES)
    found = np.quantile(values, shares).tolist() if len(values) else []
    return sorted({*own, *(float(f"{value:.4g}") for value in found)})


def _variant(rule: Rule, limit: float, name: str) -> Rule:
    """Return the rule with one limit alone, as wide a band to leave it, and no exceptions."""
    margin = None if rule.clear is None else limit + rule.clear - next(iter(rule.limits.values()))
    return msgspec.structs.replace(
        rule, **{rule.way: {"blue": limit}}, id=name, clear=margin, overrides=(), per_device=False
    )
