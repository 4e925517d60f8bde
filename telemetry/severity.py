"""Warning levels of the Emergency Response Law: 蓝 IV · 黄 III · 橙 II · 红 I."""

from __future__ import annotations

from enum import IntEnum

from telemetry.text import Text


class Severity(IntEnum):
    """Ascending urgency, so that the greater is the worse.

    >>> Severity.RED > Severity.BLUE
    True
    >>> Severity.parse("orange").label.zh
    '橙'
    """

    BLUE = 1  # level IV, the lowest
    YELLOW = 2  # level III
    ORANGE = 3  # level II
    RED = 4  # level I, the highest

    @property
    def level(self) -> str:
        """The Roman numeral of the level, I being the worst."""
        return ("", "IV", "III", "II", "I")[self]

    @property
    def label(self) -> Text:
        """The colour's name."""
        return Text("?蓝黄橙红"[self], ("", "blue", "yellow", "orange", "red")[self])

    @classmethod
    def parse(cls, word: str) -> Severity:
        """Return the severity of a colour's English name; KeyError for any other word."""
        return cls[word.upper()]
