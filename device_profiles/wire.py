"""Raw bytes to numbers and back, as a profile's :class:`~device_profiles.profile.Value` says."""

from __future__ import annotations

import math
import struct
import unicodedata
from typing import TYPE_CHECKING

from device_profiles.profile import Value
from device_profiles.units import conversion
from telemetry.errors import Malformed, Refused
from telemetry.quality import Quality

if TYPE_CHECKING:
    from collections.abc import Mapping

    from device_profiles.profile import Order

_FORMATS = {"u8": ">B", "i8": ">b", "u16": ">H", "i16": ">h", "u32": ">I", "i32": ">i", "u64": ">Q", "i64": ">q",
            "f32": ">f", "f64": ">d", "u8hi": ">Bx", "u8lo": ">xB", "sm16": ">H", "bit": ">B"}  # fmt: skip
_RANGES = {"u8": (0, 0xFF), "i8": (-0x80, 0x7F), "u16": (0, 0xFFFF), "i16": (-0x8000, 0x7FFF),
           "u32": (0, 0xFFFF_FFFF), "i32": (-0x8000_0000, 0x7FFF_FFFF), "u64": (0, 2**64 - 1),
           "i64": (-(2**63), 2**63 - 1), "u8hi": (0, 0xFF), "u8lo": (0, 0xFF), "sm16": (-0x7FFF, 0x7FFF),
           "bcd16": (0, 9_999), "bcd32": (0, 99_999_999), "bit": (0, 1)}  # fmt: skip
_ENCODINGS = {"ascii": "ascii", "gbk": "gbk", "utf16": "utf-16-be"}


def reorder(data: bytes, word_order: Order, byte_order: Order) -> bytes:
    """Turn register bytes into big-endian order, or back: the operation is its own inverse.

    >>> reorder(bytes([0xCD, 0xCC, 0xFC, 0x40]), "little", "little").hex()
    '40fccccd'
    """
    words = [data[i : i + 2] for i in range(0, len(data), 2)]
    if byte_order == "little":
        words = [word[::-1] for word in words]
    if word_order == "little":
        words.reverse()
    return b"".join(words)


def raw_of(value: Value, data: bytes) -> float | str:
    """Return the raw number or text that big-endian ``data`` holds; raise :class:`Malformed`."""
    if value.type in _ENCODINGS:
        return data.decode(_ENCODINGS[value.type], errors="replace").split("\0", 1)[0].strip()
    if value.type == "bcd":
        return data.hex()
    if value.type in ("bcd16", "bcd32"):
        if not data.hex().isdecimal():
            raise Malformed(f"{value.what}: not decimal digits", data)
        return int(data.hex())
    raw: float = struct.unpack(_FORMATS[value.type], data)[0]
    if value.type == "sm16":
        raw = -(int(raw) & 0x7FFF) if int(raw) & 0x8000 else raw
    if value.bits is not None:
        first, last = value.bits
        raw = (int(raw) >> first) & ((1 << (last - first + 1)) - 1)
    return raw


def number_of(
    value: Value, raw: float, helpers: Mapping[str, float], unit: str
) -> tuple[float | None, Quality]:
    """Return the canonical number in ``unit`` and its quality; None where ``raw`` is no measurement."""
    if not math.isfinite(raw):
        return None, Quality.DEVICE_FAULT
    if raw in value.invalid:
        return None, value.invalid[int(raw)].quality
    if value.codes:
        code = value.codes.get(int(raw))
        return (None, Quality.DEVICE_FAULT) if code is None else (code, Quality.GOOD)
    scale, offset = _line(value, helpers, unit)
    # 12 significant digits hide the binary noise of scales like 0.1 and keep every measured one
    return float(f"{raw * scale + offset:.12g}"), Quality.GOOD


