"""Peers: this device goes one way while its neighbours go another, or stay.

The distance to the level of the last month, less the median of the same distance among the devices of the class in the same area: weather, traffic and
the grid move all of them, a fault moves one. Deng & Hooi, AAAI 2021, and Jones et al. 2022 learn whom to compare; the median needs no learning and
stands up to a minority of broken neighbours (Rousseeuw & Croux, JASA 1993).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from rules import tails
from rules.evidence import About
from rules.series import DAY, REAL, weight
from rules.state import VALUE
from telemetry.text import Text

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rules.evidence import Words
    from rules.series import Desk, Look

_SPREAD_S = 7 * DAY


class Detector:
    """Distance from what the neighbours do, in its usual size."""

    about = About(
        Text("与邻近设备不一致", "apart from its neighbours"),
        Text(
            "一天，且近期有至少三台同类设备上报",
            "one day, and three devices of its class that reported lately",
        ),
        Text(
            "与邻近设备偏离之差，以常见差值为单位",
            "difference to what the neighbours deviate by, in its usual size",
        ),
        "Rousseeuw & Croux 1993; Jones et al. 2022",
    )
    columns: ClassVar = {
        "peers.z": REAL,
        "peers.ref": REAL,
        "peers.x": VALUE,
        "peers.dev": REAL,
        **tails.columns("peers", 4.0, 0.9),
    }

    def score(self, desk: Desk, look: Look) -> NDArray[np.float32]:
        """Return the surprise of being so far apart."""
        if look.common_ref is None:
            return np.zeros(len(look.v), np.float32)
        apart = np.clip(look.err_ref / look.scale_ref, -1e6, 1e6) - look.common_ref
        known, dev = ~np.isnan(apart), desk["peers.dev"]
        scale = np.float32(1.2533) * dev * (1 + 12 / (look.count + 1)) + np.float32(0.05)
        size = np.abs(apart) / scale
        bounded = np.minimum(np.nan_to_num(np.abs(apart)), np.where(look.count < 20, 10, 4) * scale)
        w = np.where(known & ~look.standing, weight(look.share, _SPREAD_S, look.count), 0)
        desk["peers.dev"] = dev + w * (bounded - dev)
        ready = known & (look.age > DAY)
        return tails.surprise(desk, "peers", np.where(ready, size, np.nan).astype(np.float32), look)

    def settle(self, desk: Desk, settled: NDArray[np.bool_]) -> None:
        """Keep what is remembered: it follows by itself."""

    def tell(self, desk: Desk, look: Look, n: int, words: Words) -> Text:  # noqa: ARG002 - of the seam
        """Give the value and what the neighbours show."""
        nearby = float("nan") if look.nearby is None else float(look.nearby[n])
        value, others = words.number(float(look.x[n])), words.number(nearby)
        return Text(
            f"{words.label.zh}为{value}，与邻近设备走势不一致；邻近设备为{others}",
            f"{words.label.en} is {value} and does not move with its neighbours, which show {others}",
        )
