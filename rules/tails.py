"""How seldom is a statistic as large as this, by the tail that it has shown so far.

Peaks over threshold (Siffer et al., KDD 2017, "Anomaly detection in streams with extreme value theory"; written anew here): ``u`` follows
the 98 % quantile by stochastic approximation, what lies above it a generalised Pareto distribution.  Its parameters
come from the mean ``m`` and variance of the excesses in O(1): ``shape = (1 - m²/var) / 2``, ``scale = m (1 + m²/var) / 2`` (Hosking & Wallis
1987, method of moments).  Until a series has shown its own tail, that of a normal statistic is assumed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from rules.state import Column

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from rules.series import Desk, Look

OVER = 0.02
"""The share of samples that lies above the threshold."""
NOTHING = -float(np.log10(OVER))
"""The surprise of a statistic that has just reached it: 1.7."""
MOST = 12.0
"""No tail is known well enough to say more than one in 10¹²."""
_PRIOR, _MEMORY, _FAST_S = 10, 200, 600_000.0


def columns(key: str, start: float, excess: float) -> Mapping[str, Column]:
    """Return what a tail remembers, 16 bytes a series; it starts at ``start`` with a mean ``excess``."""
    return {
        f"{key}.u": Column("<f4", start),
        f"{key}.m": Column("<f4", excess),
        f"{key}.q": Column("<f4", 2 * excess**2),
        f"{key}.k": Column("<f4", 0),
    }


def surprise(desk: Desk, key: str, statistic: NDArray[np.float32], look: Look) -> NDArray[np.float32]:
    """Return −log10 of the probability of a statistic at least this large (≥ 0), and learn from it.

    0 where the statistic is NaN.  Up to the threshold it grows in proportion.
    """
    u, known = desk[f"{key}.u"], ~np.isnan(statistic)
    s = np.where(known, statistic, 0)
    over = np.flatnonzero(s > u)
    told: NDArray[np.float32] = (np.float32(NOTHING) * np.minimum(s / u, 1)).astype(np.float32)
    hits = desk[f"{key}.k"]
    if len(over):
        m, q, k = desk[f"{key}.m"][over], desk[f"{key}.q"][over], hits[over]
        excess = s[over] - u[over]
        ratio = np.clip(m**2 / np.maximum(q - m**2, 1e-12), 0.1, 1.0)
        shape, scale = (1 - ratio) / 2, m * (1 + ratio) / 2
        heavy = np.log1p(shape * excess / scale) / np.maximum(shape, 1e-6)
        told[over] = np.minimum(NOTHING + np.where(shape < 1e-4, excess / scale, heavy) / np.log(10), MOST)
        learns = ~look.standing[over]
        bounded = np.minimum(excess, 8 * m)
        w = np.where(learns, np.maximum(1 / (k + _PRIOR), 1 / _MEMORY), 0)
        for name, held, news in ((f"{key}.m", m, bounded), (f"{key}.q", q, bounded**2)):
            column = desk[name]
            column[over] = held + w * (news - held)
            desk[name] = column
        hits = hits.copy()
        hits[over] = k + learns
        desk[f"{key}.k"] = hits
    pace = np.maximum(np.clip(look.share / np.float32(_FAST_S), 0.0002, 0.01), 0.3 / (1 + hits))
    pace = np.where(known & ~look.standing, pace, 0)
    desk[f"{key}.u"] = u * np.exp(pace * ((s > u) - np.float32(OVER)))
    return told
