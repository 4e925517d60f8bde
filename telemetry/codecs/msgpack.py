"""MessagePack with the same structs, for links where bytes cost money."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, TypeVar, cast

import msgspec

from telemetry.errors import Malformed

T = TypeVar("T")
CONTENT_TYPE = "application/msgpack"
_encoder = msgspec.msgpack.Encoder()


@lru_cache(maxsize=32)
def _decoder(kind: Any) -> msgspec.msgpack.Decoder[Any]:
    return msgspec.msgpack.Decoder(kind)


def encode(message: msgspec.Struct) -> bytes:
    """Return the message as MessagePack."""
    return _encoder.encode(message)


def decode(data: bytes, kind: type[T]) -> T:
    """Return the message, or raise :class:`Malformed`."""
    try:
        return cast("T", _decoder(cast("Any", kind)).decode(data))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Malformed(f"MessagePack: {error}", data) from None
