"""Drift: the value creeps away from where it has been for weeks.

A two-sided cumulative sum (Page, Biometrika 1954; Hinkley 1971) of the distance to the level of the last month, in its usual size and per day; half a usual
distance a day is forgiven. Where neighbours move along, only what exceeds theirs counts: seasons drift, and are no fault.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from rules import tails
from rules.evidence import About, span
from rules.series import DAY, REAL, weight
from telemetry.text import Text

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rules.evidence import Words
    from rules.series import Desk, Look

_FORGIVEN, _WARM_S, _MOST, _LEVEL_S = 0.75, 7 * DAY, 40.0, 6 * 3600.0
_SPREAD_S = 30 * DAY
_PER_UNIT = 0.43
"""−log10 p per unit of the sum: P(S > h) = exp(−2kh/σ²) (Siegmund 1985), with σ² = 2k where distances last for a day or two."""


class Detector:
    """Days of unusual distance, all on one side."""

    about = About(
        Text("漂移", "drift"),
        Text("七天", "seven days"),
        Text("同侧偏离的累积：倍数×天", "usual distances × days, summed while on one side"),
        "Page 1954; Hinkley 1971",
    )
    columns: ClassVar = {"drift.dev": REAL, "drift.level": REAL, "drift.up": REAL, "drift.down": REAL}

    def score(self, desk: Desk, look: Look) -> NDArray[np.float32]:
        """Return the surprise of having been away for so long."""
        z = np.clip(look.err_ref / look.scale_ref, -6, 6)
        if look.common_ref is not None:
            shared = np.nan_to_num(look.common_ref)
            z = z - np.sign(z) * np.clip(shared * np.sign(z), 0, np.abs(z))
        dev = desk["drift.dev"]
        w = np.where(look.standing, 0, weight(look.share, _SPREAD_S, look.count))
        bounded = np.minimum(np.abs(z), np.where(look.count < 20, 10, 3 * dev + 0.1))
        desk["drift.dev"] = dev + w * (bounded - dev)
        z = np.clip(z / (np.float32(1.2533) * dev + np.float32(0.15)), -6, 6)
        level = desk["drift.level"]
        level = level + -np.expm1(-look.share / np.float32(_LEVEL_S)) * (z - level)
        days = look.share / np.float32(DAY)
        up = np.clip(desk["drift.up"] + (level - _FORGIVEN) * days, 0, _MOST)
        down = np.clip(desk["drift.down"] + (-level - _FORGIVEN) * days, 0, _MOST)
        ready = look.age > _WARM_S
        desk["drift.level"] = level
        desk["drift.up"], desk["drift.down"] = np.where(ready, up, 0), np.where(ready, down, 0)
        most = np.maximum(desk["drift.up"], desk["drift.down"])
        told: NDArray[np.float32] = np.minimum(np.float32(_PER_UNIT) * most, tails.MOST).astype(np.float32)
        return told

    def settle(self, desk: Desk, settled: NDArray[np.bool_]) -> None:
        """Begin anew from the level that has become normal."""
        for name in ("drift.level", "drift.up", "drift.down"):
            desk[name] = np.where(settled, 0, desk[name])

    def tell(self, desk: Desk, look: Look, n: int, words: Words) -> Text:  # noqa: ARG002 - of the seam
        """Give the distance and the level that it left."""
        away = float(look.err_ref[n])
        old, known = words.number(float(look.x[n]) - away), span(min(float(look.age[n]), 30 * DAY))
        zh, en = ("偏高", "above") if away > 0 else ("偏低", "below")
        by = words.number(abs(away))
        return Text(
            f"{words.label.zh}持续{zh}{by}：近{known.zh}的水平为{old}",
            f"{words.label.en} stays {by} {en} the level of the last {known.en}, {old}",
        )
