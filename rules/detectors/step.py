"""Step: the value jumps further between two samples than it ever does.

The difference to the sample before, in its own usual size, corrected for the time between them.  A single spike is a step and a step back.
IOOS QARTOD spike and rate-of-change tests, with limits learned instead of given; half of real faults of water sensors begin with a jump (Leigh
et al., Science of the Total Environment 2019).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from rules import tails
from rules.evidence import About
from telemetry.text import Text

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rules.evidence import Words
    from rules.series import Desk, Look


class Detector:
    """Size of the step to the sample before, in usual steps."""

    about = About(
        Text("突变", "sudden step"),
        Text("30个样本；中断后静默3个样本", "30 samples; silent for three samples after a gap"),
        Text("与前一样本之差，以常见差值为单位", "difference to the sample before, in usual differences"),
        "IOOS QARTOD spike and rate tests; Leigh et al. 2019",
    )
    columns = tails.columns("step", 4.0, 1.2)

    def score(self, desk: Desk, look: Look) -> NDArray[np.float32]:
        """Return the surprise of so large a step."""
        size = np.abs(look.delta) / look.scale_step
        return tails.surprise(desk, "step", np.where(look.calm, np.nan, size).astype(np.float32), look)

    def settle(self, desk: Desk, settled: NDArray[np.bool_]) -> None:
        """Keep what is remembered: it follows by itself."""

    def tell(self, desk: Desk, look: Look, n: int, words: Words) -> Text:  # noqa: ARG002 - of the seam
        """Give the step and the usual one."""
        before = words.number(float(look.x[n] - look.delta[n]))
        value, usual = words.number(float(look.x[n])), words.number(float(2.5 * look.scale_step[n]))
        return Text(
            f"{words.label.zh}从{before}突变到{value}；相邻两次通常相差不到{usual}",
            f"{words.label.en} went from {before} to {value} at once; a step is usually below {usual}",
        )
