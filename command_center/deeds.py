"""What a person may do to an alarm, as data: decided purely, recorded by the desk."""

from __future__ import annotations

from typing import Literal

import msgspec

from command_center import lifecycle
from command_center.lifecycle import Alarm, Hold
from telemetry.errors import Refused

Kind = Literal[
    "acknowledge", "take_back", "assign", "comment", "shelve", "unshelve", "withdraw", "restore", "reset"
]
SHELF_MS = 15 * 60_000
"""How long a shelf lasts unless a person says otherwise."""
LONGEST_SHELF_MS = 24 * 3_600_000
LONGEST_SERVICE_MS = 30 * 24 * 3_600_000


class Deed(msgspec.Struct, frozen=True, omit_defaults=True):
    """One deed; ``text`` is the comment or the reason, ``until_ms`` and ``to`` stand where they apply."""

    kind: Kind
    text: str = ""
    to: str = ""
    until_ms: int | None = None
    until_resolved: bool = False


def perform(alarm: Alarm, deed: Deed, who: str, now_ms: int) -> Alarm:
    """Return the alarm after a person's deed; raise :class:`Refused` with the reason why not."""
    match deed.kind:
        case "acknowledge":
            return lifecycle.acknowledge(alarm, who, deed.text, now_ms)
        case "take_back":
            return lifecycle.take_back(alarm)
        case "assign":
            if not deed.to:
                raise Refused("to whom?")
            return lifecycle.assign(alarm, who, deed.to, now_ms)
        case "comment":
            if not deed.text:
                raise Refused("a comment has words")
            return alarm
        case "shelve":
            return lifecycle.shelve(alarm, hold_of(deed, who, now_ms))
        case "unshelve":
            return lifecycle.unshelve(alarm)
        case "withdraw":
            return lifecycle.withdraw(alarm, hold_of(deed, who, now_ms))
        case "restore":
            return lifecycle.restore(alarm)
        case "reset":
            return lifecycle.reset(alarm, who)


def hold_of(deed: Deed, who: str, now_ms: int) -> Hold:
    """Return the hold that a shelving or a withdrawal asks for; both need a reason and an end."""
    shelf = deed.kind == "shelve"
    longest = LONGEST_SHELF_MS if shelf else LONGEST_SERVICE_MS
    if not deed.text:
        raise Refused("a reason is needed")
    until = deed.until_ms
    if until is None:
        until = now_ms + (longest if deed.until_resolved or not shelf else SHELF_MS)
    if until <= now_ms:
        raise Refused("it would end before it begins")
    if until - now_ms > longest:
        raise Refused(f"at most {longest // 3_600_000} hours; shelve again when it is over")
    return Hold(who, deed.text, now_ms, until, deed.until_resolved)
