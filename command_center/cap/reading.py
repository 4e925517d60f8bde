"""CAP from outside: whatever comes is an answer or :class:`Malformed`, and nothing in it is fetched or expanded.

A DTD, an entity, a processing instruction for one, more than 1 MiB: refused before anything is made of it.  An
enumeration's value that CAP 1.2 does not know is kept and named, for its sender may know more than we do.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, get_args
from xml.etree.ElementTree import ParseError

import msgspec
from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import fromstring

from command_center.cap import document
from telemetry.errors import Malformed

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

MOST_BYTES = 1 << 20
_MOST_INFOS = 32
_MOST_WORDS = 20_000
_SPACES = {
    "urn:oasis:names:tc:emergency:cap:1.2": "1.2",
    "urn:oasis:names:tc:emergency:cap:1.1": "1.1",
}
_KNOWN: dict[str, tuple[str, ...]] = {
    "status": get_args(document.Status), "msgType": get_args(document.Kind), "scope": get_args(document.Scope),
    "category": document.CATEGORIES, "urgency": get_args(document.Urgency), "severity": get_args(document.Severity),
    "certainty": get_args(document.Certainty),
}  # fmt: skip


class Told(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one language of a message says."""

    language: str
    category: str
    event: str
    urgency: str
    severity: str
    certainty: str
    headline: str = ""
    description: str = ""
    instruction: str = ""
    expires_ms: int | None = None
    areas: tuple[str, ...] = ()


class Received(msgspec.Struct, frozen=True, omit_defaults=True):
    """A message as it came; ``unknown`` names values that CAP 1.2 does not list."""

    identifier: str
    sender: str
    sent: str
    sent_ms: int
    status: str
    kind: str
    scope: str
    references: str = ""
    note: str = ""
    infos: tuple[Told, ...] = ()
    unknown: tuple[str, ...] = ()


def read(data: bytes) -> Received:
    """Return a message; raise :class:`Malformed` with the reason."""
    if len(data) > MOST_BYTES:
        raise Malformed(f"CAP: {len(data)} bytes are more than {MOST_BYTES}")
    try:
        root: Element = fromstring(data, forbid_dtd=True, forbid_entities=True, forbid_external=True)
    except DefusedXmlException as error:
        raise Malformed(f"CAP: a document type or entity is refused ({type(error).__name__})") from None
    except ParseError as error:
        raise Malformed(f"CAP: not well-formed XML: {error}") from None
    except (ValueError, LookupError) as error:  # an encoding that nobody knows
        raise Malformed(f"CAP: cannot be decoded: {error}") from None
    space, _, tag = root.tag[1:].partition("}") if root.tag.startswith("{") else ("", "", root.tag)
    if tag != "alert" or space not in _SPACES:
        raise Malformed(f"CAP: the root is '{tag[:40]}' of '{space[:80]}', not an alert of CAP 1.1 or 1.2")
    return _message(root, f"{{{space}}}")


def _message(root: Element, ns: str) -> Received:
    sent = _must(root, ns, "sent")
    unknown: list[str] = []
    told = [_told(info, ns, unknown) for info in root.findall(f"{ns}info")[:_MOST_INFOS]]
    found = {tag: _known(tag, _must(root, ns, tag), unknown) for tag in ("status", "msgType", "scope")}
    return Received(
        identifier=_must(root, ns, "identifier")[:512], sender=_must(root, ns, "sender")[:512], sent=sent, sent_ms=_ms(sent, "sent"),
        status=found["status"], kind=found["msgType"], scope=found["scope"], references=_text(root, ns, "references"),
        note=_text(root, ns, "note"), infos=tuple(told), unknown=tuple(unknown),
    )  # fmt: skip


def _told(info: Element, ns: str, unknown: list[str]) -> Told:
    expires = _text(info, ns, "expires")
    words = {tag: _known(tag, _must(info, ns, tag), unknown) for tag in ("category", "urgency", "severity", "certainty")}  # fmt: skip
    areas = tuple(_must(area, ns, "areaDesc") for area in info.findall(f"{ns}area"))
    return Told(
        language=_text(info, ns, "language") or "en-US", event=_must(info, ns, "event"), headline=_text(info, ns, "headline"),
        description=_text(info, ns, "description"), instruction=_text(info, ns, "instruction"),
        expires_ms=_ms(expires, "expires") if expires else None, areas=areas, **words,
    )  # fmt: skip


def _text(element: Element, ns: str, tag: str) -> str:
    return " ".join((element.findtext(f"{ns}{tag}") or "")[:_MOST_WORDS].split())


def _must(element: Element, ns: str, tag: str) -> str:
    if not (words := _text(element, ns, tag)):
        raise Malformed(f"CAP: <{tag}> is missing or empty")
    return words


def _known(tag: str, word: str, unknown: list[str]) -> str:
    if word not in _KNOWN[tag]:
        unknown.append(f"{tag}={word[:40]}")
    return word


def _ms(words: str, tag: str) -> int:
    try:
        at = datetime.fromisoformat(words)
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise Malformed(f"CAP: <{tag}> '{words[:40]}' is no time with an offset")
    return int(at.timestamp() * 1000)
