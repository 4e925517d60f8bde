"""What a screen in the street may show: approved templates with blanks, and nothing else, whoever asks.

Pure.  A text is refused with its place and its reason, never cut or mended: control and formatting characters
(Unicode Cc, Cf, Zl, Zp, and what is no character), the marks with which screen cards take orders, characters that the screen's
encoding does not have, and more bytes or characters than the screen holds.
"""

from __future__ import annotations

import re
import unicodedata
from datetime import date
from typing import TYPE_CHECKING, Literal

import msgspec

from telemetry.errors import Refused
from telemetry.text import Text

if TYPE_CHECKING:
    from collections.abc import Mapping

Encoding = Literal["gbk", "utf16", "ascii"]
_CODECS = {"gbk": "gbk", "utf16": "utf-16-be", "ascii": "ascii"}
_BLANK = re.compile(r"\{([a-z_]+)\}")
_KINDS = {
    "word": re.compile(r"\w[\w-]*"),
    "number": re.compile(r"-?[0-9]{1,6}(\.[0-9]{1,2})?"),
    "time": re.compile(r"[0-2]?[0-9]:[0-5][0-9]"),
}
_MARKUP = frozenset("<>{}[]\\^~`|$&")
_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


class Blank(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A blank of a template: a word (letters, digits, Chinese), a number or a time of day; at most so many characters."""

    kind: Literal["word", "number", "time"] = "word"
    most: int = 12


class Approval(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who has approved a template, and when."""

    by: str
    at: date


class Template(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One text with its ``blanks``; ``most_bytes`` in ``encoding`` is what the screen's block holds."""

    id: str
    title: Text
    text: str
    approved: Approval
    blanks: dict[str, Blank] = {}
    encoding: Encoding = "gbk"
    most_bytes: int = 64
    most_characters: int = 60


class Show(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An action's text: which template, and what goes into each blank: words, or ``@site``, ``@street``, ``@device``, ``@value``, ``@time``."""

    template: str
    fill: dict[str, str] = {}


SOURCES = ("@site", "@street", "@device", "@value", "@time")


def blanks_of(template: Template) -> set[str]:
    """Return the names of the blanks that a template's text has."""
    return set(_BLANK.findall(template.text))


def fill(template: Template, fields: Mapping[str, str]) -> str:
    r"""Return what the screen shows; raise :class:`Refused` with what is wrong and where.

    >>> road = Template("w", Text("积水", "Water"), "{road}积水 请绕行", Approval("张三", date(2026, 5, 1)), {"road": Blank(most=6)})
    >>> fill(road, {"road": "东大街"})
    '东大街积水 请绕行'
    >>> fill(road, {"road": "东街\x1bC1"})
    Traceback (most recent call last):
    telemetry.errors.Refused: template 'w': 'road': character U+001B at 3 is not for a screen
    """
    for name in blanks_of(template) - set(fields):
        raise Refused(f"template '{template.id}': '{name}' is not filled")
    for name in set(fields) - blanks_of(template):
        raise Refused(f"template '{template.id}' has no blank '{name}'")
    for name, words in fields.items():
        _check_blank(template, name, words)
    text = _BLANK.sub(lambda found: fields[found.group(1)], template.text)
    check(text, template)
    return text


def check(text: str, template: Template) -> None:
    """Raise :class:`Refused` for a text that the template's screen cannot or must not show."""
    _check_characters(f"template '{template.id}'", text)
    if len(text) > template.most_characters:
        raise Refused(
            f"template '{template.id}': {len(text)} characters are more than {template.most_characters}"
        )
    try:
        size = len(text.encode(_CODECS[template.encoding]))
    except UnicodeEncodeError as error:
        raise Refused(
            f"template '{template.id}': '{text[error.start]}' (U+{ord(text[error.start]):04X}) at {error.start + 1} is not in {template.encoding}"
        ) from None
    if template.encoding == "utf16" and any(ord(letter) > 0xFFFF for letter in text):
        raise Refused(f"template '{template.id}': a character beyond U+FFFF is not in utf16 of two bytes")
    if size > template.most_bytes:
        raise Refused(
            f"template '{template.id}': {size} bytes in {template.encoding} are more than {template.most_bytes}"
        )


def _check_blank(template: Template, name: str, words: str) -> None:
    blank, where = template.blanks.get(name, Blank()), f"template '{template.id}': '{name}'"
    _check_characters(where, words)
    if len(words) > blank.most:
        raise Refused(f"{where}: {len(words)} characters are more than {blank.most}")
    if not _KINDS[blank.kind].fullmatch(words):
        raise Refused(f"{where}: '{words}' is no {blank.kind}")


def _check_characters(where: str, text: str) -> None:
    for place, letter in enumerate(text, 1):
        if unicodedata.category(letter) in _CATEGORIES:
            raise Refused(f"{where}: character U+{ord(letter):04X} at {place} is not for a screen")
        if letter in _MARKUP:
            raise Refused(f"{where}: '{letter}' at {place} is a mark that screen cards take for an order")
