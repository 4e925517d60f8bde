"""When a notice is tried again, and which step follows one that reached nobody.  Pure."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from command_center.channel import Receipt

_MOST_ATTEMPTS = 5


def next_step(notice: str) -> str | None:
    """Return the id of the step after the one that a notice is of.

    >>> next_step("a1/3.0/wang/1"), next_step("digest/app/wang/1764")
    ('a1/3.1', None)
    """
    chain, dot, number = "/".join(notice.split("/")[:2]).rpartition(".")
    return f"{chain}.{int(number) + 1}" if dot and number.isdigit() and not chain.endswith("/over") else None


def retry_ms(
    row: Any,
    receipt: Receipt,
    others: bool,  # noqa: FBT001
    schedule: Sequence[float] = (),
) -> int | None:
    """Return when to try the same channel again, or None to go on by the next: an urgent notice within 5 s.

    A channel's own ``schedule`` (seconds) holds where there is no next one.
    """
    if receipt.outcome == "failed_perm":
        return None
    if others:
        patience = 1 if row.urgent else 2
        if (
            row.attempts >= patience
            or receipt.wait_s > 2
            or (row.urgent and receipt.code in {"unavailable", "broken"})
        ):
            return None
        return 1000
    if schedule:
        tried = int(row.attempts)
        if tried >= len(schedule):
            return None
        spread = 1 + random.random() / 10  # noqa: S311 - so that not all come back at once
        return max(int(receipt.wait_s * 1000), int(schedule[tried] * 1000 * spread))
    if row.attempts >= _MOST_ATTEMPTS * (10 if row.urgent else 1):
        return None
    backoff: int = 1000 * 2 ** min(int(row.attempts), 6)
    return max(int(receipt.wait_s * 1000), min(60_000, backoff))
