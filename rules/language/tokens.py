"""Text to tokens, each with the place where it stands."""

from __future__ import annotations

import re
from typing import NamedTuple

from device_profiles.units import UNITS
from telemetry.errors import did_you_mean

DURATIONS_MS = {"s": 1000, "min": 60_000, "h": 3_600_000, "d": 86_400_000}
_UNITS = sorted({*UNITS, *DURATIONS_MS} - {""}, key=len, reverse=True)
_SPACE = re.compile(r"\s+")
_PER = re.compile(r"/[^\W\d]\w*")
_SHAPES = re.compile(
    r"(?P<number>\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)"
    r"|(?P<word>[^\W\d]\w*(?:\.[^\W\d]\w*)*)"
    r"|(?P<text>\"[^\"\n]*\"|'[^'\n]*')"
    r"|(?P<sign><=|>=|==|!=|[<>+\-*/(),\[\]])"
)


class LanguageError(Exception):
    """What is written cannot be meant; ``at`` and ``end`` are offsets into the text."""

    def __init__(self, problem: str, at: int, end: int, *, hint: str = "") -> None:
        super().__init__(problem)
        self.problem, self.at, self.end, self.hint = problem, at, max(end, at + 1), hint


class Token(NamedTuple):
    """``kind`` is number, word, text, sign or end; ``unit`` is what stands behind a number."""

    kind: str
    text: str
    at: int
    end: int
    unit: str | None = None


def tokens(text: str) -> list[Token]:
    """Split ``text``; raise :class:`LanguageError` for a character that begins nothing.

    >>> [t.text for t in tokens("rate(level, 5min) > 10 mm")]
    ['rate', '(', 'level', ',', '5', ')', '>', '10', '']
    """
    found: list[Token] = []
    at = 0
    while True:
        if space := _SPACE.match(text, at):
            at = space.end()
        if at == len(text):
            return [*found, Token("end", "", at, at)]
        shape = _SHAPES.match(text, at)
        if shape is None:
            hint = {"=": "write '==' to compare", "&": "write 'and'", "|": "write 'or'", "!": "write 'not'"}
            raise LanguageError(f"'{text[at]}' begins nothing", at, at + 1, hint=hint.get(text[at], ""))
        kind, end, unit = str(shape.lastgroup), shape.end(), None
        if kind == "number":
            unit, end = _unit(text, end)
        found.append(Token(kind, shape[0], at, end, unit))
        at = end


def _unit(text: str, at: int) -> tuple[str | None, int]:
    start = space.end() if (space := _SPACE.match(text, at)) else at
    for unit in _UNITS:
        end = start + len(unit)
        if text.startswith(unit, start) and not re.match(r"\w", text[end : end + 1]):
            if more := _PER.match(
                text, end
            ):  # a unit that there is not, and no division: nobody glues one to a unit
                wrote = text[start : more.end()]
                if more[0] == "/min":  # that of a rate
                    return wrote, more.end()
                hint = did_you_mean(wrote, [u for u in _UNITS if "/" in u])
                raise LanguageError(f"no unit '{wrote}'", start, more.end(), hint=hint)
            return unit, end
    return None, at
