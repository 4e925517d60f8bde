"""What a check says."""

from __future__ import annotations

from typing import Literal

import msgspec

from telemetry.text import Text

Level = Literal["ok", "warning", "bad"]


class Finding(msgspec.Struct, frozen=True):
    """``id`` names the finding for ever; ``mend`` is what to do, empty where all is well."""

    level: Level
    id: str
    told: Text
    mend: Text = Text("", "")


def bad(finding: str, told: Text, mend: Text) -> Finding:
    """Return what loses data, lets somebody in, or will stop the platform."""
    return Finding("bad", finding, told, mend)


def warning(finding: str, told: Text, mend: Text) -> Finding:
    """Return what will become bad."""
    return Finding("warning", finding, told, mend)


def well(finding: str, zh: str, en: str) -> Finding:
    """Return that something was looked at and is as it should be."""
    return Finding("ok", finding, Text(zh, en))
