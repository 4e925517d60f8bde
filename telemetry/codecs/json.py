"""JSON (RFC 8259): the default, because a technician must be able to read it."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, TypeVar, cast

import msgspec

from telemetry.errors import Malformed

T = TypeVar("T")
CONTENT_TYPE = "application/json"
_encoder = msgspec.json.Encoder()
_BYTE = re.compile(r"\(byte (\d+)\)")


@lru_cache(maxsize=32)
def _decoder(kind: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(kind)


def encode(message: msgspec.Struct) -> bytes:
    """Return the message as UTF-8 JSON."""
    return _encoder.encode(message)


def decode(data: bytes, kind: type[T]) -> T:
    """Return the message, or raise :class:`Malformed` with the byte where it broke."""
    try:
        return cast("T", _decoder(cast("Any", kind)).decode(data))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        found = _BYTE.search(str(error))
        raise Malformed(f"JSON: {error}", data, offset=int(found[1]) if found else 0) from None
