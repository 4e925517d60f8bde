"""The warnings as an Atom feed (RFC 4287): one entry a message, with an id that never changes."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from command_center.cap.document import MIME

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from command_center.cap.document import Document

ATOM = "http://www.w3.org/2005/Atom"
ATOM_MIME = "application/atom+xml"


def iri(document: Document) -> str:
    """Return the id of a message's entry: a tag URI (RFC 4151) of the sender's authority and its identifier."""
    day = datetime.fromtimestamp(document.sent_ms / 1000, UTC).date()
    authority = document.sender if "@" in document.sender or "." in document.sender else f"{document.sender}.invalid"  # fmt: skip
    return f"tag:{authority},{day}:cap/{document.identifier}"


def atom(
    title: str, self_url: str, author: str, documents: Sequence[Document], url: str
) -> tuple[bytes, str]:
    """Return the feed and its ETag; ``url`` is where a message's XML is, with ``{}`` for its identifier."""
    ET.register_namespace("", ATOM)
    root = ET.Element(f"{{{ATOM}}}feed")
    newest = max((document.sent_ms for document in documents), default=0)
    _put(root, "id", self_url)
    _put(root, "title", title)
    _put(root, "updated", _utc(newest))
    _put(ET.SubElement(root, f"{{{ATOM}}}author"), "name", author)
    ET.SubElement(root, f"{{{ATOM}}}link", rel="self", href=self_url)
    for document in documents:
        _entry(root, document, url)
    ET.indent(root)
    content = bytes(ET.tostring(root, encoding="UTF-8", xml_declaration=True))
    return content, f'"{hashlib.sha256(content).hexdigest()[:32]}"'


def _entry(root: ET.Element, document: Document, url: str) -> None:
    entry = ET.SubElement(root, f"{{{ATOM}}}entry")
    _put(entry, "id", iri(document))
    heads = [info.headline for info in document.infos]
    mark = "【演练】" if document.status == "Exercise" else ""
    _put(
        entry, "title", f"{mark}{document.kind}: {' / '.join(heads) or document.note or document.identifier}"
    )
    _put(entry, "updated", _utc(document.sent_ms))
    _put(entry, "summary", _summary(document.infos[0].description for _ in document.infos[:1]))
    for term in (document.status, document.kind, document.scope):
        ET.SubElement(entry, f"{{{ATOM}}}category", term=term)
    ET.SubElement(entry, f"{{{ATOM}}}link", rel="alternate", type=MIME, href=url.format(document.identifier))


def _summary(words: Iterable[str]) -> str:
    return next(iter(words), "")


def _put(parent: ET.Element, tag: str, words: str) -> None:
    ET.SubElement(parent, f"{{{ATOM}}}{tag}").text = words


def _utc(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
