"""Text that people read, in the two languages they read it in."""

from __future__ import annotations

import os

import msgspec


class Text(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The same words in Chinese and in English."""

    zh: str
    en: str


def language() -> str:
    """Return ``zh`` or ``en``, in which the person at this terminal reads: ``YEMAI_LANG`` decides, or else the locale.

    >>> os.environ["YEMAI_LANG"] = "zh"
    >>> language()
    'zh'
    >>> del os.environ["YEMAI_LANG"]
    """
    wanted = os.environ.get("YEMAI_LANG") or next(
        (os.environ[name] for name in ("LC_ALL", "LC_MESSAGES", "LANG") if os.environ.get(name)), ""
    )
    return "zh" if wanted.lower().startswith("zh") else "en"
