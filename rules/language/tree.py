"""Tokens to a tree.

::

    any    = all { "or" all }
    all    = not { "and" not }
    not    = "not" not | test
    test   = sum [ ("<"|"<="|">"|">="|"=="|"!=") sum | "in" "[" sum "," sum "]" ]
    sum    = product { ("+"|"-") product }
    product = sign { ("*"|"/") sign }
    sign   = "-" sign | atom
    atom   = number [unit] | "text" | name | name "(" any { "," any } ")" | "(" any ")"
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rules.language.tokens import LanguageError, Token, tokens

if TYPE_CHECKING:
    from collections.abc import Callable

_COMPARISONS = ("<", "<=", ">", ">=", "==", "!=")
_DEEPEST = 40


@dataclass(frozen=True)
class Node:
    """Where it stands in the text."""

    at: int
    end: int


@dataclass(frozen=True)
class Number(Node):
    """A number, with the unit written behind it."""

    value: float
    unit: str | None


@dataclass(frozen=True)
class Quoted(Node):
    """The label of a state or flag."""

    text: str


@dataclass(frozen=True)
class Name(Node):
    """A metric of the device (``level``) or of others (``site.weather_station.rain_rate``)."""

    text: str


@dataclass(frozen=True)
class Call(Node):
    """A function of other nodes."""

    name: str
    arguments: tuple[Node, ...]


@dataclass(frozen=True)
class Sign(Node):
    """``-`` or ``not`` before one node."""

    sign: str
    of: Node


@dataclass(frozen=True)
class Pair(Node):
    """A sign between two nodes."""

    sign: str
    left: Node
    right: Node


@dataclass(frozen=True)
class Between(Node):
    """``of in [low, high]``, both ends included."""

    of: Node
    low: Node
    high: Node


def parse(text: str) -> Node:
    """Return the tree of ``text``; raise :class:`LanguageError`.

    >>> type(parse("not (a > 1 or b in [2, 3])")).__name__
    'Sign'
    """
    reader = _Reader(tokens(text))
    if reader.now.kind == "end":
        raise LanguageError("is empty", 0, 1, hint="write a condition, like 'temperature > 85'")
    node = reader.either()
    if reader.now.kind != "end":
        raise LanguageError(f"'{reader.now.text}' is not expected here", reader.now.at, reader.now.end,
                            hint="join conditions with 'and' or 'or'")  # fmt: skip
    return node


class _Reader:
    def __init__(self, found: list[Token]) -> None:
        self._found, self._place, self._depth = found, 0, 0

    @property
    def now(self) -> Token:
        return self._found[self._place]

    def either(self) -> Node:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise LanguageError(f"is nested deeper than {_DEEPEST}", self.now.at, self.now.end)
        node = self._joined("or", lambda: self._joined("and", self._negated))
        self._depth -= 1
        return node

    def _joined(self, word: str, part: Callable[[], Node]) -> Node:
        node = part()
        while self._take("word", word):
            right = part()
            node = Pair(node.at, right.end, word, node, right)
        return node

    def _negated(self) -> Node:
        at = self.now.at
        if self._take("word", "not"):
            of = self._nested(self._negated)
            return Sign(at, of.end, "not", of)
        return self._test()

    def _test(self) -> Node:
        left = self._sum()
        if self._take("word", "in"):
            self._need("[")
            low = self._sum()
            self._need(",")
            high = self._sum()
            end = self._need("]").end
            return Between(left.at, end, left, low, high)
        if sign := self._take("sign", *_COMPARISONS):
            right = self._sum()
            if again := self._take("sign", *_COMPARISONS):
                raise LanguageError("only two things can be compared", again.at, again.end,
                                    hint="write 'x in [low, high]' or join with 'and'")  # fmt: skip
            return Pair(left.at, right.end, sign.text, left, right)
        return left

    def _sum(self) -> Node:
        node = self._product()
        while sign := self._take("sign", "+", "-"):
            right = self._product()
            node = Pair(node.at, right.end, sign.text, node, right)
        return node

    def _product(self) -> Node:
        node = self._signed()
        while sign := self._take("sign", "*", "/"):
            right = self._signed()
            node = Pair(node.at, right.end, sign.text, node, right)
        return node

    def _signed(self) -> Node:
        at = self.now.at
        if self._take("sign", "-"):
            of = self._nested(self._signed)
            return Sign(at, of.end, "-", of)
        return self._atom()

    def _atom(self) -> Node:
        token = self.now
        if token.kind == "sign" and token.text == "(":
            self._place += 1
            node = self.either()
            self._need(")")
            return node
        if token.kind not in ("number", "text", "word") or token.text in ("and", "or", "in", "not"):
            found = f"'{token.text}'" if token.text else "the end"
            raise LanguageError(f"a metric, a number or '(' is expected, {found} found", token.at, token.end)
        self._place += 1
        if token.kind == "number":
            return Number(token.at, token.end, float(token.text), token.unit)
        if token.kind == "text":
            return Quoted(token.at, token.end, token.text[1:-1])
        if self._take("sign", "("):
            arguments = [self.either()]
            while self._take("sign", ","):
                arguments.append(self.either())
            return Call(token.at, self._need(")").end, token.text, tuple(arguments))
        return Name(token.at, token.end, token.text)

    def _nested(self, part: Callable[[], Node]) -> Node:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise LanguageError(f"is nested deeper than {_DEEPEST}", self.now.at, self.now.end)
        node = part()
        self._depth -= 1
        return node

    def _take(self, kind: str, *texts: str) -> Token | None:
        token = self.now
        if token.kind != kind or token.text not in texts:
            return None
        self._place += 1
        return token

    def _need(self, sign: str) -> Token:
        token = self._take("sign", sign)
        if token is None:
            found = f"'{self.now.text}'" if self.now.text else "the end"
            raise LanguageError(f"'{sign}' is expected, {found} found", self.now.at, self.now.end)
        return token