def raw_for(value: Value, number: float | None, helpers: Mapping[str, float], unit: str) -> float:
    """Return the raw number that stands for ``number``: the inverse of :func:`number_of`.

    None becomes the sentinel of the profile, 0 where it has none.  What does not fit the type is held
    at its end, as a real device's converter would.
    """
    if number is None:
        return next(iter(value.invalid), math.nan if value.type in ("f32", "f64") else 0)
    if value.codes:
        return next((raw for raw, code in value.codes.items() if code == number), next(iter(value.codes)))
    scale, offset = _line(value, helpers, unit)
    raw = (number - offset) / scale
    if value.type in ("f32", "f64"):
        return raw
    low, high = (0, (1 << (value.bits[1] - value.bits[0] + 1)) - 1) if value.bits else _RANGES[value.type]
    held = min(max(round(raw), low), high)
    while held in value.invalid:  # a measurement that would read as a sentinel
        held -= 1
    return held


def bytes_of(value: Value, raw: float | str, before: bytes | None = None) -> bytes:
    """Return ``raw`` in big-endian order; a bit slice is set into ``before``."""
    if value.type in _ENCODINGS:
        encoding = _ENCODINGS[value.type]
        data = str(raw).encode(encoding, errors="replace")[: value.length]
        return data.decode(encoding, errors="ignore").encode(encoding).ljust(value.length, b"\0")
    if value.type == "bcd":
        return bytes.fromhex(str(raw).rjust(value.length * 2, "0")[: value.length * 2])
    number = float(raw)
    if value.type in ("bcd16", "bcd32"):
        return bytes.fromhex(f"{int(number):0{value.size * 2}d}")
    if value.type == "sm16":
        number = abs(number) + (0x8000 if number < 0 else 0)
    if value.bits is not None:
        first, last = value.bits
        mask = ((1 << (last - first + 1)) - 1) << first
        old = int.from_bytes(before or bytes(value.size), "big")
        return ((old & ~mask) | (int(number) << first & mask)).to_bytes(value.size, "big")
    if value.type in ("u8hi", "u8lo"):
        halves = bytearray(before or bytes(2))
        halves[0 if value.type == "u8hi" else 1] = int(number)
        return bytes(halves)
    return struct.pack(_FORMATS[value.type], number if value.type in ("f32", "f64") else int(number))


def text_bytes(value: Value, text: str, most_characters: int = 0) -> bytes:
    """Return ``text`` as the device holds it; raise :class:`Refused` for what it could not show as it is.

    >>> from device_profiles.profile import Value
    >>> text_bytes(Value(attribute="text", type="gbk", length=8), "积水").hex()
    'bbfdcbae00000000'
    """
    encoding = _ENCODINGS[value.type]
    for place, letter in enumerate(text, start=1):
        if unicodedata.category(letter)[0] == "C" or letter in "\u2028\u2029":
            raise Refused(f"character {place} of the text, U+{ord(letter):04X}, is a control character")
        try:
            if ord(letter) > 0xFFFF:  # a screen's UTF-16 is UCS-2
                raise UnicodeEncodeError(encoding, letter, 0, 1, "beyond U+FFFF")
            letter.encode(encoding)
        except UnicodeEncodeError:
            raise Refused(
                f"character {place} of the text, '{letter}', is not in {value.type.upper()}"
            ) from None
    if most_characters and len(text) > most_characters:
        raise Refused(f"the text has {len(text)} characters, the screen holds {most_characters}")
    data = text.encode(encoding)
    if len(data) > value.length:
        raise Refused(
            f"the text takes {len(data)} bytes in {value.type.upper()}, the screen holds {value.length}"
        )
    return data.ljust(value.length, b"\0")


def _line(value: Value, helpers: Mapping[str, float], unit: str) -> tuple[float, float]:
    """The scale and offset from raw to ``unit``."""
    scale, offset, spoken = value.scale, value.offset, value.unit
    if value.decimals_from:
        scale *= 10.0 ** -helpers[value.decimals_from]
    if value.unit_from is not None:
        code = int(helpers[value.unit_from.point])
        if code not in value.unit_from.units:
            raise Malformed(f"{value.what}: unit code {code} is not one of {sorted(value.unit_from.units)}")
        spoken = value.unit_from.units[code]
    if spoken is not None and unit:
        factor, shift = conversion(spoken, unit)
        scale, offset = scale * factor, offset * factor + shift
    return scale, offset
