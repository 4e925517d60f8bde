"""What an agent remembers beside its messages, carried from an outbox in memory to the one on disk.

The disk tells of the time before the agent had to do without it, memory of the time since.  Neither knows of the
other: what was done counts from both, and where they contradict each other the later one is believed.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import msgspec
import structlog

from edge_agent import budget, gather, memory
from telemetry.errors import YemaiError

if TYPE_CHECKING:
    from collections.abc import Callable

    from telemetry.outbox import Outbox

JUDGED = "judged:"
log = structlog.get_logger()


def carry_over(came: Outbox, stays: Outbox) -> None:
    """Add the notes of ``came``, which are later, to those of ``stays``, in the current transaction.

    Raises :class:`~telemetry.errors.Unavailable` when the disk takes nothing.
    """
    for key, later in came.notes().items():
        earlier, both = stays.note(key), _merge_of(key)
        if earlier is not None and both is not None:
            try:
                later = both(earlier, later)  # noqa: PLW2901 - of the two
            except (YemaiError, msgspec.MsgspecError, ValueError) as error:
                log.warning("note_not_merged", note=key, problem=str(error), taken="the later one")
        stays.set_note(key, later)


def _merge_of(key: str) -> Callable[[str, str], str] | None:
    """Return what makes one note of an earlier and a later one; without it, the later one is right."""
    if key.startswith(JUDGED):
        return _judged
    return {memory.NOTE: memory.merged, budget.NOTE: budget.merged, gather.NOTE: gather.merged}.get(key)


def _judged(earlier: str, later: str) -> str:
    from rules.carried import carried_over  # noqa: PLC0415 - numpy is loaded where rules are judged

    return base64.b64encode(carried_over(base64.b64decode(earlier), base64.b64decode(later))).decode()
