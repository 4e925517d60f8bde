"""Novelty: the value lies outside everything the series has shown.

The distance beyond the range seen so far, as a share of that range; the longer the range has held, the more it counts. Extremes are taken in
with bounds, so that one wild value does not make the next ones ordinary, and the range closes slowly again. After the "spatial anomaly" of the HTM
detector in the Numenta benchmark (Ahmad et al., Neurocomputing 2017), without its knowledge of the whole series' range.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from rules import tails
from rules.evidence import About, figures
from rules.series import DAY, UNSET
from telemetry.text import Text

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rules.evidence import Words
    from rules.series import Desk, Look

_FORGET_S = 90 * DAY


class Detector:
    """Distance beyond the range ever seen, in ranges."""

    about = About(
        Text("超出历史范围", "beyond all seen before"),
        Text("一天，且至少100个样本", "one day, and 100 samples"),
        Text("超出历史范围的距离与该范围之比", "distance beyond the range seen so far, as a share of it"),
        "Ahmad et al. 2017",
    )
    columns: ClassVar = {"novelty.low": UNSET, "novelty.high": UNSET}

    def score(self, desk: Desk, look: Look) -> NDArray[np.float32]:
        """Return the surprise of being so far beyond."""
        low = np.where(np.isnan(desk["novelty.low"]), look.v, desk["novelty.low"])
        high = np.where(np.isnan(desk["novelty.high"]), look.v, desk["novelty.high"])
        width = np.maximum(high - low, 2 * look.scale_slow)
        beyond = np.maximum(np.maximum(look.v - high, low - look.v), 0) / width
        ready = (look.count >= 100) & (look.age > DAY) & (beyond > 0)
        held = 1 + 0.5 * np.log10(look.count + 1)
        told = np.where(ready, np.minimum(held + 5 * beyond, tails.MOST), 0).astype(np.float32)
        most = np.where(look.count < 20, np.inf, np.where(look.standing, 0.1, 0.5) * width)
        middle = (low + high) / 2
        fade = np.exp(-look.share / np.float32(_FORGET_S))
        desk["novelty.high"] = np.maximum(middle + (high - middle) * fade, np.minimum(look.v, high + most))
        desk["novelty.low"] = np.minimum(middle + (low - middle) * fade, np.maximum(look.v, low - most))
        return told

    def settle(self, desk: Desk, settled: NDArray[np.bool_]) -> None:
        """Keep what is remembered: it follows by itself."""

    def tell(self, desk: Desk, look: Look, n: int, words: Words) -> Text:
        """Give the value and the range, which has just been widened by it."""
        value, origin = words.number(float(look.x[n])), float(look.origin[n])
        low, high = (
            figures(origin + float(desk["novelty.low"][n])),
            words.number(origin + float(desk["novelty.high"][n])),
        )
        return Text(
            f"{words.label.zh}为{value}，超出以往全部数值（{low}–{high}）",
            f"{words.label.en} is {value}, beyond all values so far ({low}–{high})",
        )
