"""What an agent remembers beside its messages, carried from an outbox in memory to the one on disk.

The disk tells of the time before the agent had to do without it, memory of the time since.  Neither knows of the
other: what was done counts from both, and where they contradict each other the later one is believed.  An alarm that
stood on the disk and began anew in memory goes on under its new id; under the old one it ends when that began.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import msgspec
import structlog

from edge_agent import budget, gather, memory
from telemetry.errors import YemaiError
from telemetry.readings import Gap

if TYPE_CHECKING:
    from collections.abc import Callable

    from telemetry.outbox import Outbox
    from telemetry.transitions import Transition

JUDGED = "judged:"
log = structlog.get_logger()


def carry_over(came: Outbox, stays: Outbox, now_ms: int) -> list[Transition]:
    """Add the notes of ``came``, which are later, to those of ``stays``, and its book, in the current transaction.

    Messages that still wait in ``came`` are told of as a gap.  Returns the ends of alarms that nothing else will tell.
    Raises :class:`~telemetry.errors.Unavailable` when the disk takes nothing.
    """
    _close_book(came, stays, now_ms)
    ended: list[Transition] = []
    for key, later in came.notes().items():
        earlier, both = stays.note(key), _merge_of(key)
        if earlier is not None and both is not None:
            try:
                whole = both(earlier, later)
                if key.startswith(JUDGED):
                    ended += _ended(earlier, later, whole, now_ms)
                later = whole  # noqa: PLW2901 - of the two
            except (YemaiError, msgspec.MsgspecError, ValueError) as error:
                log.warning("note_not_merged", note=key, problem=str(error), taken="the later one")
        stays.set_note(key, later)
    return ended


def _close_book(came: Outbox, stays: Outbox, now_ms: int) -> None:
    """Count in ``stays`` what became of the samples of ``came``."""
    book = came.counters()
    told = {"made": book.made - book.queued, "freed": book.freed}
    told |= {f"dropped:{cause}": samples for cause, samples in book.dropped.items()}
    told |= {f"not_reported:{policy}": samples for policy, samples in book.not_reported.items()}
    for key, samples in told.items():
        stays.count(key, samples)
    if book.messages:
        oldest = min(message.put_ms for message in came.waiting(book.messages))
        stays.lose(Gap("memory_lost", book.queued, oldest, now_ms))


def _merge_of(key: str) -> Callable[[str, str], str] | None:
    """Return what makes one note of an earlier and a later one; without it, the later one is right."""
    if key.startswith(JUDGED):
        return _judged
    return {memory.NOTE: memory.merged, budget.NOTE: budget.merged, gather.NOTE: gather.merged}.get(key)


def _judged(earlier: str, later: str) -> str:
    from rules.carried import carried_over  # noqa: PLC0415 - numpy is loaded where rules are judged

    return base64.b64encode(carried_over(base64.b64decode(earlier), base64.b64decode(later))).decode()


def _ended(earlier: str, later: str, whole: str, now_ms: int) -> list[Transition]:
    """Return the ends of the alarms that stood ``earlier`` and that the ``whole`` does not know any more."""
    from rules.alarms import Moment, end  # noqa: PLC0415 - likewise
    from rules.state import State  # noqa: PLC0415

    was, since, now = (
        State.load({JUDGED: base64.b64decode(note)}).classes[JUDGED] for note in (earlier, later, whole)
    )
    stand = {alarm.latest.alarm for rule in now.rules.values() for alarm in rule.standing.values()}
    ended = []
    for name, rule in was.rules.items():
        for place, alarm in list(rule.standing.items()):
            if alarm.latest.alarm in stand:
                continue
            device, time = alarm.latest.device, now_ms
            if (anew := since.rules.get(name)) is not None and device in since.devices:
                there = since.devices[device]
                began = [anew.standing[there].began] if there in anew.standing else []
                time = min([*began, *anew.bouts.get(there, ()), now_ms])
            ended.append(end(rule, Moment(place, device, time, None, now_ms), alarm))
    return ended
