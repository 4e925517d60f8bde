"""Hotelling: the metrics of one device no longer fit each other.

T² (Hotelling 1947) of up to eight metrics, with a mean and covariance that follow over seven days, winsorised at four deviations and shrunk 2 % to
independence; scored before it learns. A metric that is absent counts as if it were usual. T² is brought to a normal scale by
the cube root (Wilson & Hilferty 1931), and its tail calibrated like all others. The inverse is renewed every two hours of the
device's own time, which is little against seven days.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from rules import tails
from rules.evidence import About
from rules.series import DAY, REAL, weight
from rules.state import TIME, VALUE, Column
from telemetry.text import Text

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rules.evidence import Words
    from rules.series import Desk, Look

METRICS = 8
_MEMORY_S, _SHRINK, _RENEW_MS, _CLIP = 7 * DAY, 0.02, 7_200_000, 4


class Detector:
    """T² on a normal scale."""

    about = About(
        Text("指标之间不协调", "metrics at odds"),
        Text("一天", "one day"),
        Text("T²统计量换算为正态刻度", "T² on a normal scale"),
        "Hotelling 1947; Wilson & Hilferty 1931",
        wide=True,
    )
    columns: ClassVar = {
        "hotelling.origin": Column("<f8", np.nan, METRICS),
        "hotelling.mean": Column("<f4", 0, METRICS),
        "hotelling.dev": Column("<f4", 0, METRICS),
        "hotelling.seen": Column("<f4", 0, METRICS),
        "hotelling.between": Column("<f4", 0, METRICS * METRICS),
        "hotelling.inverse": Column("<f4", 0, METRICS * METRICS),
        "hotelling.renewed": TIME,
        "hotelling.worst": REAL,
        "hotelling.was": VALUE,
        **tails.columns("hotelling", 2.0, 0.7),
    }

    def score(self, desk: Desk, look: Look) -> NDArray[np.float32]:
        """Return the surprise of so large a T²."""
        row = _eight(look)
        origin = np.where(np.isnan(desk["hotelling.origin"]), row, desk["hotelling.origin"])
        desk["hotelling.origin"] = origin
        v = (row - origin).astype(np.float32)
        known, mean, seen = ~np.isnan(v), desk["hotelling.mean"], desk["hotelling.seen"]
        dev = desk["hotelling.dev"]
        floor = 1e-6 * np.abs(np.nan_to_num(row)).astype(np.float32) + np.float32(1e-12)
        scale = np.float32(1.2533) * dev * (1 + 12 / (seen + 1)) + floor
        z = np.where(known & (seen > 0), np.clip((v - mean) / scale, -30, 30), 0).astype(np.float32)
        z[~np.isfinite(z)] = 0
        renew = (desk["hotelling.renewed"] < 0) | (look.time - desk["hotelling.renewed"] > _RENEW_MS)
        self._renew(desk, np.flatnonzero(renew), look)
        inverse = desk["hotelling.inverse"].reshape(-1, METRICS, METRICS)
        parts = z * np.matmul(inverse, z[:, :, None])[:, :, 0]
        d = np.maximum(known.sum(axis=1), 1).astype(np.float32)
        t2 = np.maximum(parts.sum(axis=1), 0) / d
        normal = np.maximum((np.cbrt(t2) - (1 - 2 / (9 * d))) / np.sqrt(2 / (9 * d)), 0)
        worst = np.argmax(np.where(known, parts, -np.inf), axis=1)
        rows = np.arange(len(worst))
        desk["hotelling.worst"] = worst
        desk["hotelling.was"] = origin[rows, worst] + mean[rows, worst]
        self._learn(desk, look, v, z, known, scale)
        return tails.surprise(
            desk, "hotelling", np.where(look.age > DAY, normal, np.nan).astype(np.float32), look
        )

    def settle(self, desk: Desk, settled: NDArray[np.bool_]) -> None:
        """Keep what is remembered: it follows within days."""

    def tell(self, desk: Desk, look: Look, n: int, words: Words) -> Text:
        """Name the metric that fits the others least."""
        worst = int(desk["hotelling.worst"][n])
        one = words.others[worst] if words.others else words
        value = float(look.x[n] if look.row is None else look.row[n, worst])
        usual = one.number(float(desk["hotelling.was"][n]))
        return Text(
            f"{one.label.zh}为{one.number(value)}，与本设备其他指标不协调；通常约为{usual}",
            f"{one.label.en} is {one.number(value)}, which does not fit the other metrics of the device; {usual} is usual",
        )

    @staticmethod
    def _renew(desk: Desk, due: NDArray[np.intp], look: Look) -> None:
        if not len(due):
            return
        between = desk["hotelling.between"][due].reshape(-1, METRICS, METRICS).astype(np.float64)
        spread = np.sqrt(np.maximum(np.diagonal(between, axis1=1, axis2=2), 0))
        spread = np.where(spread > 0.05, spread, 1)
        related = between / (spread[:, :, None] * spread[:, None, :]) * (1 - _SHRINK)
        slot = np.arange(METRICS)
        related[:, slot, slot] = 1
        inverse = desk["hotelling.inverse"]
        inverse[due] = np.linalg.inv(related).reshape(len(due), -1)
        renewed = desk["hotelling.renewed"]
        renewed[due] = look.time[due]
        desk["hotelling.inverse"], desk["hotelling.renewed"] = inverse, renewed

    @staticmethod
    def _learn(
        desk: Desk, look: Look, v: NDArray[np.float32], z: NDArray[np.float32],
        known: NDArray[np.bool_], scale: NDArray[np.float32],
    ) -> None:  # fmt: skip
        mean, dev, seen = desk["hotelling.mean"], desk["hotelling.dev"], desk["hotelling.seen"]
        clip = np.where(seen < 20, 20, np.where(look.standing[:, None], 2, _CLIP)) * scale
        w = np.where(known, weight(look.share[:, None], _MEMORY_S, seen), 0)
        err = np.where(known, v - mean, 0)
        first = seen == 0
        desk["hotelling.mean"] = np.where(first & known, v, mean + w * np.clip(err, -clip, clip))
        desk["hotelling.dev"] = np.where(first, 0, dev + w * (np.minimum(np.abs(err), clip) - dev))
        u = np.clip(z, -_CLIP, _CLIP)
        between = desk["hotelling.between"]
        one = weight(look.share, _MEMORY_S, look.count)[:, None]
        desk["hotelling.between"] = between + one * (
            (u[:, :, None] * u[:, None, :]).reshape(len(u), -1) - between
        )
        desk["hotelling.seen"] = seen + known


def _eight(look: Look) -> NDArray[np.float64]:
    """Return the metrics in eight columns, NaN where there are fewer."""
    given = look.x[:, None] if look.row is None else look.row
    row = np.full((len(look.v), METRICS), np.nan)
    row[:, : given.shape[1]] = given
    return row
