"""Scenarios: what happens to which device, when, and which alarms it must raise.

A scenario is a YAML file.  While it plays, its steps lay themselves over the world; when a step is over the
signal returns to what the world says.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import msgspec

from device_profiles.loading import load_catalogue
from simulators.district import District
from telemetry.config import load_yaml
from telemetry.errors import ConfigError, Refused, did_you_mean
from telemetry.text import Text

FOLDER = Path(__file__).parent / "scenarios"


class Step(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """From ``at_s`` on ``metric`` moves ``to`` a value over ``over_s``, holds until ``until_s``, returns over ``back_s``.

    Instead of moving, ``do`` makes the device ``offline`` (no answer), ``refuse`` (exception 4) or ``stick``
    (``metric`` keeps the value it had).
    """

    device: str
    at_s: float = 0.0
    until_s: float = 15.0
    metric: str = ""
    to: float | None = None
    over_s: float = 0.0
    back_s: float = 0.0
    do: Literal["", "offline", "refuse", "stick"] = ""


class Expectation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An alarm that must come, and the crossing of the served value from which its latency counts."""

    device: str
    rule: str
    severity: Literal["blue", "yellow", "orange", "red"]
    metric: str
    above: float | None = None
    below: float | None = None
    equals: float | None = None

    def crossed(self, value: float | None) -> bool:
        """Return whether a served value meets the condition."""
        if value is None:
            return False
        return (
            (self.above is not None and value > self.above)
            or (self.below is not None and value < self.below)
            or (self.equals is not None and value == self.equals)
        )


class Scenario(msgspec.Struct, frozen=True):
    """A story with an end."""

    name: str
    title: Text
    steps: tuple[Step, ...]
    expect: tuple[Expectation, ...]

    @property
    def duration_s(self) -> float:
        """Seconds until every signal is back to normal."""
        return max(step.until_s + step.back_s for step in self.steps)


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    title: Text
    steps: tuple[Step, ...]
    expect: tuple[Expectation, ...]


def load_scenarios(district: District, folder: Path = FOLDER) -> dict[str, Scenario]:
    """Read all scenarios and check them against the district; raise :class:`ConfigError`."""
    return {path.stem: load_scenario(path, district) for path in sorted(folder.glob("*.yaml"))}


def load_scenario(path: Path, district: District) -> Scenario:
    """Read one scenario; raise :class:`ConfigError`."""
    file = load_yaml(path, _File)
    devices = {device.id: load_catalogue()[device.profile] for device in district.devices}
    places: list[tuple[str, Sequence[Step | Expectation]]] = [("steps", file.steps), ("expect", file.expect)]
    for place, items in places:
        for index, item in enumerate(items):
            at = f"$.{place}[{index}]"
            if item.device not in devices:
                raise ConfigError(
                    path,
                    f"{at}.device",
                    f"no device '{item.device}'",
                    hint=did_you_mean(item.device, devices),
                )
            metrics = devices[item.device].metrics
            if item.metric and item.metric not in metrics:
                raise ConfigError(
                    path,
                    f"{at}.metric",
                    f"'{item.device}' has no '{item.metric}'",
                    hint=did_you_mean(item.metric, metrics),
                )
    for index, step in enumerate(file.steps):
        if step.until_s <= step.at_s + step.over_s:
            raise ConfigError(
                path,
                f"$.steps[{index}].until_s",
                f"{step.until_s:g} s is before it has begun",
                hint="it must exceed at_s + over_s",
            )
        if bool(step.do) == (step.to is not None) or (
            step.do not in {"offline", "refuse"} and not step.metric
        ):
            raise ConfigError(path, f"$.steps[{index}]", "needs 'metric' and one of 'to' and 'do'")
    return Scenario(path.stem, file.title, file.steps, file.expect)


class Run(msgspec.Struct):
    """A scenario that plays or has played; times in UTC ms."""

    scenario: Scenario
    started_ms: int
    changed_ms: list[int | None]  # of each expectation: when its crossing was served
    stuck: dict[tuple[str, str], float] = {}

    def plays(self, now_ms: int) -> bool:
        """Return whether it is still going on."""
        return now_ms < self.started_ms + self.scenario.duration_s * 1000


class Stage:
    """Which scenarios play now, and what they do to the world."""

    def __init__(self, scenarios: dict[str, Scenario]) -> None:
        self.scenarios = scenarios
        self.runs: list[Run] = []

    def start(self, name: str, now_ms: int) -> Run:
        """Start a scenario; raise :class:`Refused` when there is none or it plays already."""
        if name not in self.scenarios:
            raise Refused(f"no scenario '{name}'; {did_you_mean(name, self.scenarios)}")
        if any(run.scenario.name == name and run.plays(now_ms) for run in self.runs):
            raise Refused(f"'{name}' is playing already; it ends by itself")
        scenario = self.scenarios[name]
        run = Run(scenario, now_ms, [None] * len(scenario.expect), {})
        self.runs.append(run)
        return run

    def state(self, device: str, now_ms: int) -> str:
        """Return ``offline``, ``refuse`` or nothing."""
        for run in self.runs:
            for step in run.scenario.steps:
                if step.device == device and step.do in ("offline", "refuse") and _during(step, run, now_ms):
                    return step.do
        return ""

    def overlay(self, device: str, metric: str, base: float, now_ms: int) -> float:
        """Return what becomes of the world's ``base`` value."""
        for run in self.runs:
            if not run.plays(now_ms):
                continue
            for step in run.scenario.steps:
                if step.device != device or step.metric != metric:
                    continue
                if step.do == "stick" and _during(step, run, now_ms):
                    base = run.stuck.setdefault((device, metric), base)
                elif step.to is not None:
                    base += (step.to - base) * _share(step, (now_ms - run.started_ms) / 1000)
        return base

    def served(self, device: str, values: dict[str, float | None], now_ms: int) -> None:
        """Note the first moment at which a served value crosses what a playing scenario expects."""
        for run in self.runs:
            if run.plays(now_ms):
                for place, wanted in enumerate(run.scenario.expect):
                    if (
                        wanted.device == device
                        and run.changed_ms[place] is None
                        and wanted.crossed(values.get(wanted.metric))
                    ):
                        run.changed_ms[place] = now_ms


def _during(step: Step, run: Run, now_ms: int) -> bool:
    return step.at_s <= (now_ms - run.started_ms) / 1000 < step.until_s


def _share(step: Step, t_s: float) -> float:
    """How much of the way to ``to`` the signal has gone, 0 to 1."""
    if t_s < step.at_s or t_s >= step.until_s + step.back_s:
        return 0.0
    if t_s >= step.until_s:
        return 1.0 - (t_s - step.until_s) / step.back_s
    return 1.0 if not step.over_s else min(1.0, (t_s - step.at_s) / step.over_s)
