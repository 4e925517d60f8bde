"""What of a device's samples is reported: all, what has changed, or the extremes of a window.

The policy stands between the buses and the outbox.  What it withholds is counted by policy, so that
``read = made + not_reported`` holds; ``made`` is what the outbox then accounts for.

* ``every``: every sample.
* ``change``: a sample that differs from the last one reported by more than ``dead_band``, or has another quality,
  or comes ``heartbeat_s`` after it.
* ``window``: of each ``window_s`` the lowest, the highest and the last sample, each with its own time, so that an
  extreme is never lost and nothing is invented.  A change of quality is reported at once.

States and bits are reported at once whenever they change, under any policy.  A sample without a value never takes
the place of one with a value.
"""

from __future__ import annotations

import fnmatch
from typing import TYPE_CHECKING, Literal

import msgspec

from device_profiles.vocabulary import Kind, load_classes
from telemetry.errors import ConfigError, did_you_mean
from telemetry.quality import Quality
from telemetry.readings import DeviceId, MetricName, Reading

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from device_profiles.profile import Profile
    from edge_agent.stamps import Step


class ReportRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``[[report]]``: the first that fits a metric decides; a metric that none fits is reported always."""

    policy: Literal["every", "change", "window"]
    device: str = "*"  # a pattern: chg-*
    metrics: tuple[str, ...] = ()  # none named: all
    dead_band: float = 0.0  # in the unit of the metric
    heartbeat_s: float = 300.0
    window_s: float = 60.0


EVERY = ReportRule("every")


def check_rules(path: Path, rules: Sequence[ReportRule], profiles: Iterable[Profile]) -> None:
    """Raise :class:`ConfigError` for a rule that can never fit or makes no sense."""
    known = {metric for profile in profiles for metric in profile.metrics}
    for index, rule in enumerate(rules):
        at = f"$.report[{index}]"
        for metric in rule.metrics:
            if metric not in known:
                raise ConfigError(
                    path, f"{at}.metrics", f"no device here has '{metric}'", hint=did_you_mean(metric, known)
                )
        if not rule.dead_band >= 0:  # nor nan, beside which nothing is a change
            raise ConfigError(
                path,
                f"{at}.dead_band",
                f"{rule.dead_band:g} is not at least 0",
                hint="0 reports every change",
            )
        for key in ("heartbeat_s", "window_s"):
            if not 1 <= getattr(rule, key) <= 86_400:
                raise ConfigError(path, f"{at}.{key}", f"{getattr(rule, key):g} s is not within 1 and 86400")


class _Sample(msgspec.Struct, frozen=True):
    time: int
    value: float | None
    quality: Quality


class _Track:
    """One metric of one device."""

    __slots__ = ("high", "last", "low", "reported", "rule", "since", "stepwise")

    def __init__(self, rule: ReportRule, *, stepwise: bool) -> None:
        self.rule, self.stepwise = rule, stepwise
        self.reported: _Sample | None = None
        self.low: _Sample | None = None
        self.high: _Sample | None = None
        self.last: _Sample | None = None
        self.since = 0  # when the window began

    def take(self, sample: _Sample) -> list[_Sample]:
        """Return what is to be reported now."""
        before = self.last or self.reported
        if self.rule.policy == "every":
            return [sample]
        new = (
            before is None
            or before.quality != sample.quality
            or (self.stepwise and before.value != sample.value)
        )
        if self.rule.policy == "change" or self.stepwise:
            return self._changed(sample, new=new)
        if new:
            return [*self.flush(), self._report(sample)]
        if self.last is None:
            self.since = sample.time
        self.last = sample
        if sample.value is not None:
            if self.low is None or self.low.value is None or sample.value < self.low.value:
                self.low = sample
            if self.high is None or self.high.value is None or sample.value > self.high.value:
                self.high = sample
        return self.flush() if sample.time - self.since >= (self.rule.window_s * 1000) else []

    def flush(self) -> list[_Sample]:
        """Close the window: return its lowest, highest and last sample in the order of their times."""
        held = {s.time: s for s in (self.low, self.high, self.last) if s is not None}
        if self.last is not None:
            self.reported = self.last
        self.low = self.high = self.last = None
        return [held[time] for time in sorted(held)]

    def restamp(self, step: Step) -> None:
        """Move what was stamped before the clock was set."""
        for name in ("reported", "low", "high", "last"):
            sample: _Sample | None = getattr(self, name)
            if sample is not None and step.is_old(sample.time):
                quality = sample.quality
                if quality is Quality.GOOD and name != "reported":  # which has gone out as it was
                    quality = Quality.CLOCK_SUSPECT
                setattr(self, name, _Sample(sample.time + step.by_ms, sample.value, quality))
        if step.is_old(self.since):
            self.since += step.by_ms

    def held(self) -> int:
        """How many samples wait for the window's end."""
        return len({s.time for s in (self.low, self.high, self.last) if s is not None})

    def _changed(self, sample: _Sample, *, new: bool) -> list[_Sample]:
        earlier, beat = (
            self.reported,
            self.rule.heartbeat_s if self.rule.policy == "change" else self.rule.window_s,
        )
        moved = (
            earlier is not None
            and earlier.value is not None
            and sample.value is not None
            and abs(sample.value - earlier.value) > self.rule.dead_band
        )
        stale = earlier is not None and sample.time - earlier.time >= beat * 1000
        return [self._report(sample)] if new or moved or stale or earlier is None else []

    def _report(self, sample: _Sample) -> _Sample:
        self.reported = sample
        return sample


