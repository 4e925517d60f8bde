"""What the engine asks of a detector, and the words that detectors speak with."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from telemetry.text import Text

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    from rules.series import Desk, Look
    from rules.state import Column


@dataclass(frozen=True)
class About:
    """What a detector says of itself."""

    label: Text
    warm_up: Text
    """From when on it says anything."""
    score: Text
    """What its number means beside −log10 p."""
    paper: str
    wide: bool = False
    """It looks at several metrics of a device together, so that a rule must name them."""


@dataclass(frozen=True)
class Words:
    """How people call the metric, and its unit."""

    label: Text
    unit: str = ""
    others: tuple[Words, ...] = ()
    """Of each metric, where several are judged together."""

    def number(self, value: float) -> str:
        """Return a number with the figures that matter and the unit."""
        return f"{figures(value)} {self.unit}".strip()


class Evidence(Protocol):
    """One detector, over all series of one metric at once."""

    about: About
    columns: Mapping[str, Column]
    """What it remembers for each series, under names that begin with its own."""

    def score(self, desk: Desk, look: Look) -> NDArray[np.float32]:
        """Return −log10 p of what is seen, (n,), 0 for nothing; then learn from it, and from nothing later."""

    def settle(self, desk: Desk, settled: NDArray[np.bool_]) -> None:
        """Forget what an alarm was about, where it has stood for a day and is now taken for normal."""

    def tell(self, desk: Desk, look: Look, n: int, words: Words) -> Text:
        """Say in an operator's words what is odd about the nth sample, just scored."""


def figures(value: float) -> str:
    """Write a number as a person would: three figures, no exponent where it can be helped.

    >>> figures(183.4), figures(0.02341), figures(12345.6), figures(7.40)
    ('183', '0.0234', '12346', '7.4')
    """
    if not math.isfinite(value):
        return "–"
    size = abs(value)
    if size >= 100 or value == int(value):
        return f"{value:.0f}"
    return f"{value:.3g}" if size >= 1e-4 else f"{value:.1e}"


def span(seconds: float) -> Text:
    """Write a length of time in the unit that fits it.

    >>> span(5400).en, span(5400).zh, span(300_000).en
    ('1.5 h', '1.5小时', '3.5 days')
    """
    for unit, zh, en in ((86_400, "天", "days"), (3600, "小时", "h"), (60, "分钟", "min")):
        if seconds >= 1.5 * unit or (unit == 3600 and seconds >= unit):
            count = f"{seconds / unit:.2g}" if seconds < 100 * unit else f"{seconds / unit:.0f}"
            return Text(f"{count}{zh}", f"{count} {en}")
    return Text(f"{seconds:.0f}秒", f"{seconds:.0f} s")
