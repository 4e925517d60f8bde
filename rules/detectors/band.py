"""Band: the value is outside what is usual at this hour.

The expected value is the level of the last days plus what the hour of a working day or a day off adds; the spread is the mean absolute
deviation of the last week.  Where neighbours deviate the same way at the same time, only what exceeds theirs counts: that is weather, not a sensor.
Roberts, Technometrics 1959 (EWMA charts); Huber 1964 (winsorised updates).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from rules import tails
from rules.evidence import About, figures
from telemetry.text import Text

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rules.evidence import Words
    from rules.series import Desk, Look


class Detector:
    """Distance from the expected value of the hour, in scales."""

    about = About(
        Text("超出常见范围", "outside the usual band"),
        Text("30个样本；季节性三天后起作用", "30 samples; the hours of the day count after three visits"),
        Text(
            "与本时段期望值的距离，以常见离差为单位",
            "distance from what is expected at this hour, in usual deviations",
        ),
        "Roberts 1959; Huber 1964; Siffer et al. 2017 for the tail",
    )
    columns = tails.columns("band", 3.5, 0.8)

    def score(self, desk: Desk, look: Look) -> NDArray[np.float32]:
        """Return the surprise of being so far out."""
        z = look.z
        far = np.abs(z)
        if look.common is not None:
            shared = np.clip(1.2 * np.nan_to_num(look.common) * np.sign(z), 0, far)
            far = far - shared
        return tails.surprise(desk, "band", far, look)

    def settle(self, desk: Desk, settled: NDArray[np.bool_]) -> None:
        """Keep what is remembered: it follows by itself."""

    def tell(self, desk: Desk, look: Look, n: int, words: Words) -> Text:  # noqa: ARG002 - of the seam
        """Give the value and the usual span."""
        reach = float(2.5 * look.scale_slow[n])
        middle = float(look.origin[n] + look.expected[n])
        low, high = figures(middle - reach), words.number(middle + reach)
        value = words.number(float(look.x[n]))
        return Text(
            f"{words.label.zh}为{value}；此时段通常为{low}–{high}",
            f"{words.label.en} is {value}; at this hour {low}–{high} is usual",
        )
