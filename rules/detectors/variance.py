"""Variance: the signal has become much noisier, or much quieter, than it is.

The mean absolute difference between neighbours over the last two hours beside that of the last week, as a logarithm: noise from
a loose contact raises it, a fouled or filtered sensor lowers it long before it is stuck. Page, Biometrika 1954, on the spread instead of the level;
Jones et al., Water Research 2022, on its use for sensors in rivers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from rules import tails
from rules.evidence import About, span
from rules.series import DAY, HOUR, REAL
from telemetry.text import Text

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rules.evidence import Words
    from rules.series import Desk, Look

_MEMORY_S, _SAMPLES, _USUAL = 2 * HOUR, 12, 0.25


class Detector:
    """Logarithm of the short over the long mean difference, in its usual size."""

    about = About(
        Text("波动变化", "change of variance"),
        Text("一天", "one day"),
        Text(
            "近两小时与近一周波动之比的对数", "logarithm of the last two hours' unrest over the last week's"
        ),
        "Page 1954; Jones et al. 2022",
    )
    columns: ClassVar = {"variance.now": REAL, **tails.columns("variance", 4.0, 1.0)}

    def score(self, desk: Desk, look: Look) -> NDArray[np.float32]:
        """Return the surprise of such unrest, or such calm."""
        usual = np.maximum(desk["dev_step"], 1e-12)
        pace = -np.expm1(-look.share / np.maximum(np.float32(_MEMORY_S), _SAMPLES * look.period))
        moved = np.minimum(np.abs(look.delta), 8 * usual)
        held = np.where(look.age < HOUR, usual, desk["variance.now"])
        now = np.where(look.calm, held, held + np.nan_to_num(pace) * (moved - held))
        desk["variance.now"] = now
        ratio = np.log((now + 0.1 * usual) / (1.1 * usual)) / np.float32(_USUAL)
        ready = (look.age > DAY) & ~look.calm
        return tails.surprise(desk, "variance", np.where(ready, np.abs(ratio), np.nan), look)

    def settle(self, desk: Desk, settled: NDArray[np.bool_]) -> None:
        """Keep what is remembered: it follows by itself."""

    def tell(self, desk: Desk, look: Look, n: int, words: Words) -> Text:
        """Say how much more, or less, it moves than usual."""
        now, usual = float(desk["variance.now"][n]), float(look.scale_step[n]) / 1.2533
        recent = span(max(_MEMORY_S, _SAMPLES * float(look.period[n])))
        zh, en = ("大", "more") if now > usual else ("小", "less")
        return Text(
            f"{words.label.zh}近{recent.zh}波动异常{zh}：平均每次变化{words.number(now)}，通常为{words.number(usual)}",
            f"{words.label.en} moves {en} than usual over the last {recent.en}: {words.number(now)} from one sample to the next, {words.number(usual)} is usual",
        )