class Reporter:
    """Applies the rules to readings; ``classes`` names each device's class."""

    def __init__(self, rules: Sequence[ReportRule], classes: Mapping[str, str]) -> None:
        self._rules, self._classes = rules, classes
        self._tracks: dict[tuple[str, str], _Track] = {}
        self.withheld: dict[str, int] = {}
        """Samples withheld and not written down yet, by policy."""

    def take(self, reading: Reading) -> list[Reading]:
        """Return what of a reading, and of what was held back before it, is to be reported now."""
        if not self._rules:
            return [reading]
        out: list[tuple[MetricName, _Sample]] = []
        for metric, value in reading.values.items():
            track = self._track(reading.device, metric)
            held = track.held()
            sample = _Sample(reading.time, value, reading.quality.get(metric, Quality.GOOD))
            passed = track.take(sample)
            out += [(metric, sample) for sample in passed]
            self._withhold(track.rule.policy, held + 1 - len(passed) - track.held())
        return _readings(reading.device, out, reading)

    def flush(self) -> list[Reading]:
        """Return everything that waits for a window's end."""
        readings: list[Reading] = []
        by_device: dict[str, list[tuple[MetricName, _Sample]]] = {}
        for (device, metric), track in self._tracks.items():
            by_device.setdefault(device, []).extend((MetricName(metric), s) for s in track.flush())
        for device, samples in by_device.items():
            readings += _readings(DeviceId(device), samples, None)
        return readings

    def held(self) -> list[Reading]:
        """Return what :meth:`flush` would, and keep it."""
        by_device: dict[str, list[tuple[MetricName, _Sample]]] = {}
        for (device, metric), track in self._tracks.items():
            samples = {s.time: s for s in (track.low, track.high, track.last) if s is not None}
            by_device.setdefault(device, []).extend((MetricName(metric), s) for s in samples.values())
        return [
            r for device, samples in by_device.items() for r in _readings(DeviceId(device), samples, None)
        ]

    def restamp(self, step: Step) -> None:
        """Put right the times of what waits for a window's end."""
        for track in self._tracks.values():
            track.restamp(step)

    def is_written(self, withheld: Mapping[str, int]) -> None:
        """Take note that these counts are on disk; what was withheld meanwhile is not among them."""
        for policy, count in withheld.items():
            self._withhold(policy, -count)

    def _withhold(self, policy: str, count: int) -> None:
        if left := self.withheld.pop(policy, 0) + count:
            self.withheld[policy] = left

    def _track(self, device: str, metric: str) -> _Track:
        track = self._tracks.get((device, metric))
        if track is None:
            rule = next(
                (
                    r
                    for r in self._rules
                    if fnmatch.fnmatchcase(device, r.device) and (not r.metrics or metric in r.metrics)
                ),
                EVERY,
            )
            known = load_classes().get(self._classes.get(device, ""))
            stepwise = (
                known is not None and metric in known.metrics and known.metrics[metric].kind in _STEPWISE
            )
            track = self._tracks[device, metric] = _Track(rule, stepwise=stepwise)
        return track


_STEPWISE = (Kind.STATE, Kind.BITS)


def _readings(
    device: DeviceId, samples: list[tuple[MetricName, _Sample]], whole: Reading | None
) -> list[Reading]:
    """Put samples together again by their time; attributes go with a sample of the reading they came with."""
    if (
        whole is not None
        and len(samples) == len(whole.values)
        and all(s.time == whole.time for _, s in samples)
    ):
        return [whole]
    times: dict[int, list[tuple[MetricName, _Sample]]] = {}
    for metric, sample in samples:
        times.setdefault(sample.time, []).append((metric, sample))
    return [
        Reading(
            device,
            time,
            {metric: sample.value for metric, sample in times[time]},
            {metric: sample.quality for metric, sample in times[time] if sample.quality is not Quality.GOOD},
            whole.attributes if whole is not None and whole.time == time else {},
        )
        for time in sorted(times)
    ]
