"""What the command line says, in the reader's language.

``YEMAI_LANG=zh`` or ``en`` decides; without it the locale does.
"""

from __future__ import annotations

from telemetry.text import Text, language

__all__ = ["language", "pick", "say"]


def say(zh: str, en: str) -> str:
    """Return the one of two texts that the reader reads.

    >>> import os
    >>> os.environ["YEMAI_LANG"] = "zh"
    >>> say("停止", "stopping")
    '停止'
    >>> del os.environ["YEMAI_LANG"]
    """
    return zh if language() == "zh" else en


def pick(text: Text) -> str:
    """Return the reader's half of a :class:`Text`."""
    return say(text.zh, text.en)
