"""How messages look on the wire.  Each module has ``CONTENT_TYPE``, ``encode`` and ``decode``.

A receiver needs no setting: :func:`codec_of` tells the two apart by their first byte.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

from telemetry import plugins
from telemetry.errors import Malformed

if TYPE_CHECKING:
    import msgspec

T = TypeVar("T")


class Codec(Protocol):
    """What a module in this package offers."""

    CONTENT_TYPE: str

    def encode(self, message: msgspec.Struct) -> bytes:
        """Return the message as bytes."""

    def decode(self, data: bytes, kind: type[T]) -> T:
        """Return the message, or raise :class:`Malformed`."""


@cache
def codec(name: str) -> Codec:
    """Return a codec by name."""
    return cast("Codec", cast("Any", plugins.load("telemetry.codecs", name)))


def codec_of(data: bytes) -> Codec:
    """Return the codec these bytes were written with: JSON objects begin with ``{``."""
    return codec("json" if data[:1] == b"{" else "msgpack")


def decode(data: bytes, kind: type[T], *, max_bytes: int) -> T:
    """Decode a message from another process; raise :class:`Malformed` for anything but that."""
    if not data:
        raise Malformed("empty message")
    if len(data) > max_bytes:
        raise Malformed(f"message of {len(data)} bytes is larger than {max_bytes}", data)
    return codec_of(data).decode(data, kind)
