"""Stuck: the value rests longer than it ever does when the sensor lives.

A run counts while the value stays within half a step of the sensor's resolution, or a hundredth of its usual deviation.  The longest run that
has ended says what is normal, and how often neighbours are equal says how improbable a run of k is.  IOOS QARTOD flat-line test (manual for
in-situ temperature and salinity, 2020) with limits learned instead of given.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from rules import tails
from rules.evidence import About, span
from rules.series import HOUR, REAL, UNSET
from telemetry.text import Text

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rules.evidence import Words
    from rules.series import Desk, Look

_LEAST_S, _LEAST_SAMPLES, _FORGET_S = 1 * HOUR, 8, 60 * 86_400.0


class Detector:
    """Seconds at rest beside the longest rest known."""

    about = About(
        Text("数值不变", "stuck"),
        Text("一天，且至少100个样本", "one day, and 100 samples"),
        Text("静止时间与以往最长静止时间之比", "time at rest over the longest rest known"),
        "IOOS QARTOD flat line",
    )
    columns: ClassVar = {
        "stuck.rest": UNSET,
        "stuck.run": REAL,  # s
        "stuck.samples": REAL,
        "stuck.longest": REAL,  # s
        "stuck.share": UNSET,  # of samples that equal the one before
    }

    def score(self, desk: Desk, look: Look) -> NDArray[np.float32]:
        """Return the surprise of so long a rest."""
        rest, run, k = desk["stuck.rest"], desk["stuck.run"], desk["stuck.samples"]
        longest, share = desk["stuck.longest"], np.nan_to_num(desk["stuck.share"], nan=0.5)
        within = np.maximum(0.5 * look.quantum, 0.01 * look.scale_step)
        rests = np.abs(look.v - rest) <= within
        now = np.where(rests, run + look.share, 0).astype(np.float32)
        many = np.where(rests, k + 1, 0).astype(np.float32)
        ratio = now / np.maximum(longest, np.maximum(np.float32(_LEAST_S), 2 * look.period))
        chance = -(many - 1) * np.log10(np.clip(share, 0.01, 0.98))
        told = np.minimum(np.minimum(chance, 4 * (ratio - 1)), tails.MOST)
        ready = (look.count >= 100) & (look.age > 86_400) & (many >= _LEAST_SAMPLES)
        told = np.where(ready, np.maximum(told, 0), 0).astype(np.float32)
        # a run that was an alarm teaches at most half as much again
        ended = np.where(rests, 0, np.minimum(run, np.where(ready, 1.5 * np.maximum(longest, _LEAST_S), run)))
        faded = longest * np.exp(-look.share / np.float32(_FORGET_S))
        desk["stuck.longest"] = np.maximum(faded, ended)
        w = np.where(look.standing, 0, np.maximum(1 / (look.count + 2), 1 / 1000))
        desk["stuck.share"] = share + w * (rests - share)
        desk["stuck.rest"] = np.where(rests, rest, look.v)
        desk["stuck.run"], desk["stuck.samples"] = now, many
        return told

    def settle(self, desk: Desk, settled: NDArray[np.bool_]) -> None:
        """Keep what is remembered: it follows by itself."""

    def tell(self, desk: Desk, look: Look, n: int, words: Words) -> Text:
        """Say for how long it has rested, and what is usual."""
        value = words.number(float(look.x[n]))
        held, usual = span(float(desk["stuck.run"][n])), span(float(desk["stuck.longest"][n]))
        return Text(
            f"{words.label.zh}停在{value}已{held.zh}；以往最长{usual.zh}",
            f"{words.label.en} has rested at {value} for {held.en}; the longest so far was {usual.en}",
        )
