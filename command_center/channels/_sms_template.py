"""Variables of an approved template: operators refuse long ones and some characters."""

from __future__ import annotations

MOST_CHARACTERS = 35
BANNED = str.maketrans("", "", "【】★→①\r\n\0")


def fill(variables: dict[str, int], facts: dict[str, str]) -> dict[str, str]:
    r"""Return the template's variables, without characters that operators refuse, none longer than it may be.

    >>> fill({"device": 6}, {"device": "【灯杆】二号控制器\n"})
    {'device': '灯杆二号控…'}
    """
    filled = {}
    for name, most in variables.items():
        value = facts.get(name, "").translate(BANNED) or "-"
        room = min(most, MOST_CHARACTERS)
        filled[name] = value if len(value) <= room else value[: room - 1] + "…"
    return filled
