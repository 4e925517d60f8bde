"""The rules once more, one sample at a time and without arrays: slow, plain, and what the engine must equal."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

COLOURS = ("none", "blue", "yellow", "orange", "red")
PASSED = {
    "above": lambda v, limit: v > limit,
    "at_least": lambda v, limit: v >= limit,
    "below": lambda v, limit: v < limit,
    "at_most": lambda v, limit: v <= limit,
    "equals": lambda v, limit: v == limit,
}


@dataclass
class Track:
    """One rule on one device."""

    rule: dict[str, Any]
    late: bool = False
    judged: int | None = None
    level: int = 0
    began: int = 0
    value: float = 0.0
    past: tuple[int, int] | None = None
    timers: dict[Any, tuple[int, int]] = field(default_factory=dict)  # step → since, held (ms)
    rest: float | None = None
    told: list[tuple[Any, ...]] = field(default_factory=list)

    def frame(self, rows: list[tuple[int, float]]) -> None:
        """Take the known samples of one frame, in the order they came."""
        rows = sorted(rows, key=lambda row: row[0])
        start = self.judged
        late = [row for row in rows if start is not None and row[0] < start]
        for time, value in rows:
            if self.judged is None or time > self.judged:
                self.sample(time, value)
        if late:
            self.look_back(late)

    def look_back(self, rows: list[tuple[int, float]]) -> None:
        then = Track(self.rule, late=True)
        for time, value in rows:
            if then.judged is None or time > then.judged:
                then.sample(time, value)
        if then.level:
            then.tell("ended", then.level, then.judged, then.value)
        episodes: dict[int, list[tuple[Any, ...]]] = {}
        for line in then.told:
            episodes.setdefault(line[0], []).append(line)
        for episode in episodes.values():
            first, last = episode[0][3], episode[-1][3]
            spans = [self.past] if self.past else []
            if self.level:
                spans.append((self.began, math.inf))
            if not any(first < ended and last >= began for began, ended in spans):
                self.told += episode

    def sample(self, time: int, value: float) -> None:
        level = self.stuck(time, value) if "stuck" in self.rule else self.limits(time, value)
        self.judged, self.value = time, value
        if level == self.level:
            return
        if self.level == 0:
            self.began = min((since for since, _ in self.timers.values()), default=time)
            change, at = "began", self.began
        elif level == 0:
            self.past, self.level = (self.began, time), self.level
            self.tell("ended", self.level, time, value)
            self.level = 0
            return
        else:
            change = "worsened" if level > self.level else "eased"
            at = self.timers.get(level, (time, 0))[0] if change == "worsened" else time
        self.level = level
        self.tell(change, level, at, value)

    def tell(self, change: str, level: int, time: int | None, value: float) -> None:
        self.told.append((self.began, change, COLOURS[level], time, value, self.late))

    def limits(self, time: int, value: float) -> int:
        way = next(key for key in PASSED if key in self.rule)
        for_ms = self.rule.get("for_s", 0) * 1000
        gap_ms = round(1000 * self.rule.get("gap_s", 2 / 3 * self.rule.get("for_s", 0)))
        limits, level = self.rule[way], 0
        mildest = limits[min(limits, key=COLOURS.index)]
        for colour in sorted(limits, key=COLOURS.index):
            step = COLOURS.index(colour)
            beyond = PASSED[way](value, limits[colour])
            if "clear" in self.rule and self.level >= step:
                clear = limits[colour] + (self.rule["clear"] - mildest)
                beyond = beyond or (value > clear if way in ("above", "at_least") else value < clear)
            if not beyond:
                self.timers.pop(step, None)
                continue
            if for_ms:
                since, held = self.timers.get(step, (time, None))
                held = 0 if held is None else held + min(time - self.judged, gap_ms)
                self.timers[step] = since, held
                if held < for_ms and self.level < step:
                    continue
            level = step
        return level

    def stuck(self, time: int, value: float) -> int:
        rule = self.rule["stuck"]
        if self.rest is None or abs(value - self.rest) > rule["within"]:
            self.rest, self.timers["rest"] = value, (time, 0)
            return 0
        since, held = self.timers["rest"]
        held += min(time - self.judged, round(1000 * (2 / 3) * rule["after_s"]))
        self.timers["rest"] = since, held
        return COLOURS.index(rule["severity"]) if self.level or held >= rule["after_s"] * 1000 else 0


def judge(
    rules: list[dict[str, Any]], frames: list[list[Any]]
) -> dict[tuple[str, str], list[tuple[Any, ...]]]:
    """Return what is told of each (rule, device); a frame is a list of readings."""
    tracks: dict[tuple[str, str], Track] = {}
    for readings in frames:
        for rule in rules:
            rows: dict[str, list[tuple[int, float]]] = {}
            for reading in readings:
                value, quality = reading.values[rule["metric"]], reading.quality.get(rule["metric"], 0)
                if value is not None and math.isfinite(value) and quality < 64:
                    rows.setdefault(reading.device, []).append((reading.time, value))
            for device, known in rows.items():
                tracks.setdefault((rule["id"], device), Track(rule)).frame(known)
    return {key: track.told for key, track in tracks.items() if track.told}
