"""Text that people read, in the two languages they read it in."""

from __future__ import annotations

import msgspec


class Text(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The same words in Chinese and in English."""

    zh: str
    en: str
