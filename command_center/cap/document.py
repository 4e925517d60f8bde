"""A CAP 1.2 document as data, and as XML in the order that the schema wants.

::

    alert   identifier sender sent status msgType source scope restriction code note references incidents
    └─info  language category event responseType urgency severity certainty eventCode effective onset expires senderName
      │     headline description instruction web contact parameter
      └─area  areaDesc polygon circle geocode

Times carry a numeric offset (``+08:00``), never ``Z`` (§3.3.2).
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Literal
from xml.etree import ElementTree as ET
from zoneinfo import ZoneInfo

import msgspec

from telemetry.errors import Refused

NAMESPACE = "urn:oasis:names:tc:emergency:cap:1.2"
MIME = "application/cap+xml"
Status = Literal["Actual", "Exercise", "System", "Test", "Draft"]
Kind = Literal["Alert", "Update", "Cancel", "Ack", "Error"]
Scope = Literal["Public", "Restricted", "Private"]
Urgency = Literal["Immediate", "Expected", "Future", "Past", "Unknown"]
Severity = Literal["Extreme", "Severe", "Moderate", "Minor", "Unknown"]
Certainty = Literal["Observed", "Likely", "Possible", "Unlikely", "Unknown"]
CATEGORIES = ("Geo", "Met", "Safety", "Security", "Rescue", "Fire", "Health", "Env", "Transport", "Infra", "CBRNE", "Other")  # fmt: skip
_NOT_IN_NAMES = re.compile(r"[\s,<&]")
_NOT_IN_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ufffe\uffff\ud800-\udfff]")


class Area(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where it holds: words, and a circle of ``(lat, lon, km)``."""

    words: str
    circle: tuple[float, float, float] | None = None


class Info(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is told, in one language."""

    language: str
    category: str
    event: str
    urgency: Urgency
    severity: Severity
    certainty: Certainty
    headline: str
    expires_ms: int
    sender_name: str = ""
    description: str = ""
    instruction: str = ""
    web: str = ""
    parameters: dict[str, str] = {}
    areas: tuple[Area, ...] = ()


class Document(msgspec.Struct, frozen=True, omit_defaults=True):
    """One message; ``references`` are the earlier ones that it updates or cancels, times UTC ms."""

    identifier: str
    sender: str
    sent_ms: int
    status: Status
    kind: Kind
    scope: Scope
    restriction: str = ""
    note: str = ""
    references: tuple[str, ...] = ()
    incident: str = ""
    infos: tuple[Info, ...] = ()

    def reference(self, zone: ZoneInfo) -> str:
        """Return how a later message names this one."""
        return f"{self.sender},{self.identifier},{moment(self.sent_ms, zone)}"


def moment(ms: int, zone: ZoneInfo) -> str:
    """Return a time as CAP spells it.

    >>> moment(1764000000000, ZoneInfo("Asia/Shanghai"))
    '2025-11-25T00:00:00+08:00'
    """
    return datetime.fromtimestamp(ms // 1000, zone).isoformat()


def name(word: str, what: str) -> str:
    """Return an identifier or a sender; raise :class:`Refused` for spaces, commas, ``<`` and ``&`` (§3.2.1)."""
    if not word:
        raise Refused(f"{what} is empty")
    if found := _NOT_IN_NAMES.search(word):
        raise Refused(f"{what} {word!r} may hold no {found.group()!r}")
    return word


def write(document: Document, zone: ZoneInfo) -> bytes:
    """Return the XML of a message; raise :class:`Refused` for what CAP cannot hold."""
    ET.register_namespace("", NAMESPACE)
    root = ET.Element(f"{{{NAMESPACE}}}alert")
    _put(root, "identifier", name(document.identifier, "identifier"))
    _put(root, "sender", name(document.sender, "sender"))
    _put(root, "sent", moment(document.sent_ms, zone))
    _put(root, "status", document.status)
    _put(root, "msgType", document.kind)
    _put(root, "scope", document.scope)
    _put(root, "restriction", document.restriction)
    _put(root, "note", document.note)
    _put(root, "references", " ".join(document.references))
    _put(root, "incidents", document.incident)
    for info in document.infos:
        _info(root, info, zone)
    ET.indent(root)
    return bytes(ET.tostring(root, encoding="UTF-8", xml_declaration=True))


def _info(root: ET.Element, info: Info, zone: ZoneInfo) -> None:
    element = ET.SubElement(root, f"{{{NAMESPACE}}}info")
    for tag, words in (
        ("language", info.language), ("category", info.category), ("event", info.event), ("urgency", info.urgency),
        ("severity", info.severity), ("certainty", info.certainty), ("expires", moment(info.expires_ms, zone)),
        ("senderName", info.sender_name), ("headline", info.headline), ("description", info.description),
        ("instruction", info.instruction), ("web", info.web),
    ):  # fmt: skip
        _put(element, tag, words)
    for key, value in info.parameters.items():
        parameter = ET.SubElement(element, f"{{{NAMESPACE}}}parameter")
        _put(parameter, "valueName", key)
        _put(parameter, "value", value)
    for area in info.areas:
        place = ET.SubElement(element, f"{{{NAMESPACE}}}area")
        _put(place, "areaDesc", area.words)
        if area.circle:
            lat, lon, km = area.circle
            _put(place, "circle", f"{lat:.5f},{lon:.5f} {km:g}")


def _put(parent: ET.Element, tag: str, words: str) -> None:
    if not words:
        return
    if found := _NOT_IN_XML.search(words):
        raise Refused(f"{tag}: character U+{ord(found.group()):04X} cannot stand in a CAP document")
    ET.SubElement(parent, f"{{{NAMESPACE}}}{tag}").text = words
