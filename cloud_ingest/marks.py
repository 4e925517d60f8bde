"""Which uploads are committed: ranges of seq for each agent and boot, in bounded space."""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

MOST_RANGES = 256
"""Of one boot.  Holes are what an agent had to give up; beyond this the oldest hole is closed."""


class Ranges:
    """A set of whole numbers kept as closed ranges.

    >>> seen = Ranges([(1, 3)])
    >>> seen.add(5), 3 in seen, 4 in seen, seen.add(4), seen.pairs
    (None, True, False, None, [(1, 5)])
    """

    def __init__(self, pairs: Iterable[tuple[int, int]] = ()) -> None:
        self.pairs = sorted(pairs)

    def __contains__(self, number: int) -> bool:
        if not self.pairs or number > self.pairs[-1][1]:  # as nearly always
            return False
        place = bisect_right(self.pairs, (number, float("inf"))) - 1
        return place >= 0 and self.pairs[place][1] >= number

    def add(self, number: int) -> None:
        """Put one number in."""
        if self.pairs and self.pairs[-1][1] + 1 == number:  # as nearly always
            self.pairs[-1] = (self.pairs[-1][0], number)
            return
        if number in self:
            return
        place = bisect_right(self.pairs, (number, number))
        first = last = number
        if place < len(self.pairs) and self.pairs[place][0] == number + 1:
            last = self.pairs.pop(place)[1]
        if place and self.pairs[place - 1][1] == number - 1:
            place -= 1
            first = self.pairs.pop(place)[0]
        self.pairs.insert(place, (first, last))
        if len(self.pairs) > MOST_RANGES:
            self.pairs[:2] = [(self.pairs[0][0], self.pairs[1][1])]

    def around(self, numbers: Iterable[int]) -> tuple[tuple[int, int], ...]:
        """Return the ranges that hold ``numbers``: what to acknowledge."""
        return tuple(
            sorted(
                {self.pairs[bisect_right(self.pairs, (n, float("inf"))) - 1] for n in numbers if n in self}
            )
        )
