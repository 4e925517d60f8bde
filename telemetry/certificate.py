"""Until when a certificate is good, read with the standard library alone: an agent installs no cryptography.

RFC 5280, 4.1, as far as it is needed; what is inside a certificate is in DER (X.690): tag, length, contents. ::

    Certificate ::= SEQUENCE { TBSCertificate ::= SEQUENCE {
        [0] version?, serialNumber INTEGER, signature SEQUENCE, issuer SEQUENCE,
        validity SEQUENCE { notBefore, notAfter: UTCTime 0x17 | GeneralizedTime 0x18 }, … } … }
"""

from __future__ import annotations

import binascii
import ssl
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

from telemetry.errors import Malformed, Unavailable

if TYPE_CHECKING:
    from pathlib import Path

_SEQUENCE, _VERSION, _UTC_TIME, _GENERALIZED_TIME = 0x30, 0xA0, 0x17, 0x18
_DAY_MS = 86_400_000
_HEAD, _FOOT = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"


class _Item(NamedTuple):
    tag: int
    start: int  # of the contents
    end: int


def days_left(path: Path, now_ms: int) -> float:
    """Return for how many days the first certificate of a PEM file is good, negative when it is over.

    Raises :class:`Malformed` for what is no certificate, :class:`Unavailable` for a file that cannot be read.
    """
    try:
        text = path.read_text("ascii", "replace")
    except OSError as error:
        raise Unavailable(f"{path}: {error.strerror}") from None
    return (ends_ms(text) - now_ms) / _DAY_MS


def ends_ms(pem: str) -> int:
    """Return when the first certificate of a PEM text ends, UTC ms; raise :class:`Malformed`."""
    start = pem.find(_HEAD)
    end = pem.find(_FOOT, start)
    if start < 0 or end < 0:
        raise Malformed("certificate: there is none in the file")
    try:
        der = ssl.PEM_cert_to_DER_cert(pem[start : end + len(_FOOT)])
    except (binascii.Error, ValueError) as error:
        raise Malformed(f"certificate: {error}") from None
    certificate = _item(der, 0, len(der), _SEQUENCE)
    inside = _item(der, certificate.start, certificate.end, _SEQUENCE)
    at = inside.start
    first = _item(der, at, inside.end)
    for _ in range(4 if first.tag == _VERSION else 3):  # version, serial number, signature, issuer
        at = _item(der, at, inside.end).end
    validity = _item(der, at, inside.end, _SEQUENCE)
    after = _item(der, _item(der, validity.start, validity.end).end, validity.end)
    return _time(der, after)


def _item(der: bytes, at: int, end: int, wanted: int = 0) -> _Item:
    if at + 2 > end:
        raise Malformed("certificate: ends too early", der, offset=min(at, len(der)))
    tag, length, start = der[at], der[at + 1], at + 2
    if length & 0x80:
        octets = length & 0x7F
        if not 1 <= octets <= 4 or start + octets > end:
            raise Malformed("certificate: no length", der, offset=at + 1)
        length, start = int.from_bytes(der[start : start + octets], "big"), start + octets
    if start + length > end:
        raise Malformed("certificate: ends too early", der, offset=at)
    if wanted and tag != wanted:
        raise Malformed(f"certificate: tag 0x{tag:02x} where 0x{wanted:02x} belongs", der, offset=at)
    return _Item(tag, start, start + length)


def _time(der: bytes, item: _Item) -> int:
    text = der[item.start : item.end].decode("ascii", "replace")
    if item.tag == _UTC_TIME and len(text) == 13:  # RFC 5280, 4.1.2.5.1: 50 and more are of the last century
        text = ("19" if text[:2] >= "50" else "20") + text
    elif item.tag != _GENERALIZED_TIME:
        raise Malformed("certificate: no time where its end belongs", der, offset=item.start)
    try:
        return round(datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC).timestamp() * 1000)
    except ValueError:
        raise Malformed("certificate: no time where its end belongs", der, offset=item.start) from None
