"""Neighbours: what the devices of one class at one place show together, as medians over each group."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

LEAST = 4
"""Devices of a group that must have spoken lately: the one judged, and three that agree or do not."""


class Groups:
    """Which group each of n places belongs to, laid out for medians: one row for each group."""

    def __init__(self, ids: NDArray[np.intp]) -> None:
        """Take a group number for each place; those of −1, whose group nobody knows, are one group."""
        _, self._group = np.unique(ids, return_inverse=True)
        order = np.argsort(self._group, kind="stable")
        sizes = np.bincount(self._group)
        self._size, self._widest = len(sizes), int(sizes.max(initial=0))
        self._column = np.empty(len(ids), np.intp)
        self._column[order] = np.arange(len(ids)) - np.repeat(np.cumsum(sizes) - sizes, sizes)

    @property
    def is_lonely(self) -> bool:
        """Whether no group is large enough."""
        return self._widest < LEAST

    def medians(self, values: NDArray[Any], fresh: NDArray[np.bool_]) -> NDArray[Any]:
        """Return for each place the median of its group's fresh values; NaN where fewer than :data:`LEAST` are."""
        if self._size == 1:
            some = values[fresh]
            middle = np.median(some) if len(some) >= LEAST else np.nan
            return np.full(len(values), middle, values.dtype)
        table = np.full((self._size, self._widest), np.inf, values.dtype)
        table[self._group, self._column] = np.where(fresh, values, np.inf)
        count = np.bincount(self._group[fresh], minlength=self._size)
        table.sort(axis=1)
        rows, upper = np.arange(self._size), np.minimum(count // 2, self._widest - 1)
        lower = np.maximum((count - 1) // 2, 0)
        enough = count >= LEAST
        low, high = table[rows, lower], table[rows, upper]
        medians = np.full(self._size, np.nan, values.dtype)
        medians[enough] = (low[enough] + high[enough]) / 2
        found: NDArray[Any] = medians[self._group]
        return found
