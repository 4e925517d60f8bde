"""What the command line says, in the reader's language.

``YEMAI_LANG=zh`` or ``en`` decides; without it the locale does.
"""

from __future__ import annotations

import os

from telemetry.text import Text


def language() -> str:
    """Return ``zh`` or ``en``.

    >>> os.environ["YEMAI_LANG"] = "zh"
    >>> language(), say("停止", "stopping")
    ('zh', '停止')
    >>> del os.environ["YEMAI_LANG"]
    """
    wanted = os.environ.get("YEMAI_LANG") or next(
        (os.environ[name] for name in ("LC_ALL", "LC_MESSAGES", "LANG") if os.environ.get(name)), ""
    )
    return "zh" if wanted.lower().startswith("zh") else "en"


def say(zh: str, en: str) -> str:
    """Return the one of two texts that the reader reads."""
    return zh if language() == "zh" else en


def pick(text: Text) -> str:
    """Return the reader's half of a :class:`Text`."""
    return say(text.zh, text.en)
